"""The files of a dataset as they were listed, kept as columns: some tens of bytes a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from batchmill.data.listing import Input
from batchmill.storage.chunk import Chunk


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file: where it lies, what it is called below its place, which place of the dataset that is, and what was listed."""

    path: str
    name: str
    input: int
    size: int
    mtime_ns: int
    etag: str | None


class ListedFiles(Sequence[ListedFile]):
    """All files of some places, in their order.

    Raises:
        InputError: a place cannot be listed.
    """

    def __init__(self, places: Iterable[Input]) -> None:
        self._chunks: list[tuple[str, int, Chunk]] = []
        self._firsts: list[int] = []
        self._count = 0
        for number, one in enumerate(places):
            prefix = one.base if one.base.endswith("/") else one.base + "/"
            for chunk in one.chunks():
                self._chunks.append((prefix, number, chunk))
                self._firsts.append(self._count)
                self._count += len(chunk)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, n: int) -> ListedFile: ...
    @overload
    def __getitem__(self, n: slice) -> list[ListedFile]: ...
    def __getitem__(self, n: int | slice) -> ListedFile | list[ListedFile]:
        if isinstance(n, slice):
            return [self[one] for one in range(self._count)[n]]
        n = range(self._count)[n]
        number = bisect_right(self._firsts, n) - 1
        return _file(*self._chunks[number], n - self._firsts[number])

    def __iter__(self) -> Iterator[ListedFile]:
        for prefix, number, chunk in self._chunks:
            for n in range(len(chunk)):
                yield _file(prefix, number, chunk, n)


def _file(prefix: str, number: int, chunk: Chunk, n: int) -> ListedFile:
    name = (chunk.prefix + chunk.names[n]).decode("utf-8", "surrogateescape")
    etag = chunk.etags[n] if chunk.etags is not None else None
    return ListedFile(prefix + name, name, number, chunk.sizes[n], chunk.mtimes[n], etag or None)
