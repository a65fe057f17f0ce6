"""Where the processes of a cluster meet: named bytes in a folder that all of them see, or below a URL of an object store.

What has been put is durable and seen whole by everybody; `create` succeeds for one. Names are relative and divided by slashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from batchmill.storage.location import parse_location
from batchmill.storage.object_store import RETRY_TIMEOUT


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing; ``mark`` (an etag, or the time of the last change in ns) is another one when its content is."""

    name: str
    size: int
    mark: str


class Writer(Protocol):
    """What takes the bytes of an object that is written bit by bit."""

    def write(self, data: bytes, /) -> int:
        """Append bytes."""


class SharedStore(Protocol):
    """All errors are `StoreError`, in one line (a full disk: `DiskFullError`), and come within the retry timeout of an object store.

    ``place`` is a URL or an absolute path.
    """

    place: str

    def put(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write an object, or replace it; durable on return, unless that is not asked for: then a folder may lose it with its machine."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; durable on return. False when there is one, which may be our own: the answer of a
        first try may have been lost."""

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object; fewer than ``length`` where it ends.

        Raises:
            ObjectMissingError: there is none.
        """

    def put_file(self, name: str, path: Path, *, durable: bool = True) -> None:
        """Write an object with the content of a file, in bounded memory; durable on return as with `put`."""

    def fetch(self, name: str, path: Path) -> None:
        """Write a file with the content of an object, in bounded memory; the file appears, or is replaced, when it is complete.

        Raises:
            ObjectMissingError: there is none.
        """

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """The objects below the folder ``prefix``, in the byte order of their names; with ``after`` only those with a greater name."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""

    def clear(self, prefix: str) -> None:
        """Remove all objects below the folder ``prefix``."""

    def writer(self, name: str, size: int | None = None, growing: str | None = None) -> AbstractContextManager[Writer]:
        """Write an object bit by bit: it appears, or is replaced, when the block ends without an error, and is durable then.

        ``size``: the bytes that are expected (object stores take more than 70 GB only when they know it). ``growing``: the name that a
        folder gives it until then.
        """

    def below(self, folder: str) -> SharedStore:
        """The store of a folder in this one."""


def shared_store(place: str, retry_timeout: float = RETRY_TIMEOUT) -> SharedStore:
    """The store of a folder or URL.

    Raises:
        OutputError: it is no place that can be written to.
        StoreError: the URL cannot be understood.
    """
    from batchmill.storage.bucket_store import BucketStore
    from batchmill.storage.folder_store import FolderStore

    location = parse_location(place)
    return BucketStore(location, retry_timeout) if location.remote else FolderStore(location.path)
