"""A cluster that is only simulated: nodes that take leases and tell outcomes when real ones would, without doing anything.

What travels between a real coordinator and its nodes travels here: events and leases are pickled on one side and unpickled on the other.
The CPU time of everything that is simulation is kept apart.
"""

from __future__ import annotations

import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batchmill.errors import ObjectMissingError
from batchmill.parallel_run.events import (
    Asked,
    Done,
    ErrorFacts,
    Event,
    Hungry,
    NodeJoined,
    NodeLost,
    Task,
    TryFailed,
    WorkerReady,
)
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.states import LEASED

TICK = 0.05
"""Seconds between two looks at the nodes: about what a transaction in an object store takes."""

FLUSH = 2.0
"""Seconds between two segments of one node (`nodes.segment_sync`), once it has told a few."""

FIRST_WANT, WANT_SECONDS = 320, 2.0
"""What `nodes.feeding` asks for: before it knows how long a mini-batch takes, and then."""

ROW = 50
"""Bytes of output of one mini-batch."""

REPLACED_AFTER = 30.0
"""Seconds from the death of a node until another one joins."""

SPREAD = 0.2
"""Standard deviation of the durations, of their logarithm."""

POOL = 1 << 20
RECORD = np.dtype("<u8,<u4,<u4,<u4,<u4,<f8,<f4,<f4")


@dataclass(frozen=True, slots=True)
class Shape:
    """What is simulated."""

    nodes: int = 1_000
    workers: int = 32
    mini_batches: int = 100_000_000
    seconds: float = 0.5
    lost_every: float = 60.0
    """Seconds after which another node dies, and later a new one joins."""
    failures: float = 2e-6
    """Share of the mini-batches of which a try fails."""
    stragglers: int = 3
    """Mini-batches, among the last ones, that do not come to an end."""

    @property
    def wall(self) -> float:
        """Seconds that the work takes when no worker is ever idle."""
        return self.mini_batches * self.seconds / (self.nodes * self.workers)


@dataclass(slots=True)
class Held:
    """A lease as its node has it; ``finish``: when each mini-batch ends, infinite once it was told."""

    token: int
    first: int
    finish: np.ndarray[Any, np.dtype[np.float64]]
    left: int


@dataclass(slots=True)
class SimulatedNode:
    """``free``: when the next mini-batch begins, if there is one; ``asks``: it has asked and not been answered."""

    name: str
    free: float = 0.0
    segments: int = 0
    asks: bool = True
    held: dict[int, Held] = field(default_factory=dict)


class MemoryStore:
    """A shared store that counts what is written, and forgets it."""

    place = "memory://simulated"

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.bytes: defaultdict[str, int] = defaultdict(int)

    def create(self, name: str, data: bytes) -> bool:
        if name in self.names:
            return False
        self.put(name, data)
        return True

    def put(self, name: str, data: bytes, *, durable: bool = True) -> None:
        self.names.add(name)
        self.bytes[name.partition("/")[0]] += len(data)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        raise ObjectMissingError(f"{name} was not kept.")

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Any]:
        return iter(())

    def below(self, folder: str) -> MemoryStore:
        return self


class SimulatedCluster:
    """An `Engine`. ``now`` is its time; each step is one tick of it.

    Attributes:
        simulation: seconds of CPU that belong to the simulation, not to a coordinator.
        skipped: seconds of work that were skipped.
    """

    speculates = True

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.shape = shape
        self.now = self.simulation = 0.0
        self.grants = self.leases = self.outcomes = self.tries = self.revoked = self.messages = 0
        self.message_bytes = 0
        self._rate = shape.workers / shape.seconds
        self._random = np.random.default_rng(seed)
        self._durations = self._random.lognormal(np.log(shape.seconds) - SPREAD**2 / 2, SPREAD, POOL)
        self._records = self._make_records()
        self._workers: dict[int, list[str]] = {}
        self._nodes = {name: SimulatedNode(name) for name in (f"node{number}" for number in range(shape.nodes))}
        self._next_node = shape.nodes
        self._lost_at = shape.lost_every
        self._joins: list[float] = []
        self._stragglers = shape.stragglers
        self._agenda: defaultdict[int, list[tuple[str, Callable[[SimulatedNode], Iterable[Event]]]]] = defaultdict(list)
        self._tick = 0
        self._skip: Callable[[], float] | None = None
        self.skipped = 0.0

    # --- the engine -------------------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> Sequence[str]:
        return list(self._nodes)

    def start(self) -> None:
        with self._simulating():
            for node in self._nodes.values():
                self._plan(node, self._random.random() * 0.5, self._ready)
                self._plan(node, 0.5 + self._random.random() * FLUSH, self._flush)

    def grow(self, count: int) -> Sequence[str]:
        return ()

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        message = pickle.dumps(tuple(tasks), pickle.HIGHEST_PROTOCOL)
        with self._simulating():
            self.grants += 1
            self.message_bytes += len(message)
            if node in self._nodes:
                self._take(self._nodes[node], pickle.loads(message))

    def revoke(self, node: str, token: int) -> None:
        self.revoked += 1
        if node in self._nodes:
            self._nodes[node].held.pop(token, None)

    def answer(self, asked: Asked, answer: dict[str, Any]) -> None: ...

    def step(self, timeout: float) -> list[Event]:
        with self._simulating():
            messages = self._next_messages()
        return [event for message in messages for event in pickle.loads(message)]

    def finish(self, hear: Callable[[list[Event]], None]) -> None: ...

    def abort(self) -> None: ...

    # --- the simulation ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _simulating(self) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.simulation += time.thread_time() - began

    def skip(self, scheduler: Scheduler, after: float, rest: float) -> None:
        """When ``after`` seconds of work are done, what nobody holds yet counts as done, but for the last ``rest`` seconds of work."""
        left = int(rest * self.shape.nodes * self._rate)

        def skipped() -> float:
            first = scheduler.state.rfind(LEASED) + 1
            count = scheduler.total - left - first
            if count <= 0:
                return 0.0
            scheduler.restore_done(first, count, count, count, 0)
            return count / (self.shape.nodes * self._rate)

        self._skip = lambda: skipped() if self.now >= after else -1.0

    def _next_messages(self) -> list[bytes]:
        """One message for each node that has news at this tick."""
        self._tick += 1
        self.now = self._tick * TICK
        if self._skip is not None and (skipped := self._skip()) >= 0:
            self._skip = None
            self.skipped = skipped
        messages = []
        news: dict[str, list[Event]] = {}
        for name, act in self._agenda.pop(self._tick, ()):
            if (node := self._nodes.get(name)) is not None:
                news.setdefault(name, []).extend(act(node))
        if self._joins and self._joins[0] <= self.now:
            del self._joins[0]
            news["joined"] = self._join()
        if self.now >= self._lost_at and len(self._nodes) > 1:
            self._lost_at += self.shape.lost_every
            news["lost"] = self._lose_one()
        for events in news.values():
            if events:
                messages.append(pickle.dumps(events, pickle.HIGHEST_PROTOCOL))
                self.message_bytes += len(messages[-1])
        self.messages += len(messages)
        return messages

    def _plan(self, node: SimulatedNode, seconds: float, act: Callable[[SimulatedNode], Iterable[Event]]) -> None:
        self._agenda[self._tick + max(1, round(seconds / TICK))].append((node.name, act))

    def _ready(self, node: SimulatedNode) -> list[Event]:
        return [*(WorkerReady(node.name, f"process{k:03d}") for k in range(self.shape.workers)), Hungry(node.name, FIRST_WANT)]

    def _lose_one(self) -> list[Event]:
        lost = list(self._nodes)[int(self._random.integers(len(self._nodes)))]
        del self._nodes[lost]
        self._joins.append(self.now + REPLACED_AFTER)
        return [NodeLost(lost, "simulated")]

    def _join(self) -> list[Event]:
        node = SimulatedNode(f"node{self._next_node}", self.now)
        self._next_node += 1
        self._nodes[node.name] = node
        self._plan(node, FLUSH, self._flush)
        return [NodeJoined(node.name), Hungry(node.name, FIRST_WANT)]

    def _take(self, node: SimulatedNode, tasks: Iterable[Task]) -> None:
        """The workers begin them one after the other, as fast as they become free."""
        for task in tasks:
            self.leases += 1
            start = max(node.free, self.now)
            at = int(self._random.integers(POOL - task.count)) if task.count < POOL else 0
            finish = start + np.arange(task.count) / self._rate + self._durations[at : at + task.count]
            if self._stragglers and task.first > self.shape.mini_batches - self.shape.nodes * self.shape.workers:
                self._stragglers -= 1
                finish[0] = self.now + 86_400
            node.free = start + task.count / self._rate
            node.held[task.token] = Held(task.token, task.first, finish, task.count)
        node.asks = False
        self._plan(node, node.free - self.now - WANT_SECONDS / 2 + TICK, self._ask)

    def _ask(self, node: SimulatedNode) -> list[Event]:
        """Less than half of what it wants to have is left."""
        if node.asks:
            return []
        queued, wanted = max(0, int((node.free - self.now) * self._rate)), int(WANT_SECONDS * self._rate)
        node.asks = True
        return [Hungry(node.name, wanted - queued)]

    def _flush(self, node: SimulatedNode) -> list[Event]:
        """The outcomes since the last segment; a node with idle workers does not wait for more."""
        self._plan(node, TICK if node.held and node.free < self.now else FLUSH, self._flush)
        part, offset = f"1-{node.name}-{node.segments}", 0
        events: list[Event] = []
        for held in list(node.held.values()):
            ended = np.flatnonzero(held.finish <= self.now)
            if not len(ended):
                continue
            held.finish[ended] = np.inf
            held.left -= len(ended)
            if not held.left:
                del node.held[held.token]
            breaks = np.flatnonzero(np.diff(ended) != 1)
            firsts, lasts = [int(ended[0]), *ended[breaks + 1].tolist()], [*ended[breaks].tolist(), int(ended[-1])]
            for first, last in zip(firsts, lasts, strict=True):
                if self._random.random() < self.shape.failures * (last - first + 1):
                    events.append(self._failed(node, held.token, held.first + last))
                    last -= 1
                if last >= first:
                    events.append(self._done(node, held.token, held.first + first, last - first + 1, part, offset))
                    offset += (last - first + 1) * ROW
        node.segments += bool(events)
        return events

    def _failed(self, node: SimulatedNode, token: int, mini_batch: int) -> TryFailed:
        self.tries += 1
        error = ErrorFacts("ValueError", "simulated", "Traceback (most recent call last):\n" * 10)
        return TryFailed(node.name, "process000", token, mini_batch, None, 1, "item", "RUN_EXCEPTION", error, self.now, 0.5, 0.5)

    def _done(self, node: SimulatedNode, token: int, first: int, count: int, part: str, offset: int) -> Done:
        self.outcomes += 1
        at = int(self._random.integers(POOL // 16 - count)) * RECORD.itemsize
        packed = self._records[at : at + count * RECORD.itemsize]
        workers = self._worker_text(count)
        return Done(node.name, workers, token, first, count, None, part, offset, count * ROW, count, count, count, 0, packed)

    def _worker_text(self, count: int) -> str:
        """Who ran which, as `parallel_run.merged_outcomes` writes it: any order of the workers, one for each mini-batch."""
        texts = self._workers.setdefault(count, [])
        if len(texts) < 64:
            first, *others = self._random.integers(self.shape.workers, size=count).tolist()
            texts.append(",".join([f"process{first:03d}", *map(str, others)]))
        return texts[int(self._random.integers(len(texts)))]

    def _make_records(self) -> bytes:
        """Records as workers pack them: checksums and times are as hard to compress as real ones."""
        count = POOL // 16
        records = np.zeros(count, RECORD)
        records["f0"], records["f1"], records["f2"], records["f3"] = ROW, 1, 1, 1
        records["f4"] = self._random.integers(1 << 32, size=count)
        records["f5"] = 1.8e9 + np.sort(self._random.random(count)) * count / self._rate
        records["f6"] = self._durations[:count]
        records["f7"] = records["f6"] - 0.001 * self._random.random(count)
        return records.tobytes()
