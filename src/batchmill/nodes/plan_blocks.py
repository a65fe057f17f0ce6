"""A large plan on a machine that runs a part of it: its files have their full sizes and no bytes, until mini-batches need some.

The plan of 100,000,000 files is 9 GB; a node that runs a thousandth of it fetches the blocks that tell of that thousandth.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from batchmill.nodes.node_order import PlanOrder
from batchmill.storage.shared_store import SharedStore
from batchmill.worker.plan_file import GROUP, ITEM, PlanFile

BLOCK = 256 << 10
AT_ONCE = 8
LINE = 4096
SPARSE = ("items.bin", "items.index", "groups.index", "groups.keys", "groups.order")
"""The files that grow with the number of items or groups."""
HEADER = "plan.json"


def may_be_sparse(header: Mapping[str, object]) -> bool:
    """Whether workers find what they need at places that can be told beforehand: plans of files, by count or in groups."""
    return header["kind"] == "files"


class PlanBlocks:
    """The sparse files of one plan below ``folder``, where `make_sparse` has been. Not for several threads at once."""

    def __init__(self, files: SharedStore, order: PlanOrder, folder: Path) -> None:
        self._files = files
        self._place, self._sizes = order.place, dict(order.files)
        self._folder = folder
        self._plan = PlanFile(folder)
        self._rule = self._plan.header["cut"]["rule"]
        self._descriptors = {name: os.open(folder / name, os.O_RDWR | os.O_CLOEXEC) for name in SPARSE if name in self._sizes}
        self._here: dict[str, set[int]] = {name: set() for name in self._descriptors}
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="batchmill-plan")

    def need(self, first: int, count: int) -> None:
        """Have what these mini-batches say.

        Raises:
            StoreError: the plan is out of reach.
        """
        if self._rule != "groups":
            begin, end = self._plan.mini_batch(first).items[0], self._plan.mini_batch(first + count - 1).items[-1] + 1
            self._items([(begin, end)])
            return
        self._bytes("groups.index", first * GROUP.size, (first + count) * GROUP.size)
        groups = [GROUP.unpack(self._read("groups.index", k * GROUP.size, GROUP.size)) for k in range(first, first + count)]
        self._lines(groups[0][2], groups[-1][2])
        for begin, end in _stretches((position, position + number) for position, number, _ in groups):
            self._bytes("groups.order", begin * 8, end * 8)
        numbers = array("Q")
        for position, number, _ in groups:
            numbers.frombytes(self._read("groups.order", position * 8, number * 8))
        self._items(_stretches((number, number + 1) for number in sorted(numbers)))

    def close(self) -> None:
        self._threads.shutdown()
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def _items(self, stretches: Iterable[tuple[int, int]]) -> None:
        """Records and names of items: the record behind the last one says where its name ends."""
        stretches = list(stretches)
        self._fetch("items.index", ((begin * ITEM.size, (end + 1) * ITEM.size) for begin, end in stretches))
        self._fetch("items.bin", ((self._offset(begin), self._offset(end)) for begin, end in stretches))

    def _offset(self, item: int) -> int:
        return int.from_bytes(self._read("items.index", item * ITEM.size, 8), "little")

    def _lines(self, first: int, last: int) -> None:
        """The lines of groups.keys from the one at ``first`` to the one at ``last``, which ends somewhere."""
        end = last
        while True:
            end = min(end + LINE, self._sizes["groups.keys"])
            self._bytes("groups.keys", first, end)
            if b"\n" in self._read("groups.keys", last, end - last) or end == self._sizes["groups.keys"]:
                return

    def _read(self, name: str, offset: int, length: int) -> bytes:
        return os.pread(self._descriptors[name], length, offset)

    def _bytes(self, name: str, begin: int, end: int) -> None:
        self._fetch(name, [(begin, end)])

    def _fetch(self, name: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Have these bytes of a file, in whole blocks; neighbours with one request, several requests at once."""
        here = self._here[name]
        wanted = sorted({block for begin, end in ranges if end > begin for block in range(begin // BLOCK, -(-end // BLOCK))} - here)
        for _ in self._threads.map(lambda stretch: self._fetch_blocks(name, *stretch), _stretches((one, one + 1) for one in wanted)):
            pass
        here.update(wanted)

    def _fetch_blocks(self, name: str, begin: int, end: int) -> None:
        offset = begin * BLOCK
        data = self._files.read(f"{self._place}/{name}", offset, min(end * BLOCK, self._sizes[name]) - offset)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptors[name], view, offset)
            view, offset = view[written:], offset + written


def make_sparse(files: SharedStore, order: PlanOrder, folder: Path) -> bool:
    """Make the large files of a plan, empty, in a folder; returns False, and does nothing, where the plan has to be there as a whole.

    Raises:
        StoreError: the plan is out of reach.
    """
    if not may_be_sparse(json.loads(files.read(f"{order.place}/{HEADER}"))):
        return False
    for name, size in order.files:
        if name in SPARSE:
            with (folder / name).open("wb") as file:
                file.truncate(size)
    return True


def _stretches(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges in their order, neighbours joined."""
    before: tuple[int, int] | None = None
    for begin, end in ranges:
        if before is not None and before[0] <= begin <= before[1]:
            before = (before[0], max(before[1], end))
            continue
        if before is not None:
            yield before
        before = (begin, end)
    if before is not None:
        yield before
