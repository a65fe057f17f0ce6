"""Writing a plan folder: bulk arrays instead of an object per item, and a rename that makes it whole or nothing.

The formats are those of `worker/plan_file.py`, which reads them.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from operator import add
from pathlib import Path
from typing import Any

from batchmill.data.listing import Input
from batchmill.data.walk import shown
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk
from batchmill.storage.files import fsync_folder
from batchmill.worker.plan_file import ITEM, PLAN_VERSION

WORDS = ITEM.size // 8
FIRST_MINI_BATCH = 3
PROGRESS_EVERY = 1000


@dataclass(frozen=True, slots=True)
class InputPlan:
    """One place's share of the plan: items and mini-batches are numbered over all inputs, in their order.

    A dataset may have sources in several places: they are one input, in which mini-batches run across. All places but the first are
    ``joined`` to the one before, and where whole files or groups of them are cut, the first of them counts all mini-batches.
    """

    base: str
    location: str
    first_item: int
    items: int
    first_mini_batch: int
    mini_batches: int
    joined: bool = False


class ItemsWriter:
    """Writes items.bin and items.index, cut by ``size`` files, each input by itself; tables and groups set the cut afterwards."""

    def __init__(self, folder: Path, size: int, *, skip_empty: bool, progress: Callable[[int], None] | None) -> None:
        self._names = (folder / "items.bin").open("wb", buffering=1 << 20)
        self._index = (folder / "items.index").open("wb", buffering=1 << 20)
        self._size = size
        self._skip_empty = skip_empty
        self._progress = progress
        self._told = 0
        self._offset = 0
        self.items = 0
        self.bytes = 0
        self.mini_batches = 0
        self.skipped = 0
        """Empty files left out."""
        self.inputs: list[InputPlan] = []

    def add_input(self, one: Input, see: Callable[[str, Chunk], None] | None) -> None:
        """Take all items of an input; ``see`` is shown each chunk.

        Raises:
            InputError: it has none, or cannot be listed.
        """
        self.add_joined([one], see, one.require_items)

    def add_joined(self, places: Sequence[Input], see: Callable[[str, Chunk], None] | None, require_items: Callable[[int], None]) -> None:
        """Take all items of an input that lies in several places; ``require_items`` is told their number, empty files included.

        Raises:
            InputError: there is none, or a place cannot be listed.
        """
        first, begin, skipped = self.items, self.mini_batches, self.skipped
        filled = [(one, count) for one in places if (count := self._list(one, see, first, begin))]
        items = self.items - first
        require_items(items + self.skipped - skipped)
        if items == 0:
            raise InputError(f"Input {shown(places[0].text)} holds only empty files.", cure="Partitions leave empty files out.")
        self.mini_batches = end = begin + -(-items // self._size)
        for one, count in filled:
            joined = first > self.items - items
            numbers = (end, 0) if joined else (begin, end - begin)
            self.inputs.append(InputPlan(one.base, one.location, first, count, *numbers, joined=joined))
            first += count

    def _list(self, one: Input, see: Callable[[str, Chunk], None] | None, first: int, first_mini_batch: int) -> int:
        """Take the items of a place in an input that begins with item ``first``; returns their number."""
        before = self.items
        for chunk in one.chunks():
            if see is not None:
                see(one.base, chunk)
            if self._skip_empty and 0 in chunk.sizes:
                chunk = self._without_empty(chunk)
            if len(chunk):
                self._add(chunk, self.items - first, first_mini_batch)
        return self.items - before

    def _without_empty(self, chunk: Chunk) -> Chunk:
        kept = [n for n, size in enumerate(chunk.sizes) if size]
        self.skipped += len(chunk) - len(kept)
        return chunk.select(kept)

    def _add(self, chunk: Chunk, position: int, first_mini_batch: int) -> None:
        names, prefix, count = chunk.names, chunk.prefix, len(chunk)
        if chunk.etags is not None:
            names = [name + b"\0" + etag.encode() if etag else name for name, etag in zip(names, chunk.etags, strict=True)]
        lengths = map(prefix.__len__().__add__, map(len, names))
        offsets = array("Q", accumulate(lengths, add, initial=self._offset))
        self._offset = offsets.pop()
        records = array("Q", bytes(count * ITEM.size))
        records[0::WORDS] = offsets
        records[1::WORDS] = chunk.sizes
        records[2::WORDS] = array("Q", chunk.mtimes.tobytes())
        records[FIRST_MINI_BATCH::WORDS] = _numbers(position, count, self._size, first_mini_batch)
        self._names.write(prefix + prefix.join(names))
        self._index.write(_little_endian(records))
        self.bytes += sum(chunk.sizes)
        self.items += count
        if self._progress is not None and self.items >= self._told + PROGRESS_EVERY:
            self._told = self.items
            self._progress(self.items)

    def __enter__(self) -> ItemsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the closing record (of no use when the listing failed, but the files must be closed all the same)."""
        with self._names, self._index:
            self._index.write(ITEM.pack(self._offset, 0, 0, self.mini_batches))


def _numbers(position: int, count: int, size: int, first: int) -> array[int]:
    """The mini-batches of ``count`` items from ``position`` of an input whose first mini-batch is ``first``."""
    if size == 1:
        return array("Q", range(first + position, first + position + count))
    return array("Q", [first + n // size for n in range(position, position + count)])


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


@contextmanager
def first_mini_batches(folder: Path) -> Iterator[Callable[[int, int], None]]:
    """A function ``set(item, mini_batch)`` over the last column of a closed items.index."""
    with (folder / "items.index").open("r+b") as file, mmap.mmap(file.fileno(), 0) as index:

        def put(item: int, mini_batch: int) -> None:
            at = item * ITEM.size + FIRST_MINI_BATCH * 8
            index[at : at + 8] = mini_batch.to_bytes(8, "little")

        yield put


def write_header(
    folder: Path, *, kind: str, inputs: Iterable[InputPlan], mini_batches: int, items: int | None, size: int, **more: Any
) -> None:
    """Write plan.json; ``size`` is the bytes of all items."""
    header: dict[str, Any] = {"version": PLAN_VERSION, "kind": kind, "mini_batches": mini_batches, "items": items, "bytes": size}
    header |= {"inputs": [asdict(one) for one in inputs], "partition_keys": [], "table": None, **more}
    (folder / "plan.json").write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


@contextmanager
def plan_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write the plan into: ``folder`` appears, or is replaced, only when the block ends well and all is on disk."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed while planning
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.iterdir():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_folder(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        fsync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
