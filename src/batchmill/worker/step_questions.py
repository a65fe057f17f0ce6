"""How the script of a step asks its run: a connection to the runner for each question, over a socket that a variable names.

So any thread may ask, several at once, and so may the processes that the script starts. A question and its answer are one line of JSON each
(`batchmill.worker.questions`).
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Optional

from batchmill.worker.step_script import QUESTIONS

# Bound at import: a script may do with the json module what it likes.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.loads


class RunnerLost(ConnectionError):
    """The runner of the pipeline is gone, or does not answer any more."""


def socket_path() -> Optional[str]:
    """Where the runner answers; None outside the script of a step."""
    return os.environ.get(QUESTIONS) or None


def ask_runner(question: dict[str, Any]) -> dict[str, Any]:
    """Ask the runner and wait for the answer; from any thread.

    Raises:
        RunnerLost: it cannot be asked.
    """
    path = os.environ[QUESTIONS]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            connection.sendall(_encode(question).encode("ascii") + b"\n")
            line = _line(connection)
    except OSError as error:
        raise _lost(path, error.strerror or str(error)) from error
    if not line.endswith(b"\n"):
        raise _lost(path, "it went away before it answered")
    answer: dict[str, Any] = _decode(line)
    return answer


def _line(connection: socket.socket) -> bytes:
    parts = []
    while True:
        part = connection.recv(1 << 16)
        parts.append(part)
        if not part or part.endswith(b"\n"):
            return b"".join(parts)


def _lost(path: str, why: str) -> RunnerLost:
    return RunnerLost(f"The runner of this step's pipeline cannot be asked at {path}: {why}. It has ended, or the step has.")
