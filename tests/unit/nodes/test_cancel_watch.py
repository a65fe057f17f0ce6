"""A request to cancel interrupts what the main thread is busy with."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.nodes.cancel_watch import CancelRequested, CancelWatch

LONG = 60.0


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    return tmp_path / "cancel"


@pytest.fixture(autouse=True)
def _handler_stays() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def count_up() -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        pass


def run_a_process() -> None:
    subprocess.run([sys.executable, "-c", f"import time; time.sleep({LONG})"], check=False)


def wait_for_an_event() -> None:
    threading.Event().wait(LONG)


def swallow_exceptions() -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            time.sleep(LONG)
        except Exception:
            continue


@pytest.mark.parametrize("busy", [count_up, run_a_process, wait_for_an_event, swallow_exceptions])
def test_a_request_ends_what_is_under_way(request_file: Path, busy: Callable[[], None]) -> None:
    timer = threading.Timer(0.1, request_file.touch)
    timer.start()
    began = time.monotonic()
    with pytest.raises(CancelRequested), CancelWatch(request_file):
        busy()
    assert time.monotonic() - began < LONG / 2
    timer.join()


def test_a_request_that_was_there_before_counts(request_file: Path) -> None:
    request_file.touch()
    with pytest.raises(CancelRequested), CancelWatch(request_file):
        wait_for_an_event()


def test_without_a_request_nothing_happens(request_file: Path) -> None:
    with CancelWatch(request_file):
        assert threading.active_count() >= 2
    request_file.touch()
    assert "batchmill-cancel-watch" not in [thread.name for thread in threading.enumerate()]


def test_ctrl_c_is_still_ctrl_c(request_file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), CancelWatch(request_file):
        signal.raise_signal(signal.SIGINT)


def test_an_ignored_ctrl_c_stays_ignored_but_a_request_counts(request_file: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with CancelWatch(request_file):
            signal.raise_signal(signal.SIGINT)
        request_file.touch()
        with pytest.raises(CancelRequested), CancelWatch(request_file):
            wait_for_an_event()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_the_block_raises_passes(request_file: Path) -> None:
    with pytest.raises(sqlite3.Error, match="of the block"), CancelWatch(request_file):
        raise sqlite3.Error("of the block")


def test_other_threads_are_left_alone(request_file: Path) -> None:
    request_file.touch()
    ended: list[Any] = []

    def work() -> None:
        with CancelWatch(request_file):
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]
