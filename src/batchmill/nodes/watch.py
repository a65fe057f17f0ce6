"""The watch over a node's workers: looks at the shared slots a few times a second; costs nothing per mini-batch."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.nodes.process import WorkerProcess
from batchmill.parallel_run.events import NodeConfig
from batchmill.worker.process import peak_memory
from batchmill.worker.slots import FINISHED, INIT, PHASE, READING, READING_SINCE, RUN, RUNNING, RUNNING_ITEMS, RUNNING_SINCE, SHUTDOWN

if TYPE_CHECKING:
    from batchmill.nodes.node import Node

LOOK_EVERY = 0.1
LOG_LIMIT = 64 << 20
LOG_HEAD = 1 << 20
MEMORY_EVERY = 1.0
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Enforces the time limits, bounds the captured output, samples memory."""

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self._node = node
        self._config = config
        self._looked = 0.0
        self._sampled = 0.0
        self._suspects: dict[int, tuple[str, int, int]] = {}

    def look(self, now: float) -> None:
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        for worker in list(self._node.workers.values()):
            if worker.kill_at is not None:
                if now >= worker.kill_at:
                    worker.signal_group(signal.SIGKILL)
                continue
            self._limit(worker, time.monotonic_ns())
        if now - self._sampled >= MEMORY_EVERY:
            self._sampled = now
            for worker in self._node.workers.values():
                worker.peak = high_water(worker.pid) or worker.peak
                bound_logs(worker)
            if self._config.memory_limit is not None:
                self._bound_memory(self._config.memory_limit)

    def _bound_memory(self, limit: int) -> None:
        """The workers of a node stay within its memory: the largest one pays, as on a machine of that size."""
        sizes = {worker.slot: resident(worker.pid) for worker in self._node.workers.values() if worker.kill_at is None}
        if sum(sizes.values()) > limit:
            largest = self._node.workers[max(sizes, key=sizes.__getitem__)]
            self._node.kill(largest, "memory")

    def _limit(self, worker: WorkerProcess, now: int) -> None:
        """Kill only what two looks in a row found over its limit, in the same call (a slot is written field by field)."""
        over = self._over(worker, now)
        if over is None:
            self._suspects.pop(worker.slot, None)
        elif self._suspects.get(worker.slot) == over:
            del self._suspects[worker.slot]
            condemned = self._on_trial(worker, over[0])
            if self._over(worker, now) == over:
                self._node.kill(worker, over[0], condemned)
        else:
            self._suspects[worker.slot] = over

    def _on_trial(self, worker: WorkerProcess, reason: str) -> tuple[int, int | None] | None:
        """The mini-batch that takes too long, and its items where they are known."""
        get = self._node.slots.get
        if reason == "run":
            return get(worker.slot, RUNNING), get(worker.slot, RUNNING_ITEMS)
        return (get(worker.slot, READING), None) if reason == "read" else None

    def _over(self, worker: WorkerProcess, now: int) -> tuple[str, int, int] | None:
        get = self._node.slots.get
        slot, config = worker.slot, self._config
        phase, since, finished = get(slot, PHASE), get(slot, RUNNING_SINCE), get(slot, FINISHED)
        seconds = self._node.slots.elapsed(slot, now) / 1e9
        if phase == RUN and seconds > config.run_timeout:
            return "run", since, finished
        if phase == SHUTDOWN and seconds > config.shutdown_timeout:
            return "shutdown", since, finished
        if phase == INIT and seconds > config.init_timeout:
            return "init", since, finished
        if phase == 0 and time.monotonic() - worker.last_news > config.init_timeout:
            return "init", 0, 0
        if get(slot, READING) >= 0 and (now - get(slot, READING_SINCE)) / 1e9 > config.read_timeout:
            return "read", get(slot, READING_SINCE), finished
        return None


def high_water(pid: int) -> int | None:
    """Peak resident memory of a process in bytes (Linux)."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, IndexError):
        return None
    return None


def last_peak(sampled: int | None, account: int) -> int:
    """Peak memory in bytes of a process that was killed: the last sample may be a second old, the kernel's account is newer.

    The account (``ru_maxrss``) also holds the size that this process had when it started that one, so it counts only beyond our own. Of
    a process that the kernel killed for memory it may lack what was taken away before its end.
    """
    peak = account * (1 if sys.platform == "darwin" else 1024)
    return peak if sampled is None or peak > peak_memory() else sampled


def exit_status(worker: WorkerProcess) -> int | None:
    """The exit status once the process has ended, and then its peak memory is known, too; None while it lives."""
    if worker.process.returncode is None:
        pid, status, usage = os.wait4(worker.pid, os.WNOHANG)
        if pid == 0:
            return None
        worker.process.returncode = os.waitstatus_to_exitcode(status)
        if worker.peak is None or worker.process.returncode < 0:
            worker.peak = last_peak(worker.peak, usage.ru_maxrss)
    return worker.process.returncode


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now (Linux; 0 where that cannot be read)."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * PAGE_SIZE
    except (OSError, IndexError, ValueError):
        return 0


def bound_logs(worker: WorkerProcess) -> None:
    """Cut what a process printed to its bound."""
    for log in (worker.stdout, worker.stderr):
        _bound_log(log)


def _bound_log(path: Path) -> None:
    """A script that prints without end may not fill the disk: keep the head and the newest tail (the writer appends)."""
    try:
        size = path.stat().st_size
        if size <= LOG_LIMIT:
            return
        os.truncate(path, LOG_HEAD)
        with path.open("ab") as file:
            file.write(f"\n[batchmill: {size - LOG_HEAD} bytes were dropped here, because this process prints too much]\n".encode())
    except OSError:
        return  # the log vanished: nothing to bound
