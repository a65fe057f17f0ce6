"""The pipe pair between a worker process and its node: line-delimited JSON, on descriptors no child inherits.

The main thread receives leases; any thread of the script may `Channel.ask` at the same time. Whoever waits first reads for all.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import threading
from collections import deque
from typing import Any, Callable, Optional, TypeVar

PROTOCOL_LOST = 113
"""Exit code of a worker whose descriptors were closed by the user's script."""

LIFTED = 200

# Bound at import: a script may do with the json module what it likes.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.loads

T = TypeVar("T")


class ProtocolLost(Exception):
    """The pipes to the node are gone, or are no longer ours."""


class NotTheWorker(RuntimeError):
    """A process that the worker forked has its descriptors, but only the worker itself may use them."""


def lift(descriptor: int) -> int:
    """Move a descriptor to a high number, so that code which closes or reuses low ones does not meet it; never inheritable."""
    for least in (LIFTED, 3):
        try:
            lifted = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
        except OSError:
            continue
        os.close(descriptor)
        return lifted
    return descriptor


class Identity:
    """Which file a descriptor named when we opened it; a script may have closed it and opened something else under its number."""

    __slots__ = ("descriptor", "device", "inode")

    def __init__(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.descriptor = descriptor
        self.device = status.st_dev
        self.inode = status.st_ino

    def check(self) -> None:
        try:
            status = os.fstat(self.descriptor)
        except OSError as error:
            raise ProtocolLost(str(error)) from error
        if status.st_ino != self.inode or status.st_dev != self.device:
            raise ProtocolLost(f"descriptor {self.descriptor} now names another file")


class Channel:
    """The worker's end of the pipe pair."""

    def __init__(self, read_descriptor: int, write_descriptor: int) -> None:
        self._read = lift(read_descriptor)
        self._write = lift(write_descriptor)
        self._identities = (Identity(self._read), Identity(self._write))
        self._pid = os.getpid()
        self._buffer = bytearray()
        self._sending = threading.Lock()
        self._news = threading.Condition()
        self._reading = False
        self._ended = False
        self._messages: deque[dict[str, Any]] = deque()
        self._numbers = itertools.count(1)
        self._answers: dict[int, Optional[dict[str, Any]]] = {}

    def receive(self) -> Optional[dict[str, Any]]:
        """The next message that is no answer; None at end of file. Waits."""
        return self._wait_for(lambda: self._messages.popleft() if self._messages else None)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask the run and wait for the answer; from any thread.

        Raises:
            NotTheWorker: this is a child process that the worker forked.
            ProtocolLost: the node is gone.
        """
        self.check_process()
        number = next(self._numbers)
        with self._news:
            self._answers[number] = None
        try:
            self.send({"m": "ask", "id": number, "question": question})
            answer = self._wait_for(lambda: self._answers[number])
        finally:
            with self._news:
                del self._answers[number]
        if answer is None:
            raise ProtocolLost("the node is gone")
        return answer

    def _wait_for(self, find: Callable[[], Optional[T]]) -> Optional[T]:
        """What ``find`` finds among what has been read; None when there is nothing and no more will come."""
        while True:
            with self._news:
                while (found := find()) is None and self._reading and not self._ended:
                    self._news.wait()
                if found is not None or self._ended:
                    return found
                self._reading = True
            try:
                self._read_on()
            finally:
                with self._news:
                    self._reading = False
                    self._news.notify_all()

    def _read_on(self) -> None:
        """Wait for bytes, and sort the messages that they complete."""
        try:
            data = os.read(self._read, 1 << 16)
        except OSError as error:
            raise ProtocolLost(str(error)) from error
        self._buffer += data
        lines = self._buffer.split(b"\n")
        with self._news:
            self._ended = not data
            for line in lines[:-1]:
                message: dict[str, Any] = _decode(bytes(line))
                if message.get("m") != "answer":
                    self._messages.append(message)
                elif message["id"] in self._answers:  # else nobody waits for it any more
                    self._answers[message["id"]] = message["answer"]
        self._buffer = lines[-1]

    def check_process(self) -> None:
        """Raises NotTheWorker in a child process that the worker forked."""
        if os.getpid() != self._pid:
            raise NotTheWorker("Only the worker process itself can ask its run.")

    def check(self) -> None:
        """Raises ProtocolLost when a descriptor is closed or names another file."""
        for identity in self._identities:
            identity.check()

    def send(self, message: dict[str, Any]) -> None:
        """Raises ProtocolLost when that is not possible."""
        self.check()
        data = memoryview(_encode(message).encode("utf-8", "backslashreplace") + b"\n")
        with self._sending:
            while data:
                try:
                    data = data[os.write(self._write, data) :]
                except OSError as error:
                    raise ProtocolLost(str(error)) from error
