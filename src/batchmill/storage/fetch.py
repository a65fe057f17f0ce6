"""Bringing one object into a folder on this machine, checked against the plan."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from batchmill.errors import BatchmillError, DiskFullError, ReadError
from batchmill.storage.location import Location, parse_location
from batchmill.storage.object_store import store_for
from batchmill.storage.store_errors import changed_error, item_error, refusal

SMALL = 1024 * 1024
STREAM_CHUNK = 1024 * 1024
NAME_ERRORS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ)
WRITE = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC


class PlannedItem(Protocol):
    """What the prefetcher reads of an item of a plan."""

    @property
    def name(self) -> str: ...
    @property
    def input(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str | None: ...


class Source:
    """One input of a plan: where its items come from, and the folder they land in.

    Nothing is written once ``stopped()`` is true. With ``as_now`` an object that has changed since the plan is taken as it is now.
    """

    def __init__(
        self,
        number: int,
        entry: dict[str, Any],
        cache_folder: str,
        retry_timeout: float,
        stopped: Callable[[], bool],
        *,
        as_now: bool = False,
    ) -> None:
        self.location: Location = parse_location(entry["base"]) if entry["location"] != "local" else Location("local")
        self.remote = self.location.remote
        self.folder = os.path.join(cache_folder, str(number))
        self._store: Any = store_for(self.location, retry_timeout) if self.remote else None
        self._stopped = stopped
        self._as_now = as_now

    def path(self, name: str) -> str:
        """Where an item lands."""
        return f"{self.folder}/{name}"

    def fetch(self, item: PlannedItem) -> None:
        """Bring one item here.

        Raises:
            ReadError: it cannot be had (ItemChangedError: it is gone, or not the one of the plan).
            DiskFullError: there is no room for it on the disk.
        """
        try:
            # The store compares the etag itself: no second request, and no window between check and read.
            condition = {"if_match": item.etag} if item.etag and not self._as_now else None
            answer = self._store.get(self.location.key(item.name), options=condition)
            size = answer.meta["size"] if self._as_now else item.size
            self._write(item, size, (answer.bytes(),) if size <= SMALL else answer.stream(min_chunk_size=STREAM_CHUNK))
        except BatchmillError:
            raise
        except OSError as error:
            raise self._local_error(error, item) from None
        except Exception as error:
            raise item_error(self._rather_missing(error, item), self.location, item.name) from None

    def _rather_missing(self, error: Exception, item: PlannedItem) -> Exception:
        """Azure answers a condition on an object that is gone as if it had changed; then ask without one."""
        if refusal(error, self.location).word == "changed":
            try:
                self._store.head(self.location.key(item.name))
            except Exception as other:
                return other
        return error

    def _write(self, item: PlannedItem, size: int, chunks: Iterable[Any]) -> None:
        path, descriptor, written = self.path(item.name), -1, 0
        try:
            for chunk in chunks:
                written += len(chunk)
                if written > size or self._stopped():
                    break
                if descriptor < 0:
                    descriptor = _create(path)
                _write_all(descriptor, chunk)
        except BaseException:
            if descriptor >= 0:
                _remove(path)
            raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        if written != size and not self._stopped():
            if descriptor >= 0:
                _remove(path)
            raise changed_error(f"{self.location.base}/{item.name}")

    def _local_error(self, error: OSError, item: PlannedItem) -> BatchmillError:
        if error.errno is None:  # obstore raises a FileNotFoundError of its own, without a number
            return item_error(error, self.location, item.name)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(f"No space is left for fetched items in {self.folder}.", cure="Make room, then resume the run.")
        url = f"{self.location.base}/{item.name}"
        if error.errno in NAME_ERRORS:
            return ReadError(f"Cannot read {url}: its name does not fit into a local folder ({error.strerror}).")
        return ReadError(f"Cannot read {url}: {error.strerror} while writing it to {self.folder}.")


def _create(path: str) -> int:
    try:
        return os.open(path, WRITE, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, WRITE, 0o600)


def _write_all(descriptor: int, chunk: Any) -> None:
    count = os.write(descriptor, chunk)
    if count != len(chunk):
        rest = memoryview(chunk)[count:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
