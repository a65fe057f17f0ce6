"""The guardian of a runner: a tiny process that outlives it by a moment and kills what the scripts of its steps left behind.

As `batchmill.nodes.guardian`: the end of a pipe, which only the runner has, says that the runner is gone, however it died.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from batchmill.nodes.stragglers import kill_marked

MARK = "BATCHMILL_STEP"
"""The variable in the environment of a script that names its step run and attempt; everything that the script starts inherits it."""
LOOKS = 3
"""A process that is being started while the others are killed is seen at the next look."""


class ScriptGuardian:
    """Watches the scripts of one runner, which tells it of each before it starts."""

    def __init__(self) -> None:
        import subprocess

        read, self._write = os.pipe()
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        body = f"import sys; sys.path.insert(0, {root!r}); from batchmill.pipeline.script_guardian import main; main({read})"
        command = [sys.executable, "-S", "-E", "-c", body]
        self._process = subprocess.Popen(command, pass_fds=(read,), stdin=subprocess.DEVNULL, start_new_session=True)
        os.close(read)
        self._lock = threading.Lock()

    def watch(self, mark: str) -> None:
        """Kill what bears this mark when the runner dies."""
        self._tell(f"+{mark}\n")

    def forget(self, mark: str) -> None:
        """Nothing bears this mark any more."""
        self._tell(f"-{mark}\n")

    def close(self) -> None:
        """The runner ends in order: nothing is left."""
        os.close(self._write)
        self._process.wait()

    def _tell(self, line: str) -> None:
        with self._lock:
            os.write(self._write, line.encode())


def main(read_descriptor: int) -> None:
    """Body of the guardian process; the signals that a terminal sends to everybody must not end it early."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    marks: set[str] = set()
    with os.fdopen(read_descriptor, encoding="utf-8") as lines:
        for line in lines:
            mark = line[1:].rstrip("\n")
            marks.add(mark) if line[0] == "+" else marks.discard(mark)
    for _ in range(LOOKS):
        for mark in marks:
            kill_marked(MARK, mark)
    os._exit(0)
