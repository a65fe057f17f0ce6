"""A shared store below a URL of an object store. A put is atomic and durable when it is answered; `create` is a put if-none-match."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from batchmill.errors import BatchmillError, DiskFullError, ObjectMissingError, StoreError
from batchmill.storage.files import FULL
from batchmill.storage.location import Location
from batchmill.storage.object_store import PAGE, RETRY_TIMEOUT, in_byte_order, store_for
from batchmill.storage.shared_store import Entry, Writer
from batchmill.storage.store_errors import refusal, store_error
from batchmill.storage.upload import PART, SENDERS, OutputFolder, part_size

LARGE = 1 << 20
"""Bytes from which on a slow line is given time to send them."""
DELETED_AT_ONCE = 1000
SENT_AT_ONCE = 512 << 20
"""Bytes of a very large object that are on their way."""
T = TypeVar("T")


class BucketStore:
    """See `SharedStore`. Safe to use from many threads."""

    def __init__(self, location: Location, retry_timeout: float = RETRY_TIMEOUT) -> None:
        self.location = OutputFolder(location, retry_timeout).location
        self.place = location.base
        self._retry_timeout = retry_timeout

    def put(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """One request; large data goes in parts."""
        store = self._store(upload=len(data) > LARGE)
        self._ask("write", name, lambda key: store.put(key, data, chunk_size=PART, max_concurrency=SENDERS))

    def create(self, name: str, data: bytes) -> bool:
        """One request, refused when the object exists."""
        try:
            self._store(upload=len(data) > LARGE).put(self._key(name), data, mode="create", use_multipart=False)
        except Exception as error:
            if refusal(error, self.location).word in ("exists", "changed"):
                return False
            raise store_error(error, self.location, f"write {name} in") from None
        return True

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """One request."""
        if length == 0:
            return b""
        options: Any = None
        if length is not None:
            options = {"range": (offset, offset + length)}
        elif offset:
            options = {"range": {"offset": offset}}
        try:
            return self._ask("read", name, lambda key: bytes(self._store().get(key, options=options).bytes()))
        except StoreError as error:
            if error.facts.get("word") == "beyond":
                return b""
            raise

    def put_file(self, name: str, path: Path, *, durable: bool = True) -> None:
        """In parts, a few at a time."""
        with open(path, "rb") as source:
            part = part_size(os.fstat(source.fileno()).st_size)
            store = self._store(upload=True)
            self._ask("write", name, lambda key: store.put(key, source, chunk_size=part, max_concurrency=SENDERS))

    def fetch(self, name: str, path: Path) -> None:
        """In ranges of one version of the object."""
        meta = self._ask("read", name, lambda key: self._store().head(key))
        size, condition = meta["size"], {"if_match": meta["e_tag"]} if meta["e_tag"] else {}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with open(temporary, "wb") as file:
                for start in range(0, size, PART):
                    file.write(self._guarded("read", name, partial(self._range, name, start, min(size, start + PART), condition)))
            os.replace(temporary, path)
        except OSError as error:
            if error.errno in FULL:
                raise DiskFullError(f"No space is left for {path}.", cure="Free some space, then batchmill resume.") from error
            raise
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def _range(self, name: str, start: int, end: int, condition: dict[str, str]) -> Any:
        return self._store().get(self._key(name), options={**condition, "range": (start, end)}).bytes()

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """A page of objects at a time is in memory."""
        folder = replace(self.location, prefix=self._key(prefix.strip("/"))) if prefix.strip("/") else self.location
        skip = len(self.location.prefix) + 1 if self.location.prefix else 0
        rows = (
            (meta["path"][skip:].encode(), meta["size"], 0, meta["e_tag"] or "")
            for page in self._pages(folder, after)
            for meta in page
            if after is None or meta["path"][skip:] > after
        )
        for name, size, _, mark in in_byte_order(rows, self.location):
            yield Entry(name.decode(), size, mark)

    def _pages(self, folder: Location, after: str | None) -> Iterator[Any]:
        offset = self._key(after) if after else None
        try:
            yield from self._store().list(folder.prefix or None, offset=offset, chunk_size=PAGE)
        except Exception as error:
            raise store_error(error, folder, "list") from None

    def delete(self, name: str) -> None:
        """One request."""
        self._delete(self._key(name))

    def clear(self, prefix: str) -> None:
        """Many objects to a request, where the store can."""
        keys: list[str] = []
        for entry in self.list(prefix):
            keys.append(self._key(entry.name))
            if len(keys) == DELETED_AT_ONCE:
                self._delete(keys)
                keys = []
        if keys:
            self._delete(keys)

    @contextmanager
    def writer(self, name: str, size: int | None = None, growing: str | None = None) -> Iterator[Writer]:
        """An upload in parts, which the end of the block completes; one that is given up was never seen."""
        from obstore import open_writer

        key, part = self._key(name), part_size(size or 0)
        options: Any = {"buffer_size": part, "max_concurrency": max(1, min(SENDERS, SENT_AT_ONCE // part))}
        upload = self._guarded("write", name, lambda: open_writer(self._store(upload=True), key, **options))
        yield _Upload(self, name, upload)
        self._guarded("write", name, upload.close)

    def below(self, folder: str) -> BucketStore:
        """The store of a folder in this one."""
        return BucketStore(replace(self.location, prefix=self._key(folder.strip("/"))), self._retry_timeout)

    # ---------------------------------------------------------------------------------------------------------------------------

    def _store(self, *, upload: bool = False) -> Any:
        return store_for(self.location, self._retry_timeout, upload=upload)

    def _key(self, name: str) -> str:
        return self.location.key(name)

    def _delete(self, keys: str | Sequence[str]) -> None:
        try:
            self._store().delete(keys)
        except Exception as error:
            if refusal(error, self.location).word != "missing":
                raise store_error(error, self.location, "delete objects of") from None
            if not isinstance(keys, str):
                for key in keys:
                    self._delete(key)

    def _ask(self, action: str, name: str, ask: Callable[[str], T]) -> T:
        return self._guarded(action, name, lambda: ask(self._key(name)))

    def _guarded(self, action: str, name: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except BatchmillError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the local file
            why = refusal(error, self.location)
            if why.word == "missing" and action == "read":
                raise ObjectMissingError(f"Cannot read {self.place}/{name}: {why.cause}.", word="missing") from None
            raise store_error(error, self.location, f"{action} {name} in") from None


class _Upload:
    """The growing object of `BucketStore.writer`."""

    def __init__(self, store: BucketStore, name: str, upload: Any) -> None:
        self._store, self._name, self._upload = store, name, upload

    def write(self, data: bytes, /) -> int:
        return int(self._store._guarded("write", self._name, lambda: self._upload.write(data)))
