"""Which worker of a node gets which mini-batches, and how many at once.

A worker holds about `TARGET` seconds of work and, when mini-batches are short, the same once more in its pipe, so that it never waits
for its node. Near the end the chunks shrink; and what a worker cannot begin because one mini-batch takes long is taken back and given
to idle workers (`_take_back_from`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.nodes.process import Chunk, WorkerProcess
from batchmill.parallel_run.events import NodeConfig, Task
from batchmill.worker.slots import VOID

if TYPE_CHECKING:
    from batchmill.nodes.node import Node
    from batchmill.storage.prefetch import Prefetcher
    from batchmill.worker.plan_file import PlanFile

TARGET = 0.1
LONG = 0.2
AHEAD = 2.0
GRACE = 0.1
SMOOTHING = 0.4
PREFETCH_THREADS = 16
MEMORY_CACHE_BYTES = 256 << 20


class Feeder:
    """The lease book of one node."""

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self._node = node
        self._config = config
        self._tasks: deque[Task] = deque()
        self._serial = 0
        self._seconds: float | None = None
        self._largest = 1
        self._asked = False
        self._alone: WorkerProcess | None = None
        self._revoked: set[int] = set()
        self._draining = False
        self.cache_folder = _cache_folder(config, node.name)
        self.mounts: list[str | None] | None = None
        """For each input the folder that what it holds is fetched into; None for those that lie on this machine."""
        self._ready: dict[int, dict[int, str]] = {}
        self._prefetcher: Prefetcher | None = None
        if config.remote:
            self._start_prefetcher()

    def _start_prefetcher(self) -> None:
        from batchmill.storage.prefetch import Prefetcher
        from batchmill.worker.plan_file import PlanFile

        plan = PlanFile(str(self._config.plan_folder))
        self.mounts = mounts_of(plan, self.cache_folder)
        folder, room, patience = str(self.cache_folder), self._config.cache_bytes, self._config.retry_timeout
        self._prefetcher = Prefetcher(plan, folder, room, patience, PREFETCH_THREADS, wake=lambda: None, as_now=self._config.accept_changed)

    # --- tasks ------------------------------------------------------------------------------------------------------------------

    def add(self, tasks: Iterable[Task]) -> None:
        """Take leases on; whoever drains gives them back (`take_back`)."""
        for task in tasks:
            if self._prefetcher is not None and not self._needs(task.first, task.piece):
                self._prefetcher.want(task.first, task.count)
            self._tasks.append(task)
        self._asked = False

    def take_back(self) -> list[Task]:
        """Everything no worker holds; it will run elsewhere, if anywhere."""
        tasks, self._tasks = list(self._tasks), deque()
        for task in tasks:
            self._release(task.first, task.count, task.piece)
        return tasks

    @property
    def drained(self) -> bool:
        """Some worker has nothing to do: news must not wait for the next group."""
        return not self._tasks and any(not worker.chunks for worker in self._node.workers.values())

    @property
    def _queued(self) -> int:
        return sum(task.count for task in self._tasks)

    def feed(self, now: float) -> None:
        """Fill every worker that has room; ask for more before the queue runs dry."""
        if self._prefetcher is not None:
            for mini_batch, errors in self._prefetcher.ready():
                self._ready[mini_batch] = errors
        workers = [worker for worker in self._node.workers.values() if worker.ready and not worker.stopping]
        for worker in workers:
            if worker.retiring and not worker.chunks:
                self._node.retire(worker)
        workers = [worker for worker in workers if not worker.retiring and not worker.stopping]
        self._end_alone()
        if self._alone is None and not self._draining:
            self._fill(workers, now)
        self._ask(len(workers))
        if self._draining:
            for worker in workers:
                self._take_back_from(worker, now)
        elif not self._tasks and any(not worker.chunks for worker in workers):
            busiest = max(self._node.workers.values(), key=_outstanding)
            self._take_back_from(busiest, now)

    def _end_alone(self) -> None:
        if self._alone is not None and not self._alone.chunks:
            self._alone = None

    def _fill(self, workers: list[WorkerProcess], now: float) -> None:
        depth = 1 if self._seconds is None or self._seconds > LONG else 2
        for level in range(1, depth + 1):
            for worker in sorted(workers, key=lambda one: len(one.chunks)):
                if len(worker.chunks) >= level or not self._tasks:
                    continue
                if self._tasks[0].alone:
                    if any(other.chunks for other in self._node.workers.values()):
                        return
                    self._alone = worker
                if not self._give_chunk(worker, now) or self._alone is not None:
                    return

    def _give_chunk(self, worker: WorkerProcess, now: float) -> bool:
        task = self._next_ready()
        if task is None:
            self._alone = None
            return False
        size = self._size(task)
        self._serial += 1
        chunk = Chunk(self._serial, task.token, task.first, size, task.piece)
        if not worker.chunks:
            worker.last_news = now
        worker.chunks.append(chunk)
        rest = task.count - size
        if rest:
            self._tasks.appendleft(Task(task.token, task.first + size, rest, None, task.alone))
        unreadable = {str(k): known_failures(self._ready[k]) for k in range(task.first, task.first + size) if self._ready.get(k)}
        if task.piece is None:
            message: dict[str, Any] = {"m": "lease", "lease": chunk.serial, "first": task.first, "count": size}
        else:
            message = {"m": "piece", "lease": chunk.serial, "mb": task.first, "first": task.piece[0], "count": task.piece[1]}
        if unreadable:
            message["unreadable"] = unreadable if task.piece is None else unreadable[str(task.first)]
        worker.send(message)
        return True

    def _next_ready(self) -> Task | None:
        """Take the first task off the queue whose first mini-batch is here (always the first one, when inputs are local)."""
        if self._prefetcher is None:
            return self._tasks.popleft()
        for position, task in enumerate(self._tasks):
            if task.first in self._ready:
                del self._tasks[position]
                return task
            if task.alone:
                return None
        return None

    def _size(self, task: Task) -> int:
        if task.piece is not None or task.count == 1 or self._seconds is None:
            return 1
        workers = max(1, len(self._node.workers))
        fair = -(-(self._queued + task.count) // (2 * workers))
        size = max(1, min(task.count, fair, int(TARGET / max(self._seconds, 1e-7)), 8 * self._largest))
        if self._prefetcher is not None:
            ready = 1
            while ready < size and task.first + ready in self._ready:
                ready += 1
            size = ready
        self._largest = max(self._largest, size)
        return size

    def _ask(self, workers: int) -> None:
        if self._asked or self._draining or not workers:
            return
        per = max(self._seconds or LONG, 1e-6)
        wanted = max(2 * workers, min(int(workers * AHEAD / per), 1 << 20))
        queued = self._queued
        if queued * 2 < wanted:
            self._asked = True
            self._node.hungry(wanted - queued)

    # --- outcomes ---------------------------------------------------------------------------------------------------------------

    def finished(self, worker: WorkerProcess, serial: int, first: int, count: int) -> Chunk:
        """Mini-batches [first, first + count) of a chunk have an outcome; returns the chunk as it was."""
        index = next(i for i, chunk in enumerate(worker.chunks) if chunk.serial == serial and chunk.first <= first < chunk.stop)
        chunk = worker.chunks.pop(index)
        rest = [
            Chunk(serial, chunk.token, chunk.first, first - chunk.first),
            Chunk(serial, chunk.token, first + count, chunk.stop - first - count),
        ]
        worker.chunks[index:index] = [part for part in rest if part.count > 0]
        now = time.monotonic()
        seconds = max(1e-7, (now - worker.last_news) / count)
        worker.last_news = now
        self._seconds = seconds if self._seconds is None else SMOOTHING * seconds + (1 - SMOOTHING) * self._seconds
        self._release(first, count, chunk.piece)
        return chunk

    def holder(self, worker: WorkerProcess, mini_batch: int) -> Chunk | None:
        return next((chunk for chunk in worker.chunks if chunk.first <= mini_batch < chunk.stop), None)

    def forget(self, worker: WorkerProcess) -> list[Chunk]:
        """The worker is gone: everything it still held."""
        chunks, worker.chunks = worker.chunks, []
        for chunk in chunks:
            self._release(chunk.first, chunk.count, chunk.piece)
        if self._alone is worker:
            self._alone = None
        return chunks

    def _release(self, first: int, count: int, piece: tuple[int, int] | None) -> None:
        if self._prefetcher is not None and not self._needs(first, piece):
            for mini_batch in range(first, first + count):
                self._ready.pop(mini_batch, None)
                self._prefetcher.done(mini_batch)

    def _needs(self, mini_batch: int, piece: tuple[int, int] | None) -> bool:
        """Other pieces of a bisected mini-batch may be queued or with a worker: its items are fetched once, and stay until the last."""
        if piece is None:
            return False
        held = (chunk for worker in self._node.workers.values() for chunk in worker.chunks)
        others = [(task.first, task.piece) for task in self._tasks] + [(chunk.first, chunk.piece) for chunk in held]
        return any(other is not None and first == mini_batch for first, other in others)

    # --- taking back what was not begun -----------------------------------------------------------------------------------------

    def _take_back_from(self, worker: WorkerProcess, now: float) -> None:
        """Void the leases of a worker that others wait for. The worker looks at the void mark before every mini-batch; after the grace
        period its slot shows for certain which mini-batch it went into, and everything behind that one is free."""
        if _outstanding(worker) < 2 or not worker.ready or worker.stopping:
            return
        voided = self._node.slots.get(worker.slot, VOID) >= worker.chunks[-1].serial
        if worker.limited is None or not voided:
            self.void(worker, now)
        elif now - worker.limited > GRACE:
            self._settle_void(worker)

    def void(self, worker: WorkerProcess, now: float) -> None:
        """Ask for everything back that the worker has not begun."""
        if worker.chunks:
            worker.limited = now
            self._node.slots.set(worker.slot, VOID, worker.chunks[-1].serial)

    def _settle_void(self, worker: WorkerProcess) -> None:
        position = self._node.position(worker)
        held = self.holder(worker, position) if position >= 0 else None
        if held is None:
            return
        kept, freed = [], []
        for chunk in worker.chunks:
            if chunk.serial < held.serial or chunk.stop <= position + 1:
                kept.append(chunk)
            elif chunk is held:
                kept.append(Chunk(chunk.serial, chunk.token, chunk.first, position + 1 - chunk.first, chunk.piece))
                freed.append(Task(chunk.token, position + 1, chunk.stop - position - 1))
            else:
                freed.append(Task(chunk.token, chunk.first, chunk.count, chunk.piece))
        worker.chunks = kept
        worker.limited = None
        for task in freed:
            self._queue(task)

    def returned(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """The worker gave back the voided rest of a lease (unless `_settle_void` has taken it already)."""
        worker.limited = None
        serial, first, count = message["lease"], message["first"], message["count"]
        kept = []
        for chunk in worker.chunks:
            if chunk.serial == serial and first <= chunk.first:
                self._queue(Task(chunk.token, chunk.first, chunk.count, chunk.piece))
            elif chunk.serial == serial and first < chunk.stop:
                kept.append(Chunk(serial, chunk.token, chunk.first, first - chunk.first))
                self._queue(Task(chunk.token, first, min(count, chunk.stop - first)))
            else:
                kept.append(chunk)
        worker.chunks = kept

    # --- leases that end early --------------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the node is on its way out."""
        return self._draining

    def drain(self, now: float) -> None:
        """From now on nothing is given to a worker; what workers have not begun comes back (`take_back`)."""
        self._draining = True
        for worker in self._node.workers.values():
            self.void(worker, now)

    def revoke(self, token: int, now: float) -> None:
        """Forget a lease where it was not begun; `running_revoked` says who has begun it."""
        for task in [task for task in self._tasks if task.token == token]:
            self._tasks.remove(task)
            self._release(task.first, task.count, task.piece)
        holders = [worker for worker in self._node.workers.values() if any(chunk.token == token for chunk in worker.chunks)]
        if holders:
            self._revoked.add(token)
        for worker in holders:
            self.void(worker, now)

    def is_revoked(self, token: int) -> bool:
        return token in self._revoked

    def running_revoked(self) -> list[WorkerProcess]:
        """Workers that are inside a mini-batch of a revoked lease."""
        if not self._revoked:
            return []
        workers = list(self._node.workers.values())
        self._revoked &= {chunk.token for worker in workers for chunk in worker.chunks}
        running = ((worker, self.holder(worker, self._node.position(worker))) for worker in workers)
        return [worker for worker, chunk in running if chunk is not None and chunk.token in self._revoked]

    def _queue(self, task: Task) -> None:
        """Put back what a worker gave back, unless nobody wants it any more."""
        if task.token in self._revoked:
            self._release(task.first, task.count, task.piece)
        else:
            self._tasks.append(task)

    def close(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()


def _cache_folder(config: NodeConfig, node: str) -> Path:
    """Small inputs are cached in memory (the guardian removes what a killed run leaves there), others in the run folder."""
    on_disk = config.run_folder / "cache" / node
    if not config.remote or config.cache_bytes > MEMORY_CACHE_BYTES:
        return on_disk
    from batchmill.storage.prefetch import choose_cache_folder

    return Path(choose_cache_folder(f"{config.run_folder.name}-{config.epoch}-{node}", config.cache_bytes, on_disk))


def mounts_of(plan: PlanFile, cache: Path) -> list[str | None]:
    """The folder of each input below ``cache`` that the prefetcher fills; None for inputs of this machine, which stay where they are."""
    return [str(cache / str(number)) if one["location"] != "local" else None for number, one in enumerate(plan.header["inputs"])]


def known_failures(failures: Mapping[int, str]) -> dict[str, Sequence[str]]:
    """Items that could not be fetched, as a worker is told: position -> error class, message."""
    return {str(position): (getattr(failure, "error_class", "ReadError"), str(failure)) for position, failure in failures.items()}


def _outstanding(worker: WorkerProcess) -> int:
    return sum(chunk.count for chunk in worker.chunks)
