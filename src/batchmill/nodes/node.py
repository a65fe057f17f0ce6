"""One node: starts worker processes, feeds them leases, watches them, tells the job what became of every mini-batch.

A worker that hangs is asked for its stacks and killed; one that dies is charged only with the mini-batch it was on, the rest of its
lease goes back. Nothing here waits, and nothing costs anything per mini-batch except in the worker itself.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any

from batchmill.nodes.feeding import Feeder
from batchmill.nodes.gpus import GpuIndexes, gpu_ids
from batchmill.nodes.messages import done_of, facts_of, piece_of, try_of
from batchmill.nodes.oom import OutOfMemoryCounter
from batchmill.nodes.part_sync import EVERY, SOON, LocalSync, PartsLostError, PartSync
from batchmill.nodes.process import Chunk, WorkerProcess, boot, enlist
from batchmill.nodes.reserve import Reserve
from batchmill.nodes.resources import ResourceMonitor
from batchmill.nodes.verdict import death_verdict
from batchmill.nodes.watch import Watch, bound_logs, exit_status
from batchmill.nodes.worker_setup import first_message, worker_environment
from batchmill.parallel_run.events import (
    Asked,
    Done,
    ErrorFacts,
    Event,
    Full,
    Hungry,
    InitFailed,
    NodeConfig,
    NodeGaveUp,
    Returned,
    ShutdownProblem,
    Task,
    WorkerReady,
)
from batchmill.parallel_run.run_folder import NodeLogs
from batchmill.worker.slots import FINISHED, PID, READING, RUNNING, Slots

FAILURES_BEFORE_RENEWAL = 10
"""Azure ML: after more than ten failed mini-batches a worker process ends and a fresh one is started."""

UNCHARGED_DEATHS = 3
REVOKED, PARTS_LOST = "revoked", "parts lost"
"""Why workers are killed that did nothing wrong."""


class Node:
    """The supervisor of the worker processes of one node."""

    def __init__(
        self,
        name: str,
        config: NodeConfig,
        slots: Slots,
        first_slot: int,
        selector: selectors.BaseSelector,
        reserve: Reserve | None = None,
        parts: PartSync | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.workers: dict[int, WorkerProcess] = {}
        self.slots = slots
        self._first_slot = first_slot
        self._selector = selector
        self._outcomes: list[Event] = []
        self._signals: list[Event] = []
        self._parts = LocalSync() if parts is None else parts
        if self._parts.wake >= 0:
            selector.register(self._parts.wake, selectors.EVENT_READ, self._parts.heard)
        self._logs = NodeLogs(config.run_folder, name)
        self._reserve = reserve
        self._next_number = self._logs.next_process_number() if reserve is None else reserve.first_number
        self._environment = worker_environment(config)
        self._gpus = GpuIndexes(gpu_ids(config.gpu_ids, self._environment), config.gpus_per_process)
        self._oom = OutOfMemoryCounter()
        self._feeder = Feeder(self, config)
        self._watch = Watch(self, config)
        self._monitor = ResourceMonitor(config.run_folder, name, config.resource_monitor_interval)
        self._told_at = 0.0
        self._failures_in_a_row = self._uncharged_in_a_row = 0
        self._gave_up = self._said_farewell = False
        self._farewell: NodeGaveUp | None = None
        self._stopping = self._aborting = False
        self._free_slots = deque(range(first_slot, first_slot + config.workers))
        self._last_failure = ErrorFacts("WorkerExited", "no worker could be started")

    # --- starting and stopping --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        for _ in range(min(self.config.workers, max(1, self.config.mini_batches))):
            self._start_one()
        if self._reserve is not None:
            self._reserve.close()

    def _start_one(self) -> None:
        slot = self._free_slots.popleft()
        number, self._next_number = self._next_number, self._next_number + 1
        name = f"process{number:03d}"
        folders = self._logs.prepare(name)
        gpu = self._gpus.take()
        environment = dict(self._environment)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        booted = self._reserve.take(name) if self._reserve is not None else None
        booted = booted or boot(self.config.python, environment, folders)
        message = first_message(self.config, self.name, name, slot, self.slots.count, folders, self._feeder.mounts)
        worker = enlist(booted, message, self.slots, slot, folders, gpu)
        self.workers[slot] = worker
        heard = partial(self.news, worker)
        self._selector.register(worker.read_descriptor, selectors.EVENT_READ, heard)
        if worker.pid_descriptor >= 0:
            self._selector.register(worker.pid_descriptor, selectors.EVENT_READ, heard)

    def give(self, tasks: Iterable[Task]) -> None:
        self._feeder.add(tasks)
        if self._gave_up or self._feeder.draining:  # it had asked for them while it still had workers, or time
            self._give_back()

    def answer(self, asked: Asked, answer: dict[str, Any]) -> None:
        """Tell a worker what it asked for, if it still lives."""
        for worker in self.workers.values():
            if worker.name == asked.worker:
                worker.send({"m": "answer", "id": asked.number, "answer": answer})

    def _give_back(self) -> None:
        for task in self._feeder.take_back():
            self._outcomes.append(Returned(self.name, task.token, task.first, task.count, task.piece))

    def drain(self) -> None:
        """End what is begun, give back the rest, ask for nothing more."""
        self._feeder.drain(time.monotonic())
        self._give_back()

    def revoke(self, token: int) -> None:
        """Forget a lease; a worker that runs it is killed, at the next tick. Nothing is told of it."""
        self._feeder.revoke(token, time.monotonic())

    def finish(self) -> None:
        """No more work will come: let every worker call shutdown() and end."""
        self._stopping = True
        for worker in self.workers.values():
            if not worker.stopping:
                worker.stopping = True
                worker.send({"m": "stop"})
                if not worker.ready:
                    worker.failed = -1  # also when it becomes ready in this very moment
                    worker.signal_group(signal.SIGKILL)

    def abort(self) -> None:
        """Kill every worker now; what they had not reported is not run."""
        self._stopping = self._aborting = True
        for worker in list(self.workers.values()):
            worker.stopping = True
            worker.signal_group(signal.SIGKILL)
        for worker in list(self.workers.values()):
            self._reap(worker)
        self.close()

    @property
    def busy(self) -> bool:
        """Whether workers live, or outcomes are still to be told."""
        return bool(self.workers) or self._parts.waiting

    def close(self) -> None:
        if self._parts.wake >= 0 and self._parts.wake in self._selector.get_map():
            self._selector.unregister(self._parts.wake)
        self._parts.close()
        self._feeder.close()

    # --- news -------------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Look after everything that no descriptor announces: time limits, deaths (without pidfd), hunger."""
        self._watch.look(now)
        self._monitor.look(now, ((worker.name, worker.pid) for worker in self.workers.values()))
        for worker in list(self.workers.values()):
            worker.flush()
            if worker.pid_descriptor < 0 or worker.closed_pipe is not None:
                self.news(worker)
        if not self._stopping and not self._parts.behind:
            self._feeder.feed(now)
        if self._feeder.draining:
            self._give_back()
        for worker in self._feeder.running_revoked():
            worker.kill_reason = REVOKED
            worker.signal_group(signal.SIGKILL)

    def news(self, worker: WorkerProcess) -> None:
        """A descriptor of this worker is readable."""
        if worker.slot not in self.workers or self.workers[worker.slot] is not worker:
            return
        dead = exit_status(worker) is not None
        for message in worker.receive():
            self._message(worker, message)
        lost = worker.garbled or (worker.closed_pipe is not None and time.monotonic() - worker.closed_pipe > 0.2)
        if dead:
            self._reap(worker)
        elif lost and worker.kill_reason is None:
            self.kill(worker, "protocol")
        elif worker.closed_pipe is not None:
            self._stop_listening(worker)

    def _stop_listening(self, worker: WorkerProcess) -> None:
        if worker.read_descriptor in self._selector.get_map():
            self._selector.unregister(worker.read_descriptor)

    def take_events(self, now: float) -> list[Event]:
        """What happened; the bytes of every `Done` among it are durable. Outcomes come in groups, everything else at once."""
        outcomes: list[Event] = []
        if self._parts.waiting or self._outcomes:
            hurry = self._stopping or self._feeder.drained
            durable = self._durable(now, hurry) if self._parts.due(now, hurry=hurry) <= 0 else []
            if durable or self._group_due(now, hurry) <= 0:
                outcomes, self._outcomes, self._told_at = [*durable, *self._outcomes], [], now
        told, self._signals = [*outcomes, *self._signals], []
        if self._farewell is not None and not self._parts.waiting and not self._outcomes:
            told, self._farewell = [*told, self._farewell], None
        return told

    def _durable(self, now: float, hurry: bool) -> list[Done]:
        try:
            return self._parts.sync(now, hurry=hurry)
        except PartsLostError as error:
            self._lose_parts(error)
            return []

    def due(self, now: float) -> float:
        """Seconds until outcomes that wait for their group have to be told; workers that wait for them make it short."""
        if not (self._parts.waiting or self._outcomes):
            return EVERY
        hurry = self._stopping or self._feeder.drained
        return min(self._parts.due(now, hurry=hurry), self._group_due(now, hurry))

    def _group_due(self, now: float, hurry: bool) -> float:
        if not self._outcomes:
            return EVERY
        return 0.0 if self._stopping else self._told_at + (SOON if hurry else EVERY) - now

    def _lose_parts(self, error: PartsLostError) -> None:
        """What the node has done cannot be kept: all of it may run elsewhere, and nothing more runs here."""
        facts = self._last_failure = ErrorFacts("PartsLost", error.line)
        lost = self._parts.lost()
        if self._stopping and not lost:  # files that scripts wrote last
            self._signals.append(ShutdownProblem(self.name, self.name, facts))
            return
        self._gave_up = True
        if "full" in error.facts:
            self._signals.append(Full(self.name, error.facts["full"]))
        for done in lost:
            self._outcomes.append(Returned(self.name, done.token, done.first, done.count, done.piece))
        for worker in self.workers.values():
            worker.kill_reason = PARTS_LOST
            worker.signal_group(signal.SIGKILL)
        self._replace()

    # --- messages ---------------------------------------------------------------------------------------------------------------

    def _message(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        kind = message["m"]
        if worker.condemned is not None and self._is_of_the_condemned(worker, message):
            return
        if worker.kill_reason == "init":
            return  # what came so late is not heard
        if kind == "done":
            self._done(worker, message)
        elif kind == "failed":
            self._try_failed(worker, message)
        elif kind == "ready":
            worker.ready = True
            worker.last_news = time.monotonic()
            self._failures_in_a_row = 0
            self._signals.append(WorkerReady(self.name, worker.name))
        elif kind == "init_failed":
            self._init_failed(worker, facts_of(message))
        elif kind == "returned":
            self._feeder.returned(worker, message)
        elif kind == "full":
            self._signals.append(Full(self.name, message["folder"]))
        elif kind == "ask":
            self._signals.append(Asked(self.name, worker.name, message["id"], message["question"]))
        elif kind == "stopped":
            worker.peak = message["peak"]
            if message["problem"]:
                facts = facts_of(message["problem"])
                self._logs.error(worker.name, "shutdown()", facts)
                self._signals.append(ShutdownProblem(self.name, worker.name, facts))

    def _is_of_the_condemned(self, worker: WorkerProcess, message: dict[str, Any]) -> bool:
        """Does the message come from the call that took too long, or after it?"""
        assert worker.condemned is not None
        first = message.get("mb", message.get("first", -1))
        count = message["count"] if message["m"] == "done" else 1
        worker.unheard = worker.unheard or first <= worker.condemned[0] < first + count
        return worker.unheard

    def _done(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        self._uncharged_in_a_row = 0
        chunk = self._feeder.finished(worker, message["lease"], message["first"], message["count"])
        if self._feeder.is_revoked(chunk.token):
            return
        self._parts.add(worker.part, done_of(self.name, worker, chunk.token, message))

    def _try_failed(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        self._uncharged_in_a_row = 0
        chunk = self._feeder.finished(worker, message["lease"], message["mb"], 1)
        if self._feeder.is_revoked(chunk.token):
            return
        self._charge(worker, chunk, message["mb"], piece_of(message), message, facts_of(message))
        worker.failed += 1
        if worker.failed > FAILURES_BEFORE_RENEWAL and not worker.retiring:
            worker.retiring = True
            self._feeder.void(worker, time.monotonic())

    def _charge(
        self,
        worker: WorkerProcess,
        chunk: Chunk,
        mini_batch: int,
        piece: tuple[int, int] | None,
        message: dict[str, Any],
        facts: ErrorFacts,
    ) -> None:
        self._logs.error(worker.name, f"mini-batch {mini_batch}", facts)
        self._outcomes.append(try_of(self.name, worker.name, chunk.token, mini_batch, piece, message, facts))

    def _init_failed(self, worker: WorkerProcess, facts: ErrorFacts) -> None:
        self._last_failure = facts
        self._failures_in_a_row += 1
        worker.retiring = True
        worker.failed = -1
        self._logs.error(worker.name, "init()", facts)
        self._signals.append(InitFailed(self.name, worker.name, facts))

    # --- deaths -----------------------------------------------------------------------------------------------------------------

    def kill(self, worker: WorkerProcess, reason: str, condemned: tuple[int, int | None] | None = None) -> None:
        """Ask for the stacks, and kill a moment later (`Watch` does it), so that the dump gets written."""
        if worker.kill_reason is None:
            from batchmill.worker.process import stack_signal

            worker.kill_reason, worker.condemned = reason, condemned
            worker.kill_at = time.monotonic() + 0.3
            try:
                os.kill(worker.pid, stack_signal())
            except ProcessLookupError:
                worker.kill_at = time.monotonic()

    def _reap(self, worker: WorkerProcess) -> None:
        """The process is dead (or will be in a moment, after SIGKILL): take what it said last, settle its leases, replace it."""
        deadline = time.monotonic() + 10
        while exit_status(worker) is None and time.monotonic() < deadline:
            worker.await_end(0.5)
        for message in worker.receive():
            self._message(worker, message)
        worker.signal_group(signal.SIGKILL)  # children that the script left behind
        for descriptor in (worker.read_descriptor, worker.pid_descriptor):
            if descriptor >= 0 and descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        self._settle(worker)
        self._parts.ended(worker.part)
        worker.close()
        bound_logs(worker)
        self.slots.set(worker.slot, PID, 0)
        del self.workers[worker.slot]
        self._free_slots.append(worker.slot)
        self._gpus.give_back(worker.gpu)
        if not self._stopping:
            self._replace()

    def _settle(self, worker: WorkerProcess) -> None:
        """Charge the mini-batch the worker was on; give the others back."""
        expected = worker.stopping or worker.failed < 0
        code = worker.process.returncode
        out_of_memory = code == -signal.SIGKILL and worker.kill_reason is None and self._oom.risen()
        if not worker.ready and not expected:
            verdict = death_verdict(worker, self.config, out_of_memory, in_init=True)
            self._init_failed(worker, verdict.facts)
        elif worker.kill_reason in (REVOKED, PARTS_LOST):
            pass  # nobody wants what it was on, or all of it is given back
        elif not expected or (worker.stopping and worker.kill_reason):
            self._settle_unexpected(worker, out_of_memory)
        elif code not in (0, None) and worker.stopping and not self._stopping_by_force(worker):
            verdict = death_verdict(worker, self.config, out_of_memory, in_init=False)
            self._signals.append(ShutdownProblem(self.name, worker.name, verdict.facts))
            self._logs.error(worker.name, "shutdown()", verdict.facts)
        revoked = self._feeder.is_revoked
        for chunk in [chunk for chunk in self._feeder.forget(worker) if not revoked(chunk.token)]:
            self._outcomes.append(Returned(self.name, chunk.token, chunk.first, chunk.count, chunk.piece))

    def _stopping_by_force(self, worker: WorkerProcess) -> bool:
        return worker.process.returncode == -signal.SIGKILL and (self._aborting or worker.failed < 0)

    def _settle_unexpected(self, worker: WorkerProcess, out_of_memory: bool) -> None:
        verdict = death_verdict(worker, self.config, out_of_memory, in_init=False)
        if worker.stopping:
            self._signals.append(ShutdownProblem(self.name, worker.name, verdict.facts))
            self._logs.error(worker.name, "shutdown()", verdict.facts)
            return
        guilty, items = worker.condemned or (verdict.guilty(self.slots), verdict.items(self.slots))
        chunk = self._feeder.holder(worker, guilty) if guilty >= 0 else None
        if chunk is None:
            self._uncharged_in_a_row += 1
            self._last_failure = verdict.facts
            self._logs.error(worker.name, "between two mini-batches", verdict.facts)
            if self._uncharged_in_a_row <= UNCHARGED_DEATHS or not worker.chunks:
                return
            chunk, guilty, items = worker.chunks[0], worker.chunks[0].first, None
        self._uncharged_in_a_row = 0
        self._feeder.finished(worker, chunk.serial, guilty, 1)
        message = {"items": items, "status": verdict.status, "elapsed": verdict.elapsed, "run_seconds": verdict.elapsed}
        self._charge(worker, chunk, guilty, chunk.piece, message, verdict.facts)

    def _replace(self) -> None:
        """Start a worker in place of one that is gone, or give up: then the last word comes after all that is still to be told."""
        bound = 3 * self.config.workers
        if not (self._gave_up or self._failures_in_a_row >= bound or self._uncharged_in_a_row > bound):
            if self._free_slots:
                self._start_one()
        elif not self.workers and not self._said_farewell:
            self._gave_up = self._said_farewell = True
            self._farewell = NodeGaveUp(self.name, self._last_failure)
            self._give_back()

    # --- used by feeder and watch -----------------------------------------------------------------------------------------------

    def hungry(self, want: int) -> None:
        self._signals.append(Hungry(self.name, want))

    def retire(self, worker: WorkerProcess) -> None:
        """Let a worker end in order, to be replaced."""
        worker.stopping = True
        worker.send({"m": "stop"})

    def finished_count(self, worker: WorkerProcess) -> int:
        return self.slots.get(worker.slot, FINISHED)

    def position(self, worker: WorkerProcess) -> int:
        """The mini-batch the worker is on or reading now, -1 for none."""
        running = self.slots.get(worker.slot, RUNNING)
        return running if running >= 0 else self.slots.get(worker.slot, READING)
