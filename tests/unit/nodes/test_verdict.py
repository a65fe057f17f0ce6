"""Why a worker died, in one class and one sentence, and who is charged."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.nodes.verdict import death_verdict
from batchmill.worker.channel import PROTOCOL_LOST
from batchmill.worker.slots import NONE, PHASE, READING, RUN, RUNNING, RUNNING_ITEMS, Slots

CONFIG: Any = SimpleNamespace(init_timeout=9.0, run_timeout=1.0, read_timeout=2.0, shutdown_timeout=3.0)


def worker(folder: Path, code: int, reason: str | None = None, dump: str = "") -> Any:
    stacks = folder / "stacks.txt"
    stacks.write_text(dump)
    return SimpleNamespace(
        name="process000",
        slot=0,
        process=SimpleNamespace(returncode=code),
        kill_reason=reason,
        stopping=False,
        stacks=stacks,
        peak=5,
        last_news=0.0,
    )


@pytest.mark.parametrize(
    ("code", "reason", "memory", "error_class", "status"),
    [
        (1, None, False, "WorkerExited", "RUN_EXCEPTION"),
        (0, None, False, "WorkerExited", "RUN_EXCEPTION"),
        (-signal.SIGKILL, None, False, "WorkerKilled", "RUN_EXCEPTION"),
        (-signal.SIGKILL, None, True, "OutOfMemory", "RUN_EXCEPTION"),
        (-signal.SIGSEGV, None, False, "WorkerCrashed", "RUN_EXCEPTION"),
        (-signal.SIGKILL, "run", False, "RunTimeout", "RUN_TIMEOUT"),
        (-signal.SIGKILL, "read", False, "LoadTimeout", "LOAD_TIMEOUT"),
        (-signal.SIGKILL, "init", False, "InitTimeout", "RUN_EXCEPTION"),
        (-signal.SIGKILL, "shutdown", False, "ShutdownTimeout", "RUN_EXCEPTION"),
        (-signal.SIGKILL, "protocol", False, "WorkerProtocolLost", "RUN_EXCEPTION"),
        (PROTOCOL_LOST, None, False, "WorkerProtocolLost", "RUN_EXCEPTION"),
    ],
)
def test_classes(tmp_path: Path, code: int, reason: str | None, memory: bool, error_class: str, status: str) -> None:
    verdict = death_verdict(worker(tmp_path, code, reason, "the stack"), CONFIG, memory, in_init=False)
    assert (verdict.facts.error_class, verdict.status) == (error_class, status)
    assert (verdict.facts.traceback, verdict.facts.peak, verdict.facts.memory) == ("the stack", 5, memory)


def test_who_is_charged(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path / "slots"), 1, create=True)
    slots.clear(0)
    killed = death_verdict(worker(tmp_path, -9), CONFIG, False, in_init=False)
    assert killed.guilty(slots) == NONE
    slots.set(0, READING, 4)
    assert killed.guilty(slots) == 4
    for field, value in ((RUNNING, 3), (PHASE, RUN), (RUNNING_ITEMS, 10)):
        slots.set(0, field, value)
    assert (killed.guilty(slots), killed.items(slots)) == (3, 10)
    reading = death_verdict(worker(tmp_path, -9, "read"), CONFIG, False, in_init=False)
    assert (reading.guilty(slots), reading.items(slots)) == (4, None)
    slots.close()


def test_a_crash_of_the_reading_thread_charges_what_was_read(tmp_path: Path) -> None:
    frame = '  File "/s/batchmill/worker/source.py", line 9 in _read_now'
    dump = f'Current thread 0x1 (most recent call first):\n  File "x.py", line 1 in f\n{frame}\n'
    assert death_verdict(worker(tmp_path, -11, None, dump), CONFIG, False, in_init=False).reader_died
