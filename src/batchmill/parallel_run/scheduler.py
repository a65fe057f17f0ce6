"""The scheduler: events in, instructions out. No clock, no input or output, no thread, no process.

It knows the state of every mini-batch in one byte each, whatever is exceptional (retries, bisection) in records of its own, and hands
out leases of consecutive mini-batches. Outcomes are accepted only for a lease that is still held (fencing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from batchmill.parallel_run.allotment import Allotment
from batchmill.parallel_run.bisection import Bisections, Piece, Trouble, halves, open_pieces
from batchmill.parallel_run.events import Done, ErrorFacts, Returned, TryFailed
from batchmill.parallel_run.instructions import (
    Accept,
    BeginSplit,
    EndSplit,
    FailPiece,
    FailWhole,
    Instruction,
    RecordTry,
    Revoke,
    Stop,
)
from batchmill.parallel_run.merged_outcomes import cut
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.quarantine import NODE_DIED
from batchmill.parallel_run.states import DONE, FAILED, FRESH, SPLIT, WAITING
from batchmill.parallel_run.tally import Tally

COORDINATOR_DIED = "CoordinatorDied"
"""The error class of a mini-batch that takes coordinators down: it is not bisected, each part would take another one."""


class Scheduler(Tally):
    """Decides what runs next and what every outcome means.

    Args:
        total: number of mini-batches.
        policy: the failure settings.
        items_of: items of a mini-batch where the plan knows them (files), else None.
    """

    def __init__(self, total: int, policy: Policy, items_of: Callable[[int], int | None]) -> None:
        super().__init__(total)
        self.policy = policy
        self._items_of = items_of
        self.state = bytearray(total)
        self._trouble: dict[int, Trouble] = {}
        self._allotment = Allotment(self.state, self._trouble)
        self._leases = self._allotment.leases
        self._quarantine = self._allotment.quarantine
        self._second = self._allotment.second
        self._bisections = Bisections()
        self._stopped = False

    @property
    def now(self) -> float:
        """The time as the caller counts it, in seconds; leases remember it, for `second_runs`."""
        return self._allotment.now

    @now.setter
    def now(self, now: float) -> None:
        self._allotment.now = now

    # --- restoring from a ledger ------------------------------------------------------------------------------------------------

    def restore_done(self, first: int, count: int, items: int, ok: int, short: int) -> None:
        self.state[first : first + count] = bytes((DONE,)) * count
        self._count_done(count, items, ok, short)

    def restore_failed(self, mini_batch: int, items: int) -> None:
        self.state[mini_batch] = FAILED
        self._count_failed(items)

    def restore_split(
        self,
        mini_batch: int,
        items: int,
        ok: int,
        *,
        ended: bool,
        settled: list[Piece],
        tries: Mapping[Piece, int] | None = None,
        memory: bool = False,
    ) -> None:
        """A bisected mini-batch: ended, or with the pieces that have their fate and the failed tries of each piece."""
        if ended:
            self.state[mini_batch] = DONE if ok == items else FAILED
            self._count_done(1, items, ok, int(ok < items))
            self.retried += 1
            self._bisections.ended(ok)
            return
        trouble = self._trouble.setdefault(mini_batch, Trouble(tries=self.policy.run_max_try))
        trouble.items, trouble.ok, trouble.alone = items, ok, memory
        trouble.failed = sum(count for _, count in settled) - ok
        self._count_items(ok + trouble.failed, ok)
        self.state[mini_batch] = SPLIT
        tries = tries or {}
        for piece in open_pieces(items, settled, tries):
            self._open_piece(mini_batch, trouble, piece, tries.get(piece, 0))
        if not trouble.open_pieces:
            self._end_split_counts(mini_batch, trouble)

    def restore_tries(self, mini_batch: int, tries: int, *, retried: bool, memory: bool) -> None:
        """Charged tries of a mini-batch; an open one goes on counting from there."""
        if self.state[mini_batch] in (DONE, FAILED):
            self.retried += retried
        elif self.state[mini_batch] == FRESH:
            self._trouble[mini_batch] = Trouble(tries=tries, alone=memory)
            self._allotment.wait(mini_batch)

    def suspect(self, mini_batches: list[int]) -> None:
        """Run these alone and one at a time, before anything else (three coordinators died on them)."""
        for mini_batch in mini_batches:
            if self.is_open(mini_batch):
                self._trouble.setdefault(mini_batch, Trouble())
                self._allotment.suspect(mini_batch)

    def is_open(self, mini_batch: int) -> bool:
        """True while a mini-batch has no fate and is not being bisected."""
        return mini_batch < self.total and self.state[mini_batch] in (FRESH, WAITING)

    def charge(self, mini_batch: int, error: ErrorFacts, now: float) -> list[Instruction]:
        """A coordinator died while this suspect ran alone: that was a try of it."""
        task = self._allotment.charge(mini_batch)
        items = self._items_of(mini_batch)
        return self.try_failed(TryFailed("", "", task.token, mini_batch, None, items, None, "RUN_EXCEPTION", error, now, 0.0, 0.0))

    # --- nodes ------------------------------------------------------------------------------------------------------------------

    def node_ready(self, node: str) -> list[Instruction]:
        """The node works for the run from now on, or again."""
        self._allotment.join(node)
        return []

    def hungry(self, node: str, want: int) -> list[Instruction]:
        """The node could use ``want`` mini-batches more; one that is leaving or lost gets none."""
        return self.grants() if self._allotment.ask(node, want) else []

    def node_draining(self, node: str) -> list[Instruction]:
        """The node gets nothing more; it ends what it has begun and gives the rest back."""
        self._allotment.leave(node)
        return self.grants()

    def node_lost(self, node: str, reason: str = "", time: float = 0.0) -> list[Instruction]:
        """Everything the node held may run elsewhere; what it says later is refused. ``time`` (Unix) is recorded where this was a try."""
        counts = self._allotment.leave(node)  # that a draining node is taken away is nobody's fault
        told: list[Instruction] = []
        for lease in self._leases.of(node):
            key = lease.first, lease.piece
            if counts and lease.alone and key in self._quarantine:
                error = ErrorFacts(NODE_DIED, f"{node} died while nothing else ran on it ({reason or 'nobody knows why'}).")
                told += self.try_failed(
                    TryFailed(node, "", lease.token, lease.first, lease.piece, None, None, "RUN_EXCEPTION", error, time, 0.0, 0.0)
                )
            else:
                self._allotment.give_up(lease, counts=counts)
        self._quarantine.forget(lambda mini_batch: self.state[mini_batch] in (DONE, FAILED))
        return [*told, *self.grants()]

    # --- outcomes ---------------------------------------------------------------------------------------------------------------

    def done(self, event: Done) -> list[Instruction]:
        """An outcome; [] when its lease is no longer held (the bytes are never copied)."""
        lease = self._leases.holder(event.token, event.first, event.count, event.piece)
        if lease is None:
            parts = self._leases.still_held(event.token, event.first, event.count) if event.piece is None else []
            return [one for first, count in parts for one in self.done(cut(event, first, count))]
        told: Sequence[Instruction] = self._leases.settle(lease, event.count)
        if event.piece is not None:
            return [*self._piece_done(event), *self._verdict()]
        if self._second:
            told = (*told, *self._beaten(event))
        self.state[event.first : event.first + event.count] = bytes((DONE,)) * event.count
        attempt = 1
        if event.count == 1:
            trouble = self._trouble.pop(event.first, None)
            if trouble is not None:
                attempt = trouble.tries + 1
                self.retried += trouble.tries > 0
                self._allotment.ended(event.first)
        self._count_done(event.count, event.items, event.ok, event.short)
        return [Accept(event, attempt), *told, *self._verdict()]

    def _beaten(self, event: Done) -> Iterator[Revoke]:
        """Another node still runs some of this: its outcome is no longer wanted."""
        for mini_batch in self._second.among(event.first, event.count):
            other = self._second.end(mini_batch, event.token)
            assert other is not None
            loser = self._leases[other]
            loser.beaten = True
            yield from self._leases.leave(loser, mini_batch, 1)

    def _piece_done(self, event: Done) -> list[Instruction]:
        assert event.piece is not None
        trouble = self._trouble[event.first]
        tries = trouble.open_pieces.pop(event.piece)
        self._quarantine.release((event.first, event.piece))
        trouble.ok += event.ok
        trouble.failed += event.items - event.ok
        self._count_items(event.items, event.ok)
        return [Accept(event, tries + 1), *self._end_split(event.first, trouble)]

    def try_failed(self, event: TryFailed) -> list[Instruction]:
        lease = self._leases.holder(event.token, event.mini_batch, 1, event.piece)
        if lease is None:
            return []
        gone: list[Instruction] = [*self._leases.leave(lease, event.mini_batch, 1)]
        if event.piece is None and self._second.end(event.mini_batch, event.token) is not None:
            return [*gone, *self.grants()]  # the other one may well succeed
        trouble = self._trouble.setdefault(event.mini_batch, Trouble())
        trouble.alone = trouble.alone or event.error.memory
        if event.piece is not None:
            return [*gone, *self._piece_failed(event, trouble), *self._verdict()]
        trouble.tries += 1
        if event.items is not None:
            trouble.items = event.items
        told: list[Instruction] = [*gone, RecordTry(event, trouble.tries)]
        if trouble.tries < self.policy.run_max_try:
            self._allotment.wait(event.mini_batch)
            return [*told, *self.grants()]
        items = trouble.items if trouble.items is not None else self._items_of(event.mini_batch)
        if self._may_split(event, items):
            assert items is not None
            trouble.items = items
            told.append(BeginSplit(event.mini_batch, items))
            self.state[event.mini_batch] = SPLIT
            self._allotment.ended(event.mini_batch)
            for half in halves((0, items)):
                self._open_piece(event.mini_batch, trouble, half)
            return [*told, *self.grants()]
        return [*told, self._fail_whole(event, trouble, items), *self._verdict()]

    def _may_split(self, event: TryFailed, items: int | None) -> bool:
        policy = self.policy
        return (
            policy.isolate_failures
            and policy.splittable
            and not event.status.startswith("LOAD")
            and event.error.error_class not in (COORDINATOR_DIED, NODE_DIED)
            and items is not None
            and items > 1
            and not self._bisections.gave_up
        )

    def _fail_whole(self, event: TryFailed, trouble: Trouble, items: int | None) -> FailWhole:
        lost = items if items is not None else 1
        self.state[event.mini_batch] = FAILED
        self._count_failed(lost)
        self.retried += trouble.tries > 1
        del self._trouble[event.mini_batch]
        self._allotment.ended(event.mini_batch)
        return FailWhole(event, lost, trouble.tries)

    def _piece_failed(self, event: TryFailed, trouble: Trouble) -> list[Instruction]:
        assert event.piece is not None
        piece = event.piece
        tries = trouble.open_pieces.pop(piece) + 1
        told: list[Instruction] = [RecordTry(event, tries)]
        if piece[1] == 1 and tries < self.policy.run_max_try:
            self._open_piece(event.mini_batch, trouble, piece, tries)
            return told
        self._quarantine.release((event.mini_batch, piece))
        if piece[1] > 1:
            for half in halves(piece):
                if event.error.error_class == NODE_DIED:  # each half is as dangerous
                    self._quarantine.admit((event.mini_batch, half))
                self._open_piece(event.mini_batch, trouble, half)
            return told
        trouble.failed += 1
        self._count_items(1, 0)
        return [*told, FailPiece(event, piece, tries), *self._end_split(event.mini_batch, trouble)]

    def returned(self, event: Returned) -> list[Instruction]:
        """Leases given back without a try."""
        told: list[Instruction] = []
        if event.piece is not None:
            if (lease := self._leases.holder(event.token, event.first, event.count, event.piece)) is not None:
                self._leases.close(lease)
                self._allotment.queue(event.first, event.piece)
            return self.grants()
        for held in self._leases.still_held(event.token, event.first, event.count):
            lease = self._leases[event.token]
            free = self._allotment.not_held_twice(event.token, *held)
            told += self._leases.leave(lease, *held)
            for run in free:
                self._allotment.give_back(*run)
        return [*told, *self.grants()]

    # --- handing out ------------------------------------------------------------------------------------------------------------

    def grants(self) -> list[Instruction]:
        """Leases for every node that wants some, as far as there is something to hand out."""
        return self._allotment.grants(self.remaining) if self._allotment.hungry and not self._stopped else []

    def second_runs(self, after: float) -> list[Instruction]:
        """Leases for whole mini-batches that one node has held for more than ``after`` seconds, for nodes that nothing else is left for."""
        return self._allotment.second_runs(after) if self.policy.speculative and not self._stopped else []

    # --- bisection --------------------------------------------------------------------------------------------------------------

    def _open_piece(self, mini_batch: int, trouble: Trouble, piece: Piece, tries: int = 0) -> None:
        trouble.open_pieces[piece] = tries
        self._allotment.queue(mini_batch, piece)

    def _end_split(self, mini_batch: int, trouble: Trouble) -> list[Instruction]:
        if trouble.open_pieces:
            return []
        assert trouble.items is not None
        self._end_split_counts(mini_batch, trouble)
        return [EndSplit(mini_batch, trouble.items, trouble.ok)]

    def _end_split_counts(self, mini_batch: int, trouble: Trouble) -> None:
        self._bisections.ended(trouble.ok)
        self.state[mini_batch] = FAILED if trouble.failed else DONE
        self._count_split(trouble.failed)
        self._trouble.pop(mini_batch, None)

    def _verdict(self) -> list[Instruction]:
        """Is a threshold exceeded?"""
        if not (self.items_failed or self.failed):
            return self.grants()
        message = self.policy.exceeded(self.items_failed, self.failed, self.total)
        if message is not None and not self._stopped:
            self._stopped = True
            return [Stop(message)]
        return self.grants()

    def check_thresholds(self) -> str | None:
        """The threshold that a restored state already exceeds."""
        told = [one for one in self._verdict() if isinstance(one, Stop)]
        return told[0].message if told else None
