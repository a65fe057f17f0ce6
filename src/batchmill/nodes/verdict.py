"""Why a worker process died, in words, and which mini-batch is to be charged."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass

from batchmill.nodes.process import WorkerProcess, how_it_ended
from batchmill.parallel_run.events import ErrorFacts, NodeConfig
from batchmill.worker.channel import PROTOCOL_LOST
from batchmill.worker.slots import PHASE, READING, RUN, RUNNING, RUNNING_ITEMS, Slots

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
DUMP_LIMIT = 40_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a worker ended."""

    slot: int
    facts: ErrorFacts
    status: str
    reader_died: bool
    elapsed: float

    def guilty(self, slots: Slots) -> int:
        """The mini-batch to charge, -1 for none: the one being run, unless the thread that reads ahead brought the process down."""
        running, reading = slots.get(self.slot, RUNNING), slots.get(self.slot, READING)
        if self.reader_died and reading >= 0:
            return reading
        return running if running >= 0 else reading

    def items(self, slots: Slots) -> int | None:
        """Items of the guilty mini-batch, None when it was not read yet."""
        if self.reader_died or slots.get(self.slot, PHASE) != RUN:
            return None
        return slots.get(self.slot, RUNNING_ITEMS)


def death_verdict(worker: WorkerProcess, config: NodeConfig, out_of_memory: bool, *, in_init: bool) -> Verdict:
    """Put the end of a process into one error class and one sentence."""
    code = worker.process.returncode or 0
    dump = _dump(worker)
    where = "init()" if in_init else "shutdown()" if worker.stopping else "run()"
    ended = how_it_ended(worker.name, code)
    status = "RUN_EXCEPTION"
    reader = False
    if worker.kill_reason == "init":
        kind, text = "InitTimeout", f"import and init() took more than {config.init_timeout:g} s; the process was stopped."
    elif worker.kill_reason == "run":
        kind, status = "RunTimeout", "RUN_TIMEOUT"
        text = f"run() took more than {config.run_timeout:g} s (run_invocation_timeout); the process was stopped."
    elif worker.kill_reason == "read":
        kind, status, reader = "LoadTimeout", "LOAD_TIMEOUT", True
        text = f"reading the mini-batch took more than {config.read_timeout:g} s (task_overhead_timeout); the process was stopped."
    elif worker.kill_reason == "shutdown":
        kind, text = "ShutdownTimeout", f"shutdown() took more than {config.shutdown_timeout:g} s; the process was stopped."
    elif worker.kill_reason == "protocol" or code == PROTOCOL_LOST:
        kind, text = (
            "WorkerProtocolLost",
            f"The script closed or replaced file descriptors that are not its own, in {where}; the process was stopped.",
        )
    elif worker.kill_reason == "memory":
        out_of_memory = True
        kind, text = "OutOfMemory", f"the workers of the node took more than its {config.memory_limit or 0:,} bytes of memory, in {where}."
    elif out_of_memory:
        kind, text = "OutOfMemory", f"{ended}: the kernel stopped it for memory, in {where}."
    elif code < 0 and -code in CRASHES:
        kind, text = "WorkerCrashed", f"{ended}: native code crashed in {where}; its stack is in {worker.stacks.name}."
        reader = _reader_crashed(worker, dump)
    elif code < 0:
        kind, text = "WorkerKilled", f"{ended} in {where}."
    else:
        kind, text = "WorkerExited", f"{ended} in {where}; a script may not end its process (os._exit)."
    peak = worker.peak
    return Verdict(worker.slot, ErrorFacts(kind, text, dump, out_of_memory, peak), status, reader, _elapsed(worker))


def _elapsed(worker: WorkerProcess) -> float:
    return max(0.0, time.monotonic() - worker.last_news)


def _dump(worker: WorkerProcess) -> str | None:
    try:
        text = worker.stacks.read_text(errors="replace")
    except OSError:
        return None
    return text[-DUMP_LIMIT:] or None


def _reader_crashed(worker: WorkerProcess, dump: str | None) -> bool:
    return bool(dump and re.search(r"Current thread [^\n]*\n(?:  [^\n]*\n)*?[^\n]*batchmill/worker/source\.py[^\n]*_read_now", dump))
