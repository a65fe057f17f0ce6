"""A row of the results table, and the table as it is printed and as it stands in docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One bar: what was measured, for Batchmill and for its peers, against what; ``met`` is None where nothing could be measured."""

    what: str
    batchmill: str
    peers: str
    measured: str
    bar: str
    met: bool | None

    def cells(self) -> tuple[str, ...]:
        return (
            self.what,
            self.batchmill,
            self.peers,
            self.measured,
            self.bar,
            {True: "met", False: "not met", None: "not measured"}[self.met],
        )


HEAD = ("What", "Batchmill", "Peers", "Measured", "Bar", "")


def at_most(what: str, ours: str, peers: str, value: float, bar: float, unit: str = "x", *, text: str = "") -> Result:
    """A result that is good when it is small."""
    return Result(
        what, ours, peers, f"{value:.2f} {unit}".replace(" x", " ×"), text or f"≤ {bar:g} {unit}".replace(" x", " ×"), value <= bar
    )


def at_least(what: str, ours: str, peers: str, value: float, bar: float, unit: str = "x") -> Result:
    """A result that is good when it is large."""
    return Result(what, ours, peers, f"{value:.2f} {unit}".replace(" x", " ×"), f"≥ {bar:g} {unit}".replace(" x", " ×"), value >= bar)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def line(result: Result) -> str:
    """For the terminal."""
    return f"{result.what}: {result.measured} (bar {result.bar}: {result.cells()[-1]}); Batchmill {result.batchmill}; {result.peers}"


def markdown(results: Sequence[Result]) -> str:
    """The table of docs/performance.md."""
    rows = [HEAD, ("---",) * len(HEAD), *(result.cells() for result in results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
