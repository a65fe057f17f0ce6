"""Allotment: who gets what. Nodes that ask on one side, what nobody holds on the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from batchmill.parallel_run.backlog import Backlog
from batchmill.parallel_run.bisection import Piece, Trouble
from batchmill.parallel_run.events import Task
from batchmill.parallel_run.instructions import Grant, Instruction
from batchmill.parallel_run.leases import Lease, LeaseBook
from batchmill.parallel_run.quarantine import Quarantine
from batchmill.parallel_run.second_runs import SecondRuns, deal
from batchmill.parallel_run.states import WAITING


class Allotment:
    """Hands out leases, and takes up what comes back.

    Args:
        state: the state of every mini-batch.
        trouble: what is exceptional about some of them.

    Attributes:
        now: the time as the caller counts it, in seconds.
        hungry: the nodes that want some, and how many.
    """

    def __init__(self, state: bytearray, trouble: dict[int, Trouble]) -> None:
        self.now = 0.0
        self._state = state
        self._trouble = trouble
        self._backlog = Backlog(state)
        self.leases = LeaseBook(state)
        self.quarantine = Quarantine()
        self.second = SecondRuns()
        self.hungry: dict[str, int] = {}
        self._nodes: set[str] = set()
        self._leaving: set[str] = set()
        self._suspects: deque[int] = deque()
        self._suspected: set[int] = set()

    # --- nodes ------------------------------------------------------------------------------------------------------------------

    def join(self, node: str) -> None:
        """The node works for the run from now on, or again."""
        self._nodes.add(node)
        self._leaving.discard(node)

    def ask(self, node: str, want: int) -> bool:
        """The node wants so many; False when it is leaving or lost."""
        if node in self._leaving:
            return False
        self._nodes.add(node)
        self.hungry[node] = want
        return True

    def leave(self, node: str) -> bool:
        """The node gets nothing more, until it joins again; False when that was known."""
        known = node in self._leaving
        self._leaving.add(node)
        self._nodes.discard(node)
        self.hungry.pop(node, None)
        self.quarantine.aside.discard(node)
        return not known

    # --- handing out ------------------------------------------------------------------------------------------------------------

    def grants(self, remaining: int) -> list[Instruction]:
        """Leases for every node that wants some, as far as there is something to hand out; ``remaining`` have no fate yet."""
        if not self.hungry:
            return []
        if self._suspected:
            return self._suspect_grant()
        told = self._quarantine_grants() if self.quarantine else []
        if self._backlog:
            for node, want in list(self.hungry.items()):
                if node in self.quarantine.aside:
                    continue
                tasks = tuple(self._tasks_for(node, want, remaining))
                del self.hungry[node]
                told.append(Grant(node, tasks))
                if not self._backlog:
                    break
        return told

    def _tasks_for(self, node: str, want: int, remaining: int) -> Iterator[Task]:
        """No node gets more than its share of what is left."""
        want = min(want, max(1, -(-remaining // max(1, len(self._nodes)))))
        while want > 0:
            if self._backlog.retries:
                mini_batch, piece = self._backlog.retries.popleft()
                yield self.lease(node, mini_batch, 1, piece, alone=self._trouble[mini_batch].alone)
                want -= 1
                continue
            run = self._backlog.next_run(want)
            if run is None:
                return
            yield self.lease(node, run[0], run[1], None, alone=False)
            want -= run[1]

    def _suspect_grant(self) -> list[Instruction]:
        if not self._suspects or len(self.leases):
            return []
        node = next(iter(self.hungry))
        del self.hungry[node]
        return [Grant(node, (self.lease(node, self._suspects.popleft(), 1, None, alone=True),))]

    def _quarantine_grants(self) -> list[Instruction]:
        quarantine = self.quarantine
        told: list[Instruction] = []
        for node in quarantine.set_aside(self.hungry, len(self._nodes), self.leases.holds_nothing, self._occupied):
            if quarantine.waiting:
                mini_batch, piece = quarantine.waiting.popleft()
                del self.hungry[node]
                told.append(Grant(node, (self.lease(node, mini_batch, 1, piece, alone=True),)))
        return told

    def _occupied(self, node: str) -> bool:
        return any(lease.alone and (lease.first, lease.piece) in self.quarantine for lease in self.leases.of(node))

    def second_runs(self, after: float) -> list[Instruction]:
        """Leases for whole mini-batches that one node has held for more than ``after`` seconds, for nodes that nothing else is left for."""
        if not self.hungry or self._suspected or self._backlog:
            return []
        late = sorted(
            (lease for lease in self.leases if lease.piece is None and not lease.alone and self.now - lease.since > after),
            key=lambda lease: lease.since,
        )
        held = ((k, lease) for lease in late for run in self.leases.held(lease) for k in range(run[0], sum(run)) if k not in self.second)
        free = {node: want for node, want in self.hungry.items() if node not in self.quarantine.aside}
        told: list[Instruction] = []
        for node, dealt in deal(held, free).items():
            del self.hungry[node]
            tasks = tuple(self.lease(node, mini_batch, 1, None, alone=False) for mini_batch, _ in dealt)
            for task, (mini_batch, first) in zip(tasks, dealt, strict=True):
                self.second.begin(mini_batch, first.token, task.token)
            told.append(Grant(node, tasks))
        return told

    def lease(self, node: str, first: int, count: int, piece: Piece | None, *, alone: bool) -> Task:
        """A new lease."""
        return self.leases.open(node, (first, count), piece, alone=alone, now=self.now)

    # --- what comes back --------------------------------------------------------------------------------------------------------

    def give_up(self, lease: Lease, *, counts: bool) -> None:
        """The node of this lease is lost; ``counts``: perhaps because of what it held."""
        if lease.piece is not None:
            self.leases.close(lease)
            if counts:
                self.quarantine.lost((lease.first, lease.piece))
            self.queue(lease.first, lease.piece)
            return
        runs = [run for held in self.leases.held(lease) for run in self.not_held_twice(lease.token, *held)]
        self.leases.close(lease)
        for first, count in runs:
            quarantined = [k for k in range(first, first + count) if self.quarantine.lost((k, None))] if counts else []
            for mini_batch in quarantined:
                self.give_back(first, mini_batch - first)
                self._trouble.setdefault(mini_batch, Trouble())
                self.wait(mini_batch)
                first, count = mini_batch + 1, first + count - mini_batch - 1
            self.give_back(first, count)

    def give_back(self, first: int, count: int) -> None:
        """Nobody holds these any more."""
        if count == 1 and first in self._trouble:
            self.wait(first)
        elif count:
            self._backlog.give_back(first, count)

    def not_held_twice(self, token: int, first: int, count: int) -> list[tuple[int, int]]:
        """Those of these that only the lease of ``token`` holds, as runs; the others are left to the other lease."""
        runs = []
        for mini_batch in self.second.among(first, count) if self.second else ():
            self.second.end(mini_batch, token)
            runs.append((first, mini_batch - first))
            first, count = mini_batch + 1, first + count - mini_batch - 1
        return [run for run in (*runs, (first, count)) if run[1]]

    def wait(self, mini_batch: int) -> None:
        """The mini-batch as a whole waits for another try."""
        self._state[mini_batch] = WAITING
        if mini_batch in self._suspected:
            self._suspects.append(mini_batch)
        else:
            self.queue(mini_batch, None)

    def suspect(self, mini_batch: int) -> None:
        """It runs alone, before anything else."""
        self._backlog.drop(mini_batch)
        self._suspected.add(mini_batch)
        self.wait(mini_batch)

    def charge(self, mini_batch: int) -> Task:
        """The lease of a suspect on which a coordinator died."""
        self._suspects.remove(mini_batch)
        return self.lease("", mini_batch, 1, None, alone=True)

    def queue(self, mini_batch: int, piece: Piece | None) -> None:
        """It waits for another try: among the retries, or for a node of its own."""
        if self.quarantine and (mini_batch, piece) in self.quarantine:
            self.quarantine.waiting.append((mini_batch, piece))
        else:
            self._backlog.retry(mini_batch, piece)

    def ended(self, mini_batch: int) -> None:
        """It has its fate, or is bisected: what was held against it as a whole is over."""
        self._suspected.discard(mini_batch)
        self.quarantine.release((mini_batch, None))
