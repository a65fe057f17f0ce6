"""How long a mini-batch takes, as the last ones did; what is late is measured by it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from batchmill.parallel_run.events import Done
from batchmill.worker.delivery import RECORD

SEEN = 101
AT_ONCE = 5
"""Outcomes looked at of one group: a sample, so that it costs nothing when there are many."""

TIMES = 3.0
FLOOR = 5.0
"""Seconds. A lease may wait its turn on its node and its outcome for the node's next group, without anything being wrong."""


class Durations:
    """The durations of the last mini-batches."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=SEEN)

    def hear(self, outcomes: Iterable[Done]) -> None:
        """Take a sample of what succeeded."""
        for done in islice(outcomes, AT_ONCE):
            if done.piece is None:
                self._seconds.append(RECORD.unpack_from(done.packed, (done.count - 1) * RECORD.size)[6])

    @property
    def late(self) -> float | None:
        """Seconds after which a mini-batch is late; None while nothing is known."""
        return max(FLOOR, TIMES * sorted(self._seconds)[len(self._seconds) // 2]) if self._seconds else None
