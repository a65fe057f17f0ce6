"""Settlement: what a replay brought, taken from its own ledger into the run's in one transaction. It can be rehearsed before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from batchmill.errors import ReplayRefusedError
from batchmill.parallel_run.fates import recount, verify
from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.ledger import Ledger
from batchmill.records import DeadLetter, RunStatus

Targets = Mapping[int, set[int] | None]
"""Mini-batch -> the positions of the items that ran again, None for the whole mini-batch."""

MERGED, SETTLED = "merged", "settled"
"""How far a replay is, in the note that the ledger of its run keeps of it: its rows are merged; it is true, but not yet told."""


class Settlement:
    """The outcomes of one replay.

    Args:
        ledger: that of the run.
        scratch: that of the replay.
        targets: what ran again.
    """

    def __init__(self, ledger: Ledger, scratch: Ledger, targets: Targets) -> None:
        self._ledger = ledger
        self._scratch = scratch
        self._targets = targets

    def note(self) -> None:
        """Leave word that the rows are merged, and of which mini-batches: a repeat needs it when this process is killed."""
        targets = [[mini_batch, None if single is None else sorted(single)] for mini_batch, single in self._targets.items()]
        with self._ledger.transaction():
            self._ledger.put(replay_pending=json.dumps({"state": MERGED, "targets": targets}))

    def header(self) -> bytes:
        """The header line of the merged output."""
        with self._ledger.rehearsal():
            self._adopt()
            return (self._ledger.first_header() or "").encode()

    def made(self, output: Path) -> bool:
        """Whether a file, which is read in full, is the merged output of this replay."""
        with self._ledger.rehearsal():
            self._adopt()
            try:
                verify(self._ledger, output, str(output))
            except ReplayRefusedError:
                return False
        return True

    def write_down(self, mini_batches: int, *, append_row: bool) -> Ending:
        """The transaction that makes the replay true; the note of it stays until `forget`."""
        with self._ledger.transaction():
            self._settle_letters(kept=self._adopt())
            counts = recount(self._ledger, mini_batches)
            status = RunStatus.COMPLETED if counts.items.succeeded or not append_row else self._ledger.status
            error = None if status is RunStatus.COMPLETED else self._ledger.meta("error")
            note = json.dumps({"state": SETTLED})
            self._ledger.put(counts=json.dumps(counts.as_dict()), status=status, error=error, replay_pending=note)
        return Ending(status, error, counts)

    def _adopt(self) -> set[int]:
        """Take the outcomes over; returns the mini-batches of which nothing succeeded, which keep what they had."""
        return {mini_batch for mini_batch, single in self._targets.items() if not self._ledger.adopt(self._scratch, mini_batch, single)}

    def _settle_letters(self, kept: set[int]) -> None:
        letters = list(self._ledger.letters(open_only=True))
        again = {self._key(letter): letter for letter in self._scratch.letters()}
        newest = {letter.mini_batch: letter for letter in again.values()}
        attempts = {letter.mini_batch: letter.attempt for letter in letters}
        for letter in letters:
            found = again.pop(self._key(letter), None)
            if letter.mini_batch in kept:
                found = replace(found or newest[letter.mini_batch], items_failed=letter.items_failed)
            self._ledger.settle_letter(letter, found)
        for letter in again.values():
            if letter.mini_batch not in kept:
                self._ledger.add_letter(
                    letter.mini_batch,
                    letter.item,
                    letter.position,
                    letter.items_failed,
                    attempts[letter.mini_batch] + 1,
                    letter.worker,
                    letter.error_class,
                    letter.message,
                    letter.traceback,
                    letter.peak_memory,
                )

    def _key(self, letter: DeadLetter) -> tuple[int, int | str | None]:
        """What a letter of the run and one of the replay have in common when they are about the same."""
        return letter.mini_batch, letter.position if self._targets[letter.mini_batch] else letter.item


def noted(ledger: Ledger) -> tuple[str, Targets] | None:
    """The note that a killed replay left, if one did: how far it was, and what ran again."""
    note = json.loads(ledger.meta("replay_pending") or "null")
    if note is None:
        return None
    return note["state"], {mini_batch: None if single is None else set(single) for mini_batch, single in note.get("targets", ())}


def forget(ledger: Ledger) -> None:
    """Nothing of a replay is pending any more."""
    with ledger.transaction():
        ledger.put(replay_pending=None)
