"""Leases: which node may work on which mini-batches. A token fences each one off: what comes of a lease that is over is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from batchmill.parallel_run.bisection import Piece
from batchmill.parallel_run.events import Task
from batchmill.parallel_run.instructions import Revoke
from batchmill.parallel_run.states import LEASED

Run = tuple[int, int]
"""Consecutive mini-batches: first, count."""


@dataclass(slots=True)
class Lease:
    """Consecutive mini-batches (or one piece) that a node holds."""

    token: int
    node: str
    first: int
    stop: int
    piece: Piece | None
    alone: bool
    since: float
    left: int
    gone: set[int] = field(default_factory=set)
    """Mini-batches that left this lease without its outcome, while others of it go on: another lease may hold them."""
    beaten: bool = False
    """Another node was faster with some of it; its worker may still be at it."""


class LeaseBook:
    """All leases. A mini-batch is held by the leases that cover it and have not let go of it, while its state is `LEASED`."""

    def __init__(self, state: bytearray) -> None:
        self._state = state
        self._leases: dict[int, Lease] = {}
        self._of_node: dict[str, set[int]] = {}
        self._token = 0

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __getitem__(self, token: int) -> Lease:
        return self._leases[token]

    def open(self, node: str, run: Run, piece: Piece | None, *, alone: bool, now: float) -> Task:
        """A new lease, newer than all others."""
        self._token = token = self._token + 1
        first, count = run
        if piece is None:
            self._state[first : first + count] = bytes((LEASED,)) * count
        self._leases[token] = Lease(token, node, first, first + count, piece, alone, now, count)
        self._of_node.setdefault(node, set()).add(token)
        return Task(token, first, count, piece, alone)

    def of(self, node: str) -> list[Lease]:
        """The leases of a node, oldest first."""
        return [self._leases[token] for token in sorted(self._of_node.get(node, ()))]

    def holds_nothing(self, node: str) -> bool:
        return not self._of_node.get(node)

    def holder(self, token: int, first: int, count: int, piece: Piece | None) -> Lease | None:
        """The lease of this token if it holds all of this, else None."""
        lease = self._leases.get(token)
        if lease is None or lease.piece != piece or first < lease.first or first + count > lease.stop:
            return None
        if piece is None and self._state.count(LEASED, first, first + count) != count:
            return None
        if lease.gone and not lease.gone.isdisjoint(range(first, first + count)):
            return None
        return lease

    def held(self, lease: Lease, first: int = 0, stop: int | None = None) -> list[Run]:
        """What a lease of whole mini-batches still holds between these two, as runs."""
        position, stop = max(first, lease.first), lease.stop if stop is None else min(stop, lease.stop)
        runs: list[Run] = []
        while (position := self._state.find(LEASED, position, stop)) >= 0:
            end = position
            while end < stop and self._state[end] == LEASED and end not in lease.gone:
                end += 1
            if end > position:
                runs.append((position, end - position))
            position = max(end, position + 1)
        return runs

    def still_held(self, token: int, first: int, count: int) -> list[Run]:
        """The runs of these mini-batches that the lease of this token holds; none when it is over."""
        lease = self._leases.get(token)
        return [] if lease is None or lease.piece is not None else self.held(lease, first, first + count)

    def settle(self, lease: Lease, count: int) -> Sequence[Revoke]:
        """``count`` of what it holds has its outcome; tells what to do when that was the last."""
        lease.left -= count
        if lease.left:
            return ()
        self.close(lease)
        return (Revoke(lease.node, lease.token),) if lease.beaten else ()

    def leave(self, lease: Lease, first: int, count: int) -> Sequence[Revoke]:
        """These left the lease without an outcome of it."""
        told = self.settle(lease, count)
        if lease.left:
            lease.gone.update(range(first, first + count))
        return told

    def close(self, lease: Lease) -> None:
        del self._leases[lease.token]
        tokens = self._of_node[lease.node]
        tokens.discard(lease.token)
        if not tokens:
            del self._of_node[lease.node]
