"""The guardian of a runner: a tiny process that outlives it by a moment and kills what the scripts of its steps left behind.

As `batchmill.nodes.guardian`: the end of a pipe, which only the runner has, says that the runner is gone, however it died.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from batchmill.nodes.stragglers import kill_marked

MARK = "BATCHMILL_STEP"
"""The variable in the environment of a script that names its step run and attempt; everything that the script starts inherits it."""
LOOKS = 3
"""A process that is being started while the others are killed is seen at the next look."""


class ScriptGuardian:
    """Watches the scripts of one runner, which tells it of each before it starts. One that was killed itself is replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[str, str] = {}
        self._begin()

    def _begin(self) -> None:
        import subprocess

        read, self._write = os.pipe()
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        body = f"import sys; sys.path.insert(0, {root!r}); from batchmill.pipeline.script_guardian import main; main({read})"
        command = [sys.executable, "-S", "-E", "-c", body]
        self._process = subprocess.Popen(command, pass_fds=(read,), stdin=subprocess.DEVNULL, start_new_session=True)
        os.close(read)

    def watch(self, mark: str, folder: Path | None = None) -> None:
        """Kill what bears this mark when the runner dies, and remove the folder."""
        with self._lock:
            self._watched[mark] = "" if folder is None else str(folder)
            self._tell(self._told(mark))

    def forget(self, mark: str) -> None:
        """Nothing bears this mark any more."""
        with self._lock:
            self._watched.pop(mark, None)
            self._tell(f"-{mark}\n")

    def close(self) -> None:
        """The runner ends: what is still watched is killed."""
        with self._lock:
            self._leave()

    def _told(self, mark: str) -> str:
        return f"+{mark}\t{self._watched[mark]}\n"

    def _tell(self, line: str) -> None:
        if self._write < 0:  # closed; its number may be that of another file by now
            return
        try:
            os.write(self._write, line.encode(errors="surrogateescape"))
        except BrokenPipeError:
            self._leave()
            self._begin()
            os.write(self._write, "".join(map(self._told, self._watched)).encode(errors="surrogateescape"))

    def _leave(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
        self._process.wait()


def main(read_descriptor: int) -> None:
    """Body of the guardian process; the signals that a terminal sends to everybody must not end it early."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    marks: dict[str, str] = {}
    with os.fdopen(read_descriptor, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            mark, _, folder = line[1:].rstrip("\n").partition("\t")
            if line[0] == "+":
                marks[mark] = folder
            else:
                marks.pop(mark, None)
    for _ in range(LOOKS):
        for mark in marks:
            kill_marked(MARK, mark)
    for folder in filter(None, marks.values()):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
