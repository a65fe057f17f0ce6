"""Cancel watch: a request to cancel takes effect while the main thread plans, groups or builds, and cannot look for it itself."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

LOOK_EVERY = 0.25


class CancelRequested(BaseException):
    """The run is to end as Canceled. Not an `Exception`: nobody on its way may take it for a failure of what was asked."""


class TimeIsUp(BaseException):
    """What was begun takes longer than it may. Not an `Exception`, for the same reason."""


class CancelWatch:
    """While it is entered, `CancelRequested` is raised in the main thread soon after the file ``request`` appears, at most once; or
    `TimeIsUp`, after ``seconds``.

    It arrives as Ctrl-C does, by SIGINT, so it ends waits too, and whatever bears a KeyboardInterrupt bears it. In other threads, which
    signals do not reach, nothing happens; the job finds the request when it begins.
    """

    def __init__(self, request: Path, seconds: float | None = None) -> None:
        self._request = request
        self._seconds = seconds
        self._cause: type[BaseException] = CancelRequested
        self._before: Any = None
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._armed = False
        self._seen = False

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._before = signal.signal(signal.SIGINT, self._handle)
        self._armed = True
        self._thread = threading.Thread(target=self._watch, name="batchmill-cancel-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        while not self._request.exists():
            left = LOOK_EVERY if deadline is None else deadline - time.monotonic()
            if left <= 0:
                self._cause = TimeIsUp
                break
            if self._end.wait(min(left, LOOK_EVERY)):
                return
        main = threading.main_thread().ident
        self._seen = True
        if main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._seen:
            if self._armed:  # else the block has just ended, and the request is found later
                self._disarm()
                raise self._cause
        elif callable(self._before):
            self._before(number, frame)
        elif self._before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _disarm(self) -> None:
        self._armed = False
        signal.signal(signal.SIGINT, self._before)

    def __exit__(self, *exception: object) -> None:
        self._armed = False  # first of all: from here on nothing is raised any more
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._disarm()
