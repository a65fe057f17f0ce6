"""Disasters outside run(): import, init() and shutdown()."""

from __future__ import annotations

import pytest

from batchmill.records import RunStatus
from tests.disasters.conftest import BOUND, Zoo, rows

ECHO = "\nimport os\ndef run(mini_batch): return [os.path.basename(path) for path in mini_batch]\n"
EVER = {
    "raise in import": ("raise ImportError('no such library')", "ImportError: no such library"),
    "raise in init": ("def init(): raise ValueError('no model')", "ValueError: no model"),
    "exit in init": ("import sys\ndef init(): sys.exit(4)", "SystemExit: 4"),
    "os._exit in init": ("import os\ndef init(): os._exit(4)", "exits with returncode 4 in init()"),
    "SIGKILL in init": ("import os\ndef init(): os.kill(os.getpid(), 9)", "SIGKILL"),
    "SIGSEGV in import": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "closed descriptors in init": ("import os\ndef init(): os.closerange(3, 1000)", "WorkerProtocolLost"),
    "memory in init": ("def init(): raise MemoryError", "MemoryError"),
}


@pytest.mark.parametrize("name", EVER)
def test_a_script_that_never_starts_fails_the_run(zoo: Zoo, name: str) -> None:
    harm, text = EVER[name]
    zoo.files(4)
    ended = zoo.run(harm + ECHO, workers=1)
    assert ended.status is RunStatus.FAILED
    assert "init() of the entry script failed 3 times" in (ended.error or "")
    assert text in (ended.error or "")
    assert ended.counts.items.not_run == ended.counts.items.total == 4
    assert ended.tries == []
    assert "init()" in ended.log("user/error.txt")
    assert ended.log("job_error.txt").startswith("init() of the entry script failed")
    assert ended.seconds < BOUND


@pytest.mark.parametrize("harm", ["while True: pass", "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')"], ids=["loop", "GIL"])
def test_a_script_that_hangs_in_init_is_stopped(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    monkeypatch.setattr("batchmill.nodes.node_setup.INIT_SECONDS", -1.0)
    zoo.files(4)
    ended = zoo.run(f"def init():\n    {harm}" + ECHO, workers=1, run_invocation_timeout=0.6)
    assert ended.status is RunStatus.FAILED
    assert "InitTimeout: import and init() took more than 0.8 s" in (ended.error or "")
    assert "in init" in ended.log("user/error.txt")
    assert ended.seconds < BOUND


def test_init_that_fails_in_one_process_only(zoo: Zoo) -> None:
    """K48"""
    names = zoo.files(12)
    ended = zoo.run(
        """
        import os, batchmill
        def init():
            if batchmill.EntryScript().agent_name == "process000":
                raise ValueError
    """
        + ECHO.replace("\n", "\n        ")
    )
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == rows(names)
    assert ended.letters == []


def test_a_failed_start_is_tried_again(zoo: Zoo) -> None:
    names = zoo.files(4)
    ended = zoo.run("import os\nif os.path.basename(os.getcwd()) < 'process002': os._exit(1)" + ECHO, workers=1)
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == rows(names)


SHUTDOWN = {
    "raise": ("raise ValueError('too late')", "ValueError: too late"),
    "sys.exit": ("import sys; sys.exit(1)", "SystemExit: 1"),
    "os._exit": ("import os; os._exit(1)", "returncode 1 in shutdown()"),
    "SIGKILL": ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    "SIGSEGV": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "sleep": ("import time; time.sleep(1e6)", "ShutdownTimeout"),
    "GIL": ("import re; re.match(r'(a+)+$', 'a' * 60 + 'b')", "ShutdownTimeout"),
    "closed descriptors": ("import os; os.closerange(3, 1000)", "WorkerProtocolLost"),
}


@pytest.mark.parametrize("name", SHUTDOWN)
def test_shutdown_cannot_spoil_the_results(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("batchmill.nodes.node_setup.SHUTDOWN_SECONDS", 0.5)
    harm, text = SHUTDOWN[name]
    names = zoo.files(6)
    ended = zoo.run(f"def shutdown():\n    {harm}" + ECHO, workers=1)
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == rows(names)
    assert ended.letters == []
    assert [text in warning for warning in ended.warnings] == [True]
    assert "shutdown()" in ended.log("user/error.txt")
    assert ended.seconds < BOUND
