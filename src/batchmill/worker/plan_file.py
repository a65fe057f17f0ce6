"""The plan of a run as its processes read it: mapped files, a few microseconds a mini-batch, nothing kept per item.

``parallel_run/plan_writer.py`` writes the folder; the record formats are declared here, once.
Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import json
import mmap
import os
from array import array
from bisect import bisect_right
from datetime import datetime
from struct import Struct
from typing import Any, Optional, Sequence, Union

PLAN_VERSION = 1
UNKNOWN = 2**64 - 1
"""A start, stop or row number that the plan does not know."""
HERE = "plan:"
"""As the base of an input: its files lie in the plan folder itself."""

ITEM = Struct("<QQqQ")
"""items.index: offset in items.bin, size in bytes, mtime in nanoseconds (0 when unknown), first mini-batch of the item."""
SLICE = Struct("<QQQQ")
"""slices.index: item, start, stop, rows; UNKNOWN where a number has no meaning."""
GROUP = Struct("<QQQ")
"""groups.index: first position in groups.order, number of items, offset of the line in groups.keys.

Of a grouped table: first row, number of rows, offset of the line."""

_ITEM_AND_NEXT_OFFSET = Struct("<QQqQQ")
_FIRST_MINI_BATCH = Struct("<Q")
_FIRST_MINI_BATCH_AT = 24


class Item:
    """One input file: where it lies now (``path``), what it is called below its input (``name``), what it was when listed."""

    __slots__ = ("etag", "input", "mtime_ns", "name", "path", "size")

    def __init__(self, path: str, name: str, input: int, size: int, mtime_ns: int, etag: Optional[str]) -> None:
        self.path = path
        self.name = name
        self.input = input
        self.size = size
        self.mtime_ns = mtime_ns
        self.etag = etag


class MiniBatchPlan:
    """What one mini-batch holds: whole items, or a part (``start`` to ``stop``) of a single one.

    The unit of ``start`` and ``stop`` is the table's: bytes, rows or row groups. ``rows`` is None where only reading tells.
    """

    __slots__ = ("index", "input", "items", "keys", "rows", "start", "stop")

    def __init__(
        self,
        index: int,
        input: int,
        items: Sequence[int],
        start: Optional[int] = None,
        stop: Optional[int] = None,
        rows: Optional[int] = None,
        keys: Optional[dict[str, Any]] = None,
    ) -> None:
        self.index = index
        self.input = input
        self.items = items
        self.start = start
        self.stop = stop
        self.rows = rows
        self.keys = keys


class PlanFile:
    """A plan folder, opened for reading. ``mounts[i]`` is the local folder that stands for ``inputs[i]["base"]``.

    Raises:
        ValueError: the folder holds a plan of another version.
        IndexError: (any method) there is no such item or mini-batch.
    """

    def __init__(self, folder: Union[str, os.PathLike[str]], mounts: Optional[Sequence[Optional[str]]] = None) -> None:
        self.folder = os.fspath(folder)
        with open(os.path.join(self.folder, "plan.json"), encoding="utf-8") as file:
            self.header: dict[str, Any] = json.load(file)
        if self.header.get("version") != PLAN_VERSION:
            found = self.header.get("version")
            raise ValueError(f"{self.folder} holds a plan of version {found}; this Batchmill reads version {PLAN_VERSION}.")
        self.mini_batches: int = self.header["mini_batches"]
        self.items: Optional[int] = self.header["items"]
        self._rule: str = self.header["cut"]["rule"]
        self._size: int = self.header["cut"].get("size", 1)
        self._date_keys: list[str] = self.header.get("date_keys", [])
        self._tables = bool(self.header.get("table"))
        self._map_inputs(mounts)
        self._map_files()

    def _map_inputs(self, mounts: Optional[Sequence[Optional[str]]]) -> None:
        inputs = self.header["inputs"]
        self._first_items = [entry["first_item"] for entry in inputs]
        self._first_mini_batches = [entry["first_mini_batch"] for entry in inputs]
        self._ends = [entry["first_item"] + entry["items"] for entry in inputs]
        self._joined = any(entry.get("joined") for entry in inputs)
        for number in range(len(inputs) - 1, 0, -1):
            if inputs[number].get("joined"):  # one input with the entry before: mini-batches run across
                self._ends[number - 1] = self._ends[number]
        self._item_count = self._ends[-1] if inputs else 0
        bases = [self.folder if entry["base"] == HERE else entry["base"] for entry in inputs]
        for number, mount in enumerate(mounts or ()):
            if mount is not None and number < len(bases):
                bases[number] = mount
        self._prefixes = [base if base.endswith("/") else base + "/" for base in bases]
        self._single = len(inputs) == 1

    def _map_files(self) -> None:
        self._names = _map(self.folder, "items.bin")
        self._index = _map(self.folder, "items.index")
        self._slices = _map(self.folder, "slices.index") if self._rule == "slices" else b""
        self._groups = _map(self.folder, "groups.index") if self._rule == "groups" else b""
        self._order = _map(self.folder, "groups.order") if self._rule == "groups" else b""
        self._keys = _map(self.folder, "groups.keys") if self._rule == "groups" else b""

    # --- items ------------------------------------------------------------------------------------------------------------------

    def item(self, n: int) -> Item:
        """Item ``n`` of the whole plan, counted from 0 over all inputs."""
        if self._rule == "rank":
            self._check(n)
            return Item(str(n), str(n), 0, 0, 0, None)
        if not 0 <= n < self._item_count:
            raise IndexError(f"The plan has {self._item_count} items, there is no item {n}.")
        begin, size, mtime_ns, _, end = _ITEM_AND_NEXT_OFFSET.unpack_from(self._index, n * ITEM.size)
        name, _, etag = self._names[begin:end].partition(b"\0")
        text = name.decode("utf-8", "surrogateescape")
        number = self._input_of_item(n)
        return Item(self._prefixes[number] + text, text, number, size, mtime_ns, etag.decode("utf-8") if etag else None)

    def stretch(self, first: int, last: int) -> tuple[bytes, list[tuple[int, int, int, int]]]:
        """The names (with etags) and the records of the items from ``first`` up to ``last``, as they lie in the plan."""
        records = list(ITEM.iter_unpack(self._index[first * ITEM.size : (last + 1) * ITEM.size]))
        return bytes(self._names[records[0][0] : records[-1][0]]), records[:-1]

    def _input_of_item(self, n: int) -> int:
        return 0 if self._single else bisect_right(self._first_items, n) - 1

    # --- mini-batches -----------------------------------------------------------------------------------------------------------

    def mini_batch(self, k: int) -> MiniBatchPlan:
        """What mini-batch ``k`` holds."""
        self._check(k)
        number = self._input_of_mini_batch(k)
        rule = self._rule
        if rule == "count":
            first, last = self._count_range(k, number)
            return MiniBatchPlan(k, number, range(first, last))
        if rule == "blocks":
            return self._block(k, number)
        if rule == "slices":
            item, start, stop, rows = SLICE.unpack_from(self._slices, k * SLICE.size)
            return MiniBatchPlan(k, number, (item,), _known(start), _known(stop), _known(rows))
        if rule == "groups":
            return self._group(k, number)
        return MiniBatchPlan(k, 0, (k,))

    def paths(self, k: int, first: int = 0, count: Optional[int] = None) -> list[tuple[str, int, int]]:
        """Absolute path, size and mtime (ns, 0 when unknown) of the files of mini-batch ``k``, or of ``count`` of them from ``first``."""
        if not 0 <= k < self.mini_batches:
            self._check(k)
        number = 0 if self._single else bisect_right(self._first_mini_batches, k) - 1
        prefix = self._prefixes[number]
        if self._rule == "count":
            begin, end = self._count_range(k, number)
            items: Sequence[int] = range(begin, end)
        else:
            items = self.mini_batch(k).items
        if first or count is not None:
            items = items[first : None if count is None else first + count]
        unpack, index, names = _ITEM_AND_NEXT_OFFSET.unpack_from, self._index, self._names
        listed = []
        for n in items:
            start, size, mtime_ns, _, stop = unpack(index, n << 5)
            name = names[start:stop]
            if b"\0" in name:
                name = name[: name.index(b"\0")]
            if self._joined:
                prefix = self._prefixes[self._input_of_item(n)]
            listed.append((prefix + name.decode("utf-8", "surrogateescape"), size, mtime_ns))
        return listed

    def first_name(self, k: int) -> str:
        """The relative path of the first item of mini-batch ``k``, '' for one without items; a microsecond where the cut is by count."""
        if self._rule != "count" or not 0 <= k < self.mini_batches:
            items = self.mini_batch(k).items
            return self.item(items[0]).name if items else ""
        number = 0 if self._single else bisect_right(self._first_mini_batches, k) - 1
        n = self._first_items[number] + (k - self._first_mini_batches[number]) * self._size
        start, _, _, _, stop = _ITEM_AND_NEXT_OFFSET.unpack_from(self._index, n << 5)
        return self._names[start:stop].partition(b"\0")[0].decode("utf-8", "surrogateescape")  # type: ignore[no-any-return]

    def first_mini_batch_of(self, n: int) -> int:
        """The mini-batch that holds item ``n``, or its beginning; for the number of items itself, the number of mini-batches."""
        first: int = _FIRST_MINI_BATCH.unpack_from(self._index, n * ITEM.size + _FIRST_MINI_BATCH_AT)[0]
        return first

    def _check(self, k: int) -> None:
        if not 0 <= k < self.mini_batches:
            raise IndexError(f"The plan has {self.mini_batches} mini-batches, there is no mini-batch {k}.")

    def _input_of_mini_batch(self, k: int) -> int:
        # The rightmost input that begins at or before k: an input without mini-batches of its own is passed over.
        return 0 if self._single else bisect_right(self._first_mini_batches, k) - 1

    def _count_range(self, k: int, number: int) -> tuple[int, int]:
        size = self._size
        first = self._first_items[number] + (k - self._first_mini_batches[number]) * size
        last = first + size
        end: int = self._ends[number]
        return first, last if last < end else end

    def _block(self, k: int, number: int) -> MiniBatchPlan:
        low, high = self._first_items[number], self._ends[number]
        while low < high:  # rightmost item that begins at or before k: empty files have no block
            middle = (low + high) // 2
            if self.first_mini_batch_of(middle) <= k:
                low = middle + 1
            else:
                high = middle
        item = low - 1
        _, length, _, begins = ITEM.unpack_from(self._index, item * ITEM.size)
        start = (k - begins) * self._size
        return MiniBatchPlan(k, number, (item,), start, min(start + self._size, length))

    def _group(self, k: int, number: int) -> MiniBatchPlan:
        position, count, line = GROUP.unpack_from(self._groups, k * GROUP.size)
        end = self._keys.find(b"\n", line)
        keys = json.loads(self._keys[line:end].decode("utf-8"))
        for name in self._date_keys:
            keys[name] = None if keys[name] is None else datetime.fromisoformat(keys[name])
        if self._tables:  # rows of a grouped table, not files
            return MiniBatchPlan(k, number, (), position, position + count, count, keys)
        items = array("Q", self._order[position * 8 : (position + count) * 8])
        return MiniBatchPlan(k, number, items, keys=keys)


def _known(number: int) -> Optional[int]:
    return None if number == UNKNOWN else number


def _map(folder: str, name: str) -> Any:
    with open(os.path.join(folder, name), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
