"""A world for the scheduler: nodes that hold leases, items that are good or bad, and the real job that commits to a real ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill.nodes.restoring import restore
from batchmill.parallel_run.events import Done, ErrorFacts, Event, Hungry, NodeDraining, NodeJoined, NodeLost, Returned, Task, TryFailed
from batchmill.parallel_run.job import Job, Limits
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.states import DONE, FAILED, SPLIT
from batchmill.worker.delivery import RECORD
from tests.unit.parallel_run.invariants import check_invariants

Piece = tuple[int, int]
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Ledgers of model tests need no real disk: what is tested is what they say, not whether a power cut takes it."""


@dataclass
class Held:
    """Mini-batches (or one piece) a node holds."""

    node: str
    token: int
    first: int
    count: int
    piece: Piece | None = None


def done(held: Held, first: int, count: int, items: Sequence[int], ok: int | None = None) -> Done:
    """The outcome of ``count`` mini-batches of a lease; ``items`` of each."""
    total = held.piece[1] if held.piece else sum(items)
    well = total if ok is None else ok
    packed = b"".join(RECORD.pack(0, n, n, n, 0, 0.0, 0.0, 0.0) for n in ([total] if held.piece else items))
    short = int(well < total)
    return Done(held.node, "process000", held.token, first, count, held.piece, "1-part", 0, 0, well, total, well, short, packed)


def failed(held: Held, mini_batch: int, items: int | None, *, memory: bool = False, status: str = "RUN_EXCEPTION") -> TryFailed:
    error = ErrorFacts("ValueError", "no", None, memory)
    return TryFailed(held.node, "process000", held.token, mini_batch, held.piece, items, None, status, error, 0.0, 0.0, 0.0)


@dataclass
class Nodes:
    """An engine whose nodes only keep what they are given."""

    names: tuple[str, ...] = ("node0", "node1")
    held: list[Held] = field(default_factory=list)
    revoked: list[Held] = field(default_factory=list)
    speculates: bool = True

    @property
    def nodes(self) -> Sequence[str]:
        return self.names

    def start(self) -> None: ...

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        self.held += [Held(node, task.token, task.first, task.count, task.piece) for task in tasks]

    def revoke(self, node: str, token: int) -> None:
        taken = [held for held in self.held if (held.node, held.token) == (node, token)]
        self.held = [held for held in self.held if held not in taken]
        self.revoked += taken

    def step(self, timeout: float) -> list[Event]:
        return []

    def finish(self) -> list[Event]:
        return []

    def abort(self) -> None: ...


class Listener(Silent):
    """Keeps what whoever looks on is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def announce(self, text: str) -> None:
        self.said.append(text)


class World:
    """A scheduler, a job and a ledger, driven event by event."""

    def __init__(self, items: Sequence[int], policy: Policy, nodes: int = 2) -> None:
        self.items = items
        self.policy = policy
        self._temporary = tempfile.TemporaryDirectory(dir=FAST)
        self.folder = RunFolder(Path(self._temporary.name))
        for sub in (self.folder.logs, self.folder.parts):
            sub.mkdir()
        self.ledger = Ledger(self.folder.ledger, write=True)
        self.ledger.begin(id="run")
        self.ledger.claim()
        self.nodes = Nodes(tuple(f"node{number}" for number in range(nodes)))
        self.scheduler = self.new_scheduler()
        self.now = 0.0
        limits: Any = Limits(no_progress=1e9, first_progress=1e9)
        listener = Listener()
        self.said = listener.said
        self.job = Job(self.folder, self.ledger, self.scheduler, self.nodes, None, sum(items), limits, listener, clock=lambda: self.now)

    def close(self) -> None:
        self.ledger.close()
        self._temporary.cleanup()

    def new_scheduler(self) -> Scheduler:
        scheduler = Scheduler(len(self.items), self.policy, lambda k: self.items[k])
        for node in self.nodes.names:
            scheduler.node_ready(node)
        return scheduler

    def tell(self, *events: Event) -> None:
        """Through the job: scheduler, then one ledger transaction, then the grants."""
        self.job._handle(events)
        check_invariants(self.scheduler)

    def hungry(self, node: str = "node0", want: int = 4) -> None:
        self.tell(Hungry(node, want))

    @property
    def stopped(self) -> str | None:
        stop = self.job._stop
        return None if stop is None else stop[1]

    def take(self, held: Held, mini_batch: int, count: int = 1) -> None:
        """The node hands these back: they are no longer held."""
        position = self.nodes.held.index(held)
        before = Held(held.node, held.token, held.first, mini_batch - held.first, held.piece)
        after = Held(held.node, held.token, mini_batch + count, held.first + held.count - mini_batch - count, held.piece)
        self.nodes.held[position : position + 1] = [part for part in (before, after) if part.count > 0]

    def succeed(self, held: Held, mini_batch: int | None = None, count: int = 1, ok: int | None = None) -> None:
        first = held.first if mini_batch is None else mini_batch
        self.take(held, first, count)
        self.tell(done(held, first, count, self.items[first : first + count], ok))

    def fail(
        self, held: Held, mini_batch: int | None = None, *, knows_items: bool = True, memory: bool = False, status: str = "RUN_EXCEPTION"
    ) -> None:
        first = held.first if mini_batch is None else mini_batch
        items = (held.piece[1] if held.piece else self.items[first]) if knows_items else None
        self.take(held, first)
        self.tell(failed(held, first, items, memory=memory, status=status))

    def give_back(self, held: Held) -> None:
        self.nodes.held.remove(held)
        self.tell(Returned(held.node, held.token, held.first, held.count, held.piece))

    def wait(self, seconds: float) -> None:
        """Time goes by; then the job looks for what is late."""
        self.now += seconds
        self.job._run_late_ones_twice(self.now)
        check_invariants(self.scheduler)

    def join(self, node: str) -> None:
        self.tell(NodeJoined(node))

    def drain(self, node: str) -> None:
        self.tell(NodeDraining(node, "preempted"))

    def lose(self, node: str) -> list[Held]:
        """The node is gone; returns what it held, for outcomes that come too late."""
        lost = [held for held in self.nodes.held if held.node == node]
        self.nodes.held = [held for held in self.nodes.held if held.node != node]
        self.tell(NodeLost(node, "killed"))
        return lost

    def work_off(self, bad: frozenset[tuple[int, int]] = frozenset()) -> None:
        """Run everything to its end; a call fails when it holds a bad item."""
        rounds = 0
        for node in self.nodes.names:
            self.tell(NodeJoined(node))
        while not self.scheduler.finished and self.stopped is None:
            rounds += 1
            assert rounds < 100_000, "the run does not come to an end"
            if not self.nodes.held:
                for node in self.nodes.names:
                    if not self.nodes.held:
                        self.hungry(node)
                continue
            held = self.nodes.held[0]
            first, count = held.piece or (0, self.items[held.first])
            if any((held.first, item) in bad for item in range(first, first + count)):
                self.fail(held)
            else:
                self.succeed(held)

    def failed_items(self) -> set[tuple[int, int]]:
        """(mini-batch, item) of all failed items, from the ledger alone."""
        found = {(k, item) for k, items in self.ledger.failed() for item in range(items)}
        for mini_batch, _, _, _ in self.ledger.splits():
            for first, count, segment, _ in self.ledger.pieces(mini_batch):
                if segment is None:
                    found |= {(mini_batch, item) for item in range(first, first + count)}
        return found

    def restored(self) -> Scheduler:
        scheduler = self.new_scheduler()
        restore(self.ledger, scheduler)
        check_invariants(scheduler)
        return scheduler


def fates(scheduler: Scheduler) -> dict[int, object]:
    """What a scheduler knows about every mini-batch, leases aside: the same before a crash and after the restore."""
    known: dict[int, object] = {}
    for mini_batch, state in enumerate(scheduler.state):
        trouble = scheduler._trouble.get(mini_batch)
        if state in (DONE, FAILED):
            known[mini_batch] = "ended"
        elif state == SPLIT:
            assert trouble is not None
            known[mini_batch] = (trouble.items, trouble.ok, trouble.failed, trouble.alone, dict(trouble.open_pieces))
        else:
            known[mini_batch] = (trouble.tries, trouble.alone) if trouble is not None and trouble.tries else "fresh"
    return known
