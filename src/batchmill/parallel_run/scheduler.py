"""The scheduler: events in, instructions out. No clock, no input or output, no thread, no process.

It knows the fate of every mini-batch in one byte each, whatever is exceptional (retries, bisection) in records of its own, and hands
out leases of consecutive mini-batches. Outcomes are accepted only for a lease that is still held (fencing).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from batchmill.parallel_run.events import Done, ErrorFacts, Returned, Task, TryFailed
from batchmill.records import Counts, ItemCounts, MiniBatchCounts

FRESH, LEASED, DONE, FAILED, SPLIT, WAITING = range(6)
COORDINATOR_DIED = "CoordinatorDied"
"""The error class of a mini-batch that takes coordinators down: it is not bisected, each part would take another one."""

BISECTIONS_SEEN = 20
"""Bisection gives up when more than half of this many last bisected mini-batches failed in every item."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decide about failures."""

    run_max_try: int = 3
    isolate_failures: bool = True
    splittable: bool = True
    error_threshold: int = 0
    allowed_failed_count: int | None = None
    allowed_failed_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Give these leases to a node."""

    node: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """Commit an outcome; ``attempt`` is the number of the try that succeeded."""

    done: Done
    attempt: int


@dataclass(frozen=True, slots=True)
class RecordTry:
    """Record a failed try; ``attempt`` counts from 1."""

    event: TryFailed
    attempt: int


@dataclass(frozen=True, slots=True)
class BeginSplit:
    """The mini-batch is being bisected from now on."""

    mini_batch: int
    items: int


@dataclass(frozen=True, slots=True)
class FailPiece:
    """A single item failed for good."""

    event: TryFailed
    piece: tuple[int, int]
    attempt: int


@dataclass(frozen=True, slots=True)
class EndSplit:
    """Every item of a bisected mini-batch has its fate."""

    mini_batch: int
    items: int
    ok: int


@dataclass(frozen=True, slots=True)
class FailWhole:
    """A mini-batch failed for good, with all its items."""

    event: TryFailed
    items: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run as Failed."""

    message: str


Instruction = Grant | Accept | RecordTry | BeginSplit | FailPiece | EndSplit | FailWhole | Stop


@dataclass(slots=True)
class _Trouble:
    """What is exceptional about one mini-batch."""

    tries: int = 0
    alone: bool = False
    items: int | None = None
    ok: int = 0
    failed: int = 0
    open_pieces: dict[tuple[int, int], int] = field(default_factory=dict)
    suspect: bool = False


@dataclass(slots=True)
class _Lease:
    node: str
    first: int
    stop: int
    piece: tuple[int, int] | None
    left: int
    gone: set[int] = field(default_factory=set)
    """Mini-batches that failed or were given back while others of this lease go on: a newer lease may hold them."""


class Scheduler:
    """Decides what runs next and what every outcome means.

    Args:
        total: number of mini-batches.
        policy: the failure settings.
        items_of: items of a mini-batch where the plan knows them (files), else None.
    """

    def __init__(self, total: int, policy: Policy, items_of: Callable[[int], int | None]) -> None:
        self.total = total
        self.policy = policy
        self._items_of = items_of
        self.state = bytearray(total)
        self._cursor = 0
        self._returned: list[tuple[int, int]] = []
        self._retries: deque[tuple[int, tuple[int, int] | None]] = deque()
        self._trouble: dict[int, _Trouble] = {}
        self._leases: dict[int, _Lease] = {}
        self._token = 0
        self._hungry: dict[str, int] = {}
        self._nodes: set[str] = set()
        self._draining: set[str] = set()
        self._suspects: deque[int] = deque()
        self._bisected: deque[bool] = deque(maxlen=BISECTIONS_SEEN)
        self._stopped = False
        self.items_read = 0
        self.items_ok = 0
        self.items_failed = 0
        self.succeeded = 0
        self.failed = 0
        self.retried = 0

    # --- restoring from a ledger ------------------------------------------------------------------------------------------------

    def restore_done(self, first: int, count: int, items: int, ok: int, short: int) -> None:
        self.state[first : first + count] = bytes((DONE,)) * count
        self._count_done(count, items, ok, short)

    def restore_failed(self, mini_batch: int, items: int) -> None:
        self.state[mini_batch] = FAILED
        self.items_read += items
        self.items_failed += items
        self.failed += 1

    def restore_split(
        self,
        mini_batch: int,
        items: int,
        ok: int,
        *,
        ended: bool,
        settled: list[tuple[int, int]],
        tries: Mapping[tuple[int, int], int] | None = None,
        memory: bool = False,
    ) -> None:
        """A bisected mini-batch: ended, or with the pieces that have their fate and the failed tries of each piece."""
        if ended:
            self.state[mini_batch] = DONE if ok == items else FAILED
            self._count_done(1, items, ok, int(ok < items))
            self.retried += 1
            self._bisected.append(ok == 0)
            return
        trouble = self._trouble.setdefault(mini_batch, _Trouble(tries=self.policy.run_max_try))
        trouble.items, trouble.ok, trouble.alone = items, ok, memory
        trouble.failed = sum(count for _, count in settled) - ok
        self.items_ok += ok
        self.items_failed += trouble.failed
        self.items_read += ok + trouble.failed
        self.state[mini_batch] = SPLIT
        self._reopen_pieces(mini_batch, trouble, settled, tries or {})
        if not trouble.open_pieces:
            self._end_split_counts(mini_batch, trouble)

    def _reopen_pieces(
        self, mini_batch: int, trouble: _Trouble, settled: list[tuple[int, int]], tries: Mapping[tuple[int, int], int]
    ) -> None:
        """Walk down the bisection as far as it had come; what has no fate yet is open again."""
        assert trouble.items is not None
        has_fate = bytearray(trouble.items)
        for first, count in settled:
            has_fate[first : first + count] = b"\1" * count
        pieces = deque(_halves((0, trouble.items)))
        while pieces:
            first, count = piece = pieces.popleft()
            known = has_fate.count(1, first, first + count)
            if known == count:
                continue
            if known or (count > 1 and piece in tries):
                pieces += _halves(piece)
            else:
                self._open_piece(mini_batch, trouble, piece, tries.get(piece, 0))

    def restore_tries(self, mini_batch: int, tries: int, *, retried: bool, memory: bool) -> None:
        """Charged tries of a mini-batch; an open one goes on counting from there."""
        if self.state[mini_batch] in (DONE, FAILED):
            self.retried += retried
        elif self.state[mini_batch] == FRESH:
            self._trouble[mini_batch] = _Trouble(tries=tries, alone=memory)
            self.state[mini_batch] = WAITING
            self._retries.append((mini_batch, None))

    def suspect(self, mini_batches: list[int]) -> None:
        """Run these alone and one at a time, before anything else (three coordinators died on them)."""
        for mini_batch in mini_batches:
            if self.is_open(mini_batch):
                self._retries = deque(entry for entry in self._retries if entry[0] != mini_batch)
                self._trouble.setdefault(mini_batch, _Trouble()).suspect = True
                self.state[mini_batch] = WAITING
                self._suspects.append(mini_batch)

    def is_open(self, mini_batch: int) -> bool:
        """True while a mini-batch has no fate and is not being bisected."""
        return mini_batch < self.total and self.state[mini_batch] in (FRESH, WAITING)

    def charge(self, mini_batch: int, error: ErrorFacts, now: float) -> list[Instruction]:
        """A coordinator died while this suspect ran alone: that was a try of it."""
        self._suspects.remove(mini_batch)
        task = self._lease("", mini_batch, 1, None, alone=True)
        items = self._items_of(mini_batch)
        return self.try_failed(TryFailed("", "", task.token, mini_batch, None, items, None, "RUN_EXCEPTION", error, now, 0.0, 0.0))

    # --- events -----------------------------------------------------------------------------------------------------------------

    def node_ready(self, node: str) -> list[Instruction]:
        self._nodes.add(node)
        return []

    def hungry(self, node: str, want: int) -> list[Instruction]:
        if node in self._draining:
            return []
        self._nodes.add(node)
        self._hungry[node] = want
        return self.grants()

    def done(self, event: Done) -> list[Instruction]:
        """An outcome; [] when its lease is no longer held (the bytes are never copied)."""
        if not self._release(event.token, event.first, event.count, event.piece):
            return []
        if event.piece is not None:
            return [*self._piece_done(event), *self._verdict()]
        self.state[event.first : event.first + event.count] = bytes((DONE,)) * event.count
        attempt = 1
        if event.count == 1:
            trouble = self._trouble.pop(event.first, None)
            if trouble is not None and trouble.tries:
                attempt = trouble.tries + 1
                self.retried += 1
        self._count_done(event.count, event.items, event.ok, event.short)
        return [Accept(event, attempt), *self._verdict()]

    def _piece_done(self, event: Done) -> list[Instruction]:
        assert event.piece is not None
        trouble = self._trouble[event.first]
        tries = trouble.open_pieces.pop(event.piece)
        trouble.ok += event.ok
        trouble.failed += event.items - event.ok
        self.items_read += event.items
        self.items_ok += event.ok
        self.items_failed += event.items - event.ok
        return [Accept(event, tries + 1), *self._end_split(event.first, trouble)]

    def try_failed(self, event: TryFailed) -> list[Instruction]:
        if not self._leave(event.token, event.mini_batch, 1, event.piece):
            return []
        trouble = self._trouble.setdefault(event.mini_batch, _Trouble())
        trouble.alone = trouble.alone or event.error.memory
        if event.piece is not None:
            return [*self._piece_failed(event, trouble), *self._verdict()]
        trouble.tries += 1
        if event.items is not None:
            trouble.items = event.items
        told: list[Instruction] = [RecordTry(event, trouble.tries)]
        if trouble.tries < self.policy.run_max_try:
            self._wait(event.mini_batch, None)
            return [*told, *self.grants()]
        items = trouble.items if trouble.items is not None else self._items_of(event.mini_batch)
        if self._may_split(event, items):
            assert items is not None
            trouble.items = items
            told.append(BeginSplit(event.mini_batch, items))
            self.state[event.mini_batch] = SPLIT
            self._halve(event.mini_batch, trouble, (0, items))
            return [*told, *self.grants()]
        return [*told, self._fail_whole(event, trouble, items), *self._verdict()]

    def _may_split(self, event: TryFailed, items: int | None) -> bool:
        policy = self.policy
        gave_up = sum(self._bisected) > BISECTIONS_SEEN // 2
        return (
            policy.isolate_failures
            and policy.splittable
            and not event.status.startswith("LOAD")
            and event.error.error_class != COORDINATOR_DIED
            and items is not None
            and items > 1
            and not gave_up
        )

    def _fail_whole(self, event: TryFailed, trouble: _Trouble, items: int | None) -> FailWhole:
        lost = items if items is not None else 1
        self.state[event.mini_batch] = FAILED
        self.items_read += lost
        self.items_failed += lost
        self.failed += 1
        self.retried += trouble.tries > 1
        del self._trouble[event.mini_batch]
        return FailWhole(event, lost, trouble.tries)

    def _piece_failed(self, event: TryFailed, trouble: _Trouble) -> list[Instruction]:
        assert event.piece is not None
        piece = event.piece
        tries = trouble.open_pieces.pop(piece) + 1
        told: list[Instruction] = [RecordTry(event, tries)]
        if piece[1] > 1:
            self._halve(event.mini_batch, trouble, piece)
            return [*told, *self.grants()]
        if tries < self.policy.run_max_try:
            trouble.open_pieces[piece] = tries
            self._retries.append((event.mini_batch, piece))
            return [*told, *self.grants()]
        trouble.failed += 1
        self.items_read += 1
        self.items_failed += 1
        return [*told, FailPiece(event, piece, tries), *self._end_split(event.mini_batch, trouble)]

    def returned(self, event: Returned) -> list[Instruction]:
        """Leases given back without a try."""
        if not self._leave(event.token, event.first, event.count, event.piece):
            return []
        if event.piece is not None:
            self._retries.append((event.first, event.piece))
        elif event.count == 1 and event.first in self._trouble:
            self._wait(event.first, None)
        else:
            self.state[event.first : event.first + event.count] = bytes((FRESH,)) * event.count
            heapq.heappush(self._returned, (event.first, event.count))
        return self.grants()

    def node_draining(self, node: str) -> list[Instruction]:
        """The node gets nothing more; it ends what it has begun and gives the rest back."""
        self._draining.add(node)
        self._nodes.discard(node)
        self._hungry.pop(node, None)
        return self.grants()

    def node_lost(self, node: str) -> list[Instruction]:
        """Everything the node held may run elsewhere; what it says later is refused."""
        self._nodes.discard(node)
        self._draining.discard(node)
        self._hungry.pop(node, None)
        for token, lease in list(self._leases.items()):
            if lease.node == node:
                del self._leases[token]
                self._give_up_lease(lease)
        return self.grants()

    def _give_up_lease(self, lease: _Lease) -> None:
        if lease.piece is not None:
            self._retries.append((lease.first, lease.piece))
            return
        position = lease.first
        while position < lease.stop:
            position = self.state.find(LEASED, position, lease.stop)
            if position < 0:
                return
            if position in lease.gone:
                position += 1
                continue
            stop = position
            while stop < lease.stop and self.state[stop] == LEASED and stop not in lease.gone:
                stop += 1
            if stop - position == 1 and position in self._trouble:
                self._wait(position, None)
            else:
                self.state[position:stop] = bytes((FRESH,)) * (stop - position)
                heapq.heappush(self._returned, (position, stop - position))
            position = stop

    # --- leases -----------------------------------------------------------------------------------------------------------------

    def grants(self) -> list[Instruction]:
        """Leases for every node that wants some."""
        if self._stopped:
            return []
        told: list[Instruction] = []
        for node, want in list(self._hungry.items()):
            tasks = tuple(self._tasks_for(node, want))
            if tasks:
                del self._hungry[node]
                told.append(Grant(node, tasks))
        return told

    def _tasks_for(self, node: str, want: int) -> Iterator[Task]:
        if self._suspects or any(trouble.suspect for trouble in self._trouble.values()):
            yield from self._suspect_task(node)
            return
        want = min(want, max(1, -(-self.remaining // max(1, len(self._nodes)))))
        while want > 0:
            if self._retries:
                mini_batch, piece = self._retries.popleft()
                yield self._lease(node, mini_batch, 1, piece, alone=self._trouble[mini_batch].alone)
                want -= 1
                continue
            run = self._next_run(want)
            if run is None:
                return
            yield self._lease(node, run[0], run[1], None, alone=False)
            want -= run[1]

    def _suspect_task(self, node: str) -> Iterator[Task]:
        if self._suspects and not self._leases:
            yield self._lease(node, self._suspects.popleft(), 1, None, alone=True)

    def _next_run(self, want: int) -> tuple[int, int] | None:
        """The next consecutive mini-batches that nobody holds."""
        if self._returned:
            first, count = heapq.heappop(self._returned)
            if count > want:
                heapq.heappush(self._returned, (first + want, count - want))
            return first, min(count, want)
        first = self.state.find(FRESH, self._cursor)
        if first < 0:
            self._cursor = self.total
            return None
        stop = min(first + want, self.total)
        if self.state.count(FRESH, first, stop) != stop - first:
            stop = next(k for k in range(first, stop) if self.state[k] != FRESH)
        self._cursor = stop
        return first, stop - first

    def _lease(self, node: str, first: int, count: int, piece: tuple[int, int] | None, *, alone: bool) -> Task:
        self._token += 1
        if piece is None:
            self.state[first : first + count] = bytes((LEASED,)) * count
        self._leases[self._token] = _Lease(node, first, first + count, piece, count)
        return Task(self._token, first, count, piece, alone)

    def _release(self, token: int, first: int, count: int, piece: tuple[int, int] | None) -> bool:
        """Take mini-batches off a lease; False when the lease does not hold them (any more)."""
        lease = self._leases.get(token)
        if lease is None or lease.piece != piece or first < lease.first or first + count > lease.stop:
            return False
        if piece is None and self.state.count(LEASED, first, first + count) != count:
            return False
        if lease.gone and not lease.gone.isdisjoint(range(first, first + count)):
            return False
        lease.left -= count
        if lease.left == 0:
            del self._leases[token]
        return True

    def _leave(self, token: int, first: int, count: int, piece: tuple[int, int] | None) -> bool:
        """Like `_release`, for mini-batches that are going to be leased again."""
        lease = self._leases.get(token)
        if not self._release(token, first, count, piece):
            return False
        if lease is not None and lease.left:
            lease.gone.update(range(first, first + count))
        return True

    def _wait(self, mini_batch: int, piece: tuple[int, int] | None) -> None:
        self.state[mini_batch] = WAITING
        if self._trouble[mini_batch].suspect:
            self._suspects.append(mini_batch)
        else:
            self._retries.append((mini_batch, piece))

    # --- bisection --------------------------------------------------------------------------------------------------------------

    def _halve(self, mini_batch: int, trouble: _Trouble, piece: tuple[int, int]) -> None:
        trouble.suspect = False
        for half in _halves(piece):
            self._open_piece(mini_batch, trouble, half)

    def _open_piece(self, mini_batch: int, trouble: _Trouble, piece: tuple[int, int], tries: int = 0) -> None:
        trouble.open_pieces[piece] = tries
        self._retries.append((mini_batch, piece))

    def _end_split(self, mini_batch: int, trouble: _Trouble) -> list[Instruction]:
        if trouble.open_pieces:
            return []
        assert trouble.items is not None
        self._end_split_counts(mini_batch, trouble)
        return [EndSplit(mini_batch, trouble.items, trouble.ok)]

    def _end_split_counts(self, mini_batch: int, trouble: _Trouble) -> None:
        self._bisected.append(trouble.ok == 0)
        self.state[mini_batch] = FAILED if trouble.failed else DONE
        self.failed += bool(trouble.failed)
        self.succeeded += not trouble.failed
        self.retried += 1
        self._trouble.pop(mini_batch, None)

    # --- counting ---------------------------------------------------------------------------------------------------------------

    def _count_done(self, count: int, items: int, ok: int, short: int) -> None:
        self.items_read += items
        self.items_ok += ok
        self.items_failed += items - ok
        self.succeeded += count - short
        self.failed += short

    def _verdict(self) -> list[Instruction]:
        """Is a threshold exceeded? (specification C6)"""
        policy = self.policy
        message = None
        if 0 <= policy.error_threshold < self.items_failed:
            message = f"The number of failed items is {self.items_failed}, which exceeds error threshold {policy.error_threshold}."
        elif policy.allowed_failed_count is not None and 0 <= policy.allowed_failed_count < self.failed:
            message = (
                f"The number of failed mini batches is {self.failed}, which exceeds allowed_failed_count {policy.allowed_failed_count}."
            )
        elif policy.allowed_failed_percent is not None and self.failed * 100 > policy.allowed_failed_percent * self.total:
            message = (
                f"{self.failed} of {self.total} mini batches failed ({100 * self.failed / self.total:g} %), "
                f"which exceeds allowed_failed_percent {policy.allowed_failed_percent:g}."
            )
        if message is not None and not self._stopped:
            self._stopped = True
            return [Stop(message)]
        return self.grants()

    def check_thresholds(self) -> str | None:
        """The threshold that a restored state already exceeds."""
        told = [one for one in self._verdict() if isinstance(one, Stop)]
        return told[0].message if told else None

    @property
    def remaining(self) -> int:
        return self.total - self.succeeded - self.failed

    @property
    def finished(self) -> bool:
        return self.remaining == 0

    def counts(self, items_total: int | None) -> Counts:
        """Counts so far; ``items_total`` where the plan knows it, else the items are known when all mini-batches were read."""
        total = items_total if items_total is not None else self.items_read if self.finished else None
        not_run = total - self.items_ok - self.items_failed if total is not None else None
        return Counts(
            ItemCounts(total, self.items_ok, self.items_failed, not_run),
            MiniBatchCounts(self.total, self.succeeded, self.failed, self.remaining, self.retried),
        )

    def check_invariants(self) -> None:
        """Used by tests after each step."""
        whole = [lease for lease in self._leases.values() if lease.piece is None]
        held = [k for lease in whole for k in range(lease.first, lease.stop) if self.state[k] == LEASED and k not in lease.gone]
        assert len(held) == len(set(held)), "no mini-batch is in two leases"
        assert len(held) == self.state.count(LEASED), "every leased mini-batch is in a lease"
        assert len(held) == sum(lease.left for lease in whole), "a lease knows how many it holds"
        waiting = [*self._retries, *((k, None) for k in self._suspects)]
        assert len(waiting) == len(set(waiting)), "nothing waits twice"
        leased_pieces = {(lease.first, lease.piece) for lease in self._leases.values() if lease.piece is not None}
        for mini_batch, trouble in self._trouble.items():
            assert self.state[mini_batch] in (LEASED, WAITING, SPLIT), "trouble is kept for open mini-batches only"
            for piece in trouble.open_pieces:
                assert ((mini_batch, piece) in waiting) != ((mini_batch, piece) in leased_pieces), "an open piece waits or is leased"
        ended = self.state.count(DONE) + self.state.count(FAILED)
        assert ended == self.succeeded + self.failed, "states and counters agree"
        assert self.items_ok + self.items_failed == self.items_read, "every item read has one fate"


def _halves(piece: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    first, count = piece
    return (first, count // 2), (first + count // 2, count - count // 2)
