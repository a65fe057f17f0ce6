"""The note that a run keeps in its ledger of what it reused, and why not more."""

from __future__ import annotations

import json
from dataclasses import dataclass

from batchmill.parallel_run.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Reused:
    """What became of the wish to reuse: how many mini-batches, of which run, and why not more, in words."""

    mini_batches: int
    run: str | None
    lines: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps({"mini_batches": self.mini_batches, "run": self.run, "lines": self.lines})


def reused(ledger: Ledger) -> Reused | None:
    """What a run has written down of this; None where it was not asked to reuse anything, or has not come to it."""
    text = ledger.meta("reuse")
    if text is None:
        return None
    found = json.loads(text)
    return Reused(found["mini_batches"], found["run"], tuple(found["lines"]))


def reuse_lines(ledger: Ledger) -> tuple[str, ...]:
    """What the report of a run says of it."""
    found = reused(ledger)
    return () if found is None else found.lines
