"""The backlog: what nobody holds, in the order in which it is handed out."""

from __future__ import annotations

import heapq
from collections import deque

from batchmill.parallel_run.bisection import Piece
from batchmill.parallel_run.states import FRESH


class Backlog:
    """Retries and pieces first, then what came back, then what nobody has had yet.

    Args:
        state: the state of every mini-batch; fresh ones are found in it.
    """

    def __init__(self, state: bytearray) -> None:
        self._state = state
        self._cursor = 0
        self._returned: list[tuple[int, int]] = []
        self.retries: deque[tuple[int, Piece | None]] = deque()

    def __bool__(self) -> bool:
        """Whether anything is left to hand out. Costs next to nothing: the cursor only ever moves forward."""
        return bool(self.retries or self._returned) or self._fresh() is not None

    def retry(self, mini_batch: int, piece: Piece | None) -> None:
        self.retries.append((mini_batch, piece))

    def drop(self, mini_batch: int) -> None:
        """No retry of this one."""
        self.retries = deque(entry for entry in self.retries if entry[0] != mini_batch)

    def give_back(self, first: int, count: int) -> None:
        """These come before all that nobody has had yet."""
        self._state[first : first + count] = bytes((FRESH,)) * count
        heapq.heappush(self._returned, (first, count))

    def _fresh(self) -> int | None:
        if self._cursor >= len(self._state):
            return None
        first = self._state.find(FRESH, self._cursor)
        self._cursor = first if first >= 0 else len(self._state)
        return first if first >= 0 else None

    def next_run(self, want: int) -> tuple[int, int] | None:
        """The next (first, count) of consecutive mini-batches, at most ``want``; they must be leased at once."""
        if self._returned:
            first, count = heapq.heappop(self._returned)
            if count > want:
                heapq.heappush(self._returned, (first + want, count - want))
            return first, min(count, want)
        found = self._fresh()
        if found is None:
            return None
        stop = min(found + want, len(self._state))
        if self._state.count(FRESH, found, stop) != stop - found:
            stop = next(k for k in range(found, stop) if self._state[k] != FRESH)
        self._cursor = stop
        return found, stop - found
