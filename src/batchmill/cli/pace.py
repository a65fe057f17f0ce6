"""How fast a run goes and when it will be done, from counts and the times they were seen at."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from batchmill.records import Counts

WINDOW = 30.0
SPACING = 0.25


@dataclass(frozen=True, slots=True)
class Sight:
    """What was done at one moment."""

    at: float
    mini_batches: int
    items: int


class Pace:
    """Rates over the last half minute; an earlier incarnation's work and the start of the workers do not count."""

    def __init__(self) -> None:
        self._sights: deque[Sight] = deque()

    def see(self, counts: Counts, now: float) -> None:
        """Take note of the counts at the time ``now`` (seconds, monotonic)."""
        sight = Sight(now, counts.mini_batches.succeeded + counts.mini_batches.failed, counts.items.succeeded + counts.items.failed)
        sights = self._sights
        if len(sights) == 1 and sight.mini_batches == sights[0].mini_batches and sight.items == sights[0].items:
            sights[0] = sight  # nothing has ended yet: the clock starts with the first mini-batches
            return
        if len(sights) > 2 and now - sights[-2].at < SPACING:
            sights[-1] = sight
        else:
            sights.append(sight)
        while len(sights) > 2 and now - sights[0].at > WINDOW:
            sights.popleft()

    def items_per_second(self) -> float | None:
        """None while nothing has ended."""
        seconds = self._seconds()
        return (self._sights[-1].items - self._sights[0].items) / seconds if seconds else None

    def seconds_left(self, counts: Counts) -> float | None:
        """None while nothing is known."""
        seconds = self._seconds()
        done = self._sights[-1].mini_batches - self._sights[0].mini_batches if seconds else 0
        return seconds / done * counts.mini_batches.not_run if done else None

    def _seconds(self) -> float:
        return self._sights[-1].at - self._sights[0].at if len(self._sights) > 1 else 0.0
