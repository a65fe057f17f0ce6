"""The pipe pair between a worker process and its node: line-delimited JSON, on descriptors no child inherits."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any, Optional

PROTOCOL_LOST = 113
"""Exit code of a worker whose descriptors were closed by the user's script."""

LIFTED = 200

# Bound at import: a script may do with the json module what it likes.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.loads


class ProtocolLost(Exception):
    """The pipes to the node are gone, or are no longer ours."""


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
        self._buffer = bytearray()

    def receive(self) -> Optional[dict[str, Any]]:
        """The next message; None at end of file. Waits."""
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                message: dict[str, Any] = _decode(line)
                return message
            try:
                data = os.read(self._read, 1 << 16)
            except OSError as error:
                raise ProtocolLost(str(error)) from error
            if not data:
                return None
            self._buffer += data

    def check(self) -> None:
        """Raises ProtocolLost when a descriptor is closed or names another file."""
        for identity in self._identities:
            identity.check()

    def send(self, message: dict[str, Any]) -> None:
        self.check()
        data = memoryview(_encode(message).encode("utf-8", "backslashreplace") + b"\n")
        while data:
            try:
                data = data[os.write(self._write, data) :]
            except OSError as error:
                raise ProtocolLost(str(error)) from error
