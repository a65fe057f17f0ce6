"""A shared store in memory, which tests can hold up and take away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchmill.errors import ObjectMissingError, StoreError
from batchmill.storage.shared_store import Entry


class MemoryStore:
    """See `SharedStore`. While ``gate`` is cleared, writes wait; the next ``refusals`` of them fail. ``largest``: bytes of the longest."""

    def __init__(self, place: str = "memory://", parent: MemoryStore | None = None) -> None:
        self.place = place
        self._prefix = "" if parent is None else place.removeprefix(parent._root.place)
        self._root: MemoryStore = self if parent is None else parent._root
        self.objects: dict[str, bytes] = {} if parent is None else parent.objects
        self.gate = threading.Event()
        self.gate.set()
        self.refusals = 0
        self.largest = 0
        self.under_way = 0

    def put(self, name: str, data: bytes, *, durable: bool = True) -> None:
        with self.writer(name) as target:
            target.write(data)

    def create(self, name: str, data: bytes) -> bool:
        if self._prefix + name in self.objects:
            return False
        self.put(name, data)
        return True

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if self._prefix + name not in self.objects:
            raise ObjectMissingError(f"Cannot read {name}: there is no such object.")
        return self.objects[self._prefix + name][offset:][:length]

    def put_file(self, name: str, path: Path, *, durable: bool = True) -> None:
        self.put(name, path.read_bytes())

    def fetch(self, name: str, path: Path) -> None:
        path.write_bytes(self.read(name))

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        names = sorted(name.removeprefix(self._prefix) for name in self.objects if name.startswith(self._prefix + prefix))
        return (Entry(name, len(self.objects[self._prefix + name]), "") for name in names if after is None or name > after)

    def delete(self, name: str) -> None:
        self.objects.pop(self._prefix + name, None)

    def clear(self, prefix: str) -> None:
        for entry in list(self.list(prefix)):
            self.delete(entry.name)

    @contextmanager
    def writer(self, name: str, size: int | None = None, growing: str | None = None) -> Iterator[Any]:
        root = self._root
        root.under_way += 1
        try:
            assert root.gate.wait(30)
            if root.refusals:
                root.refusals -= 1
                raise StoreError(f"Cannot write {name}: the store is away.")
            written = _Written(root)
            yield written
            self.objects[self._prefix + name] = bytes(written.data)
        finally:
            root.under_way -= 1

    def below(self, folder: str) -> MemoryStore:
        return MemoryStore(f"{self.place}{folder}/", self)


class _Written:
    def __init__(self, store: MemoryStore) -> None:
        self.data = bytearray()
        self._store = store

    def write(self, data: bytes, /) -> int:
        self._store.largest = max(self._store.largest, len(data))
        self.data += data
        return len(data)
