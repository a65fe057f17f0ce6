"""Answers the questions of a script step (`batchmill.worker.step_questions`) while its process runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from batchmill.parallel_run.answers import answer_of, refusal
from batchmill.worker.step_script import QUESTIONS

LONGEST_PATH = 100
"""Bytes that the path of a socket may have on every system."""

MOST_AT_ONCE = 128
LONGEST_QUESTION = 64 << 20
PAUSE = 0.01


class StepQuestions:
    """A context manager around the process of a step: a socket in a folder that only this user can enter.

    ``answer`` is called in threads, for several questions at once; what it raises is told to the script.

    >>> with StepQuestions(lambda question: {"size": 5}) as asked:
    ...     sorted(asked.variables)
    ['BATCHMILL_STEP_QUESTIONS']
    """

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended = False

    @property
    def path(self) -> str:
        """The path of the socket."""
        return str(self._folder / "ask")

    @property
    def folder(self) -> Path:
        """What to remove where this process cannot do it."""
        return self._folder

    @property
    def variables(self) -> dict[str, str]:
        """What the environment of the process must hold (`batchmill.worker.step_script.command_of` says the same)."""
        return {QUESTIONS: self.path}

    def __enter__(self) -> Self:
        self._folder = _private_folder()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(self.path)
            self._listener.listen(MOST_AT_ONCE)
        except BaseException:
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._thread = threading.Thread(target=self._accept, name="batchmill-step-questions", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody is answered any more: who still waits is told that the runner is gone."""
        with self._lock:
            self._ended = True
            waiting = list(self._open)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for connection in waiting:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                with self._lock:
                    if self._ended:
                        return
                time.sleep(PAUSE)  # no descriptor is left, for now
                continue
            with self._lock:
                if self._ended:
                    connection.close()
                    return
                self._open.add(connection)
            try:
                threading.Thread(target=self._serve, args=(connection,), name="batchmill-step-answer", daemon=True).start()
            except RuntimeError:  # no thread is left: answered here, one after the other
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        """Answer the one question of a connection."""
        try:
            with connection, connection.makefile("rb") as file, suppress(OSError):
                line = file.readline(LONGEST_QUESTION)
                if line.endswith(b"\n"):
                    connection.sendall(self._answered(line))
        finally:
            with self._lock:
                self._open.discard(connection)

    def _answered(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            kind = question["kind"]
        except (ValueError, TypeError, KeyError):
            return _encoded(refusal("UsageError", "A question is one line of JSON, an object with its kind."))
        try:
            return _encoded(answer_of(self._answer, question))
        except TypeError as error:  # the answer holds what JSON does not know
            return _encoded(refusal("TypeError", f"The answer to a question of the kind {kind!r} cannot be told: {error}"))


def _encoded(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode("ascii") + b"\n"


def _private_folder() -> Path:
    """A new folder of this user alone, with a path that is short enough for a socket."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(os.fsencode(parent)) + len("/batchmill-12345678/ask") <= LONGEST_PATH and os.access(parent, os.W_OK):
            return Path(tempfile.mkdtemp(prefix="batchmill-", dir=parent))
    return Path(tempfile.mkdtemp(prefix="batchmill-"))
