"""The heart of a run on a cluster: whether a coordinator works at it, as its signs of life in the run store tell.

They were written on another machine, whose clock may be any: a beat that is not young by the clock here counts when another one follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from batchmill.parallel_run.run_store import Heartbeat

BEAT = 1.0
STALE = 20.0
"""Seconds without a heartbeat after which a coordinator counts as gone."""
SKEW = 5.0
"""Seconds by which clocks may differ unnoticed; beyond that it is looked whether the heart still beats."""
_seen: dict[str, tuple[tuple[int, int], float]] = {}


class Heart:
    """That of the run ``run_id``; ``look`` finds its last heartbeat, if it can be reached."""

    def __init__(self, run_id: str, look: Callable[[], Heartbeat | None]) -> None:
        self._run_id, self._look = run_id, look

    def beats(self) -> bool:
        """Whether a coordinator works at the run. Waits for a beat where clocks differ."""
        beat = self._look()
        if beat is None or beat.facts.get("over"):
            return False
        if -SKEW <= time.time() - beat.time <= STALE:
            return True
        deadline = time.monotonic() + 3 * BEAT
        while not self._moves(beat):
            if time.monotonic() > deadline:
                return False
            time.sleep(BEAT / 4)
            beat = self._look() or beat
        return True

    def _moves(self, beat: Heartbeat) -> bool:
        """Whether this is another beat than the last one that this process has seen, or that one is not old by this machine's clock."""
        key, now = (beat.epoch, beat.beat), time.monotonic()
        before = _seen.get(self._run_id)
        if before is None:
            _seen[self._run_id] = (key, now - STALE - 1)
            return False
        if before[0] != key:
            _seen[self._run_id] = (key, now)
            return True
        return now - before[1] <= STALE
