"""Whether the process that holds something lives: with /proc, and on machines without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchmill.workspace import holder
from batchmill.workspace.holder import Holder, process_start, this_host

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


@pytest.fixture(params=["proc", "no proc"], autouse=True)
def proc(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no proc":
        monkeypatch.setattr(holder, "PROC", tmp_path)


def test_this_process_lives() -> None:
    assert Holder.me().alive(LONG_AGO, NOW)


def test_a_stopped_process_lives_and_one_that_has_ended_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        other = Holder(this_host(), process.pid, process_start(process.pid) or "")
        os.kill(process.pid, signal.SIGSTOP)
        assert other.alive(LONG_AGO, NOW)
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not other.alive(NOW, NOW), "a zombie"
    assert not other.alive(NOW, NOW)


def test_a_later_process_with_the_same_id_is_another_one() -> None:
    assert not Holder(this_host(), os.getpid(), "1").alive(NOW, NOW)


def test_elsewhere_silence_tells() -> None:
    far = Holder("elsewhere", os.getpid(), process_start(os.getpid()) or "")
    assert far.alive(NOW - timedelta(seconds=59), NOW)
    assert not far.alive(NOW - timedelta(seconds=60), NOW)
