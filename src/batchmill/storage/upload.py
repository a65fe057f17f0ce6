"""Results in an object store: publishing whole files, and the few questions asked about them.

A put, multipart or not, is atomic in every store we speak to: readers see the old object or the new one, never a part. So a file is
uploaded under its final name, once, when it is complete; there is no temporary name and no rename. Multipart uploads that a crash
leaves behind are invisible and cost storage: let the bucket's lifecycle rules abort them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from batchmill.errors import OutputError, StoreError
from batchmill.storage.location import Location, parse_location
from batchmill.storage.object_store import RETRY_TIMEOUT, store_for
from batchmill.storage.store_errors import refusal, store_error

PART = 8 * 1024 * 1024
MOST_PARTS = 9_000  # S3 takes 10,000
SENDERS = 4
T = TypeVar("T")


class OutputFolder:
    """A folder of results at a URL. All errors are `StoreError`, in one line, and come within the retry timeout.

    >>> OutputFolder("s3://results/monday").url_of("rows.txt")
    's3://results/monday/rows.txt'
    """

    def __init__(self, url: str | Location, retry_timeout: float = RETRY_TIMEOUT) -> None:
        self.location: Location = parse_location(url) if isinstance(url, str) else url
        if self.location.kind not in ("s3", "az", "gs") or self.location.pattern is not None:
            raise OutputError(
                f"Results cannot be written to {self.location}.", cure="Name a folder, or an s3://, az://, gs:// or datastore:// URL."
            )
        self._retry_timeout = retry_timeout

    def url_of(self, name: str) -> str:
        """The URL of the object called ``name``."""
        return f"{self.location.base}/{name}"

    def publish(self, local: str | os.PathLike[str], name: str) -> int:
        """Upload a complete file under its final name, replacing what is there; returns its size in bytes.

        Memory stays below 4 parts of 8 MiB (larger for files above 70 GiB, which would have too many parts).
        """
        path = Path(local)
        size = path.stat().st_size
        store = store_for(self.location, self._retry_timeout, upload=True)
        self._ask("write", name, lambda key: store.put(key, path, chunk_size=part_size(size), max_concurrency=SENDERS))
        if self.size(name) != size:
            raise StoreError(f"Cannot write {self.url_of(name)}: it arrived incomplete.", cure="Resume the run.")
        return size

    def write(self, name: str, data: bytes) -> None:
        """Put a small object."""
        self._ask("write", name, lambda key: self._store().put(key, data))

    def read(self, name: str) -> bytes:
        """All bytes of a small object."""
        return self._ask("read", name, lambda key: bytes(self._store().get(key).bytes()))

    def size(self, name: str) -> int | None:
        """Bytes of an object, None where there is none."""
        try:
            return int(self._store().head(self.location.key(name))["size"])
        except Exception as error:
            if refusal(error, self.location).word == "missing":
                return None
            raise store_error(error, self.location, f"look for {name} in") from None

    def exists(self, name: str) -> bool:
        """True where there is such an object."""
        return self.size(name) is not None

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            self._store().delete(self.location.key(name))
        except Exception as error:
            if refusal(error, self.location).word != "missing":
                raise store_error(error, self.location, f"delete {name} from") from None

    def rename(self, name: str, new: str) -> None:
        """Copy, then delete: another reader may see both for a moment, never a half."""
        self._ask("rename", name, lambda key: self._store().rename(key, self.location.key(new)))

    def _store(self) -> Any:
        return store_for(self.location, self._retry_timeout)

    def _ask(self, action: str, name: str, ask: Callable[[str], T]) -> T:
        try:
            return ask(self.location.key(name))
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the local file
            raise store_error(error, self.location, f"{action} {name} in") from None


def part_size(size: int) -> int:
    """Bytes of each part, so that an object of ``size`` bytes has not too many of them."""
    return PART if size <= PART * MOST_PARTS else -(-size // MOST_PARTS // 1024) * 1024 + 1024


def upload_file(local: str | os.PathLike[str], url: str, name: str, retry_timeout: float = RETRY_TIMEOUT) -> int:
    """Publish one complete local file as ``url/name``; returns its size in bytes.

    Raises:
        StoreError: the store is unreachable, unknown or refuses.
    """
    return OutputFolder(url, retry_timeout).publish(local, name)
