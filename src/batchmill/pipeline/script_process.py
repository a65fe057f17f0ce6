"""The process of a script step, with all that it starts: begun, waited for, ended as a whole."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from batchmill.nodes.stragglers import kill_marked
from batchmill.pipeline.script_guardian import MARK

LOOK = 0.25  # seconds between looks at whether the step is canceled; the end of the process itself is an event
AGAIN = 0.01  # seconds until a killed process is looked for again
GRACE = 10.0  # seconds between asking a process to end and killing it


class ScriptProcess:
    """One started process in a session of its own; what it prints goes to ``log``. Started in the thread that waits for it."""

    def __init__(self, words: Sequence[str], variables: Mapping[str, str], cwd: Path, log: Path, mark: str) -> None:
        self._mark = mark
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**variables, MARK: mark},
                cwd=cwd,
                start_new_session=True,
            )
        self._descriptor = _descriptor_of(self._process.pid)

    def wait(self, canceled: Callable[[], bool], timeout: float | None) -> int | None:
        """The exit code, negative for a signal; None where it was ended because of ``canceled`` or after ``timeout`` seconds.

        Nothing that the script has started is left afterwards.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._ended(LOOK):
                if canceled() or (deadline is not None and time.monotonic() > deadline):
                    self._end()
                    return None
            return self._process.returncode
        finally:
            self._clear()

    def _ended(self, seconds: float) -> bool:
        if self._descriptor >= 0:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            poll.poll(seconds * 1000)
            return self._process.poll() is not None
        try:
            self._process.wait(min(seconds, 0.05))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self) -> None:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while not self._ended(LOOK) and time.monotonic() < deadline:
            pass

    def _clear(self) -> None:
        """Kill the process where it still runs, its group, and what left the group."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + GRACE
        while kill_marked(MARK, self._mark) and time.monotonic() < deadline:  # what is stuck in the kernel dies when it leaves it
            time.sleep(AGAIN)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of the group have ended
            os.killpg(self._process.pid, number)


def _descriptor_of(pid: int) -> int:
    """A descriptor that tells the end of a process; -1 where the system gives none: too old, forbidden in a container, none left."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1
