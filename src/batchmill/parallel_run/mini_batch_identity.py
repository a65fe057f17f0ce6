"""Identity of a mini-batch: a hash of exactly what it holds, by which a later run finds it again, wherever it stands in the order.

Files count with path, size, and etag or time of change; of tables also the stretch (bytes, rows, row groups), the columns and their
types; of partitions the keys and the files. The rows of a grouped table may come from any of its files, so all of them count.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain, pairwise
from struct import Struct
from typing import Any

from batchmill.worker.plan_file import HERE, MiniBatchPlan, PlanFile

AT_ONCE = 4096
File = tuple[int, "bytes | int"]
SIZE = 16
"""Bytes of an identity."""
_STRETCH = Struct("<qqq")
_FACTS = Struct("<QQqq")
FIRST_ONLY = "only_first_file_has_headers"


class Identities:
    """The identities of all mini-batches of a plan; what has none (answers of queries) gets one that never occurs again.

    ``nameless``: there are such mini-batches. ``tables``: what is said of columns and types, one hash for each place.
    """

    def __init__(self, plan: PlanFile) -> None:
        self._plan = plan
        header = plan.header
        self._places = [_digest(one["location"], one["base"]) for one in header["inputs"]]
        self._joined = any(one.get("joined") for one in header["inputs"])
        self._tables = _table_headers(header)
        self._first_names = [_first_names(one, place) for place, one in enumerate(self._tables)]
        self.tables = [_table_digest(one, place) for place, one in enumerate(self._tables)]
        self._starts = _Positions(plan.folder, self._tables)
        self._grouped: dict[int, bytes] = {}
        self._last: tuple[int, bytes] = (-1, b"")
        self.nameless = header["kind"] == "rank" or any(one["base"] == HERE for one in header["inputs"])

    def all(self) -> bytearray:
        """`SIZE` bytes for each mini-batch."""
        found = bytearray()
        for one in self._each():
            found += one
        return found

    def files(self, first: int, last: int) -> Iterator[tuple[bytes, File]]:
        """A name and what else tells versions of a file apart, for the files from ``first`` up to ``last``, which are of one place."""
        place = self._places[self._plan.item(first).input]
        names, records = self._plan.stretch(first, last)
        begin = records[0][0]
        ends = chain((one[0] - begin for one in records[1:]), [len(names)])
        for (offset, size, mtime, _), end in zip(records, ends, strict=True):
            name, _, etag = names[offset - begin : end].partition(b"\0")
            yield place + name, (size, etag or mtime)

    def all_files(self) -> Iterator[tuple[bytes, File]]:
        """The same for every file of the plan."""
        for entry in self._plan.header["inputs"]:
            end = entry["first_item"] + entry["items"]
            for first, last in pairwise(chain(range(entry["first_item"], end, AT_ONCE), [end])):
                yield from self.files(first, last)

    # --- mini-batches -----------------------------------------------------------------------------------------------------------

    def _each(self) -> Iterator[bytes]:
        plan, header = self._plan, self._plan.header
        if header["kind"] == "rank":
            yield from (os.urandom(SIZE) for _ in range(plan.mini_batches))
        elif header["cut"]["rule"] == "count" and not self._joined:
            for number in range(len(header["inputs"])):
                yield from self._counted(number)
        else:
            yield from (self._one(plan.mini_batch(k)) for k in range(plan.mini_batches))

    def _counted(self, number: int) -> Iterator[bytes]:
        """Mini-batches of consecutive files of one place: names and records are taken as they lie in the plan, many at once."""
        entry, size = self._plan.header["inputs"][number], self._plan.header["cut"]["size"]
        end = entry["first_item"] + entry["items"]
        for first, last in pairwise(chain(range(entry["first_item"], end, size), [end])):
            names, records = self._plan.stretch(first, last)
            if b"\0" in names:  # etags, which count in place of times
                yield _digest(*(self._described(n)[1] for n in range(first, last)))
                continue
            begin = records[0][0]
            facts = array("q", chain.from_iterable((offset - begin, length, mtime) for offset, length, mtime, _ in records))
            yield blake2b(self._places[number] + facts.tobytes() + names, digest_size=SIZE).digest()

    def _one(self, part: MiniBatchPlan) -> bytes:
        if self._plan.header["inputs"][part.input]["base"] == HERE:
            return os.urandom(SIZE)
        keys = json.dumps(part.keys, sort_keys=True, default=str)
        if self._tables and self._tables[part.input].get("grouped"):
            return _digest(keys, str(part.rows), self._all_files(part.input))
        items = [self._described(n)[1] for n in part.items]
        if not self._tables:
            return _digest(keys, *items)
        stretch = _STRETCH.pack(*(-1 if one is None else one for one in (part.start, part.stop, part.rows)))
        return _digest(self.tables[part.input], stretch, self._starts.of(part), *items)

    # --- files ------------------------------------------------------------------------------------------------------------------

    def _described(self, n: int) -> tuple[bytes, bytes]:
        """Hashes of the path of a file, and of all that says which file it is."""
        item = self._plan.item(n)
        name = _digest(self._places[item.input], item.name)
        if n == self._last[0]:
            return name, self._last[1]
        first = bool(self._tables) and self._first_names[item.input] == item.name
        table = self.tables[item.input] if self.tables else b""
        marks = _FACTS.pack(0, item.size, 0 if item.etag else item.mtime_ns, int(first))
        self._last = n, _digest(name, table, item.etag or "", marks)
        return name, self._last[1]

    def _all_files(self, place: int) -> bytes:
        """All files that the groups of an input may come from."""
        if place not in self._grouped:
            entries = self._plan.header["inputs"]
            stop = place + 1
            while stop < len(entries) and entries[stop].get("joined"):
                stop += 1
            first, last = entries[place]["first_item"], entries[stop - 1]["first_item"] + entries[stop - 1]["items"]
            self._grouped[place] = _digest(self.tables[place], *(self._described(n)[1] for n in range(first, last)))
        return self._grouped[place]


class _Positions:
    """The numbers of rows that come before each mini-batch, where operations ask for them."""

    def __init__(self, folder: str, tables: list[dict[str, Any]]) -> None:
        opened: dict[str, Any] = {}
        for one in tables:
            if (name := one.get("positions")) and name not in opened:
                opened[name] = _opened(folder, one)
        self._files = [(opened.get(one.get("positions") or ""), one.get("first_mini_batch", 0)) for one in tables]

    def of(self, part: MiniBatchPlan) -> bytes:
        found, first = self._files[part.input]
        return b"" if found is None else b"".join(one.to_bytes(8, "little") for one in found.starts(part.index - first))


def _opened(folder: str, table: dict[str, Any]) -> Any:
    from batchmill.data.row_operations import RowOperations
    from batchmill.data.row_positions import RowPositions

    count = RowOperations(table["operations"]).positional
    return RowPositions(folder, table["positions"], count) if count else None


def _table_headers(header: dict[str, Any]) -> list[dict[str, Any]]:
    """The table header of each place; empty for files."""
    table = header.get("table")
    if not table:
        return []
    if "tables" in table:
        return [table["tables"][number] for number in table["of_place"]]
    return [table] * len(header["inputs"])


def _first_names(table: dict[str, Any], place: int) -> str | None:
    """The file of a place whose first line is read as column names, where that is no other's."""
    return table["first_names"][place] if table["options"].get("header") == FIRST_ONLY else None


def _table_digest(table: dict[str, Any], place: int) -> bytes:
    """What is said of the columns of the files of a place, apart from what says which files there are."""
    schema = table["schemas"][table["schema_of_input"][place]]
    said = {name: table[name] for name in ("options", "path_columns", "operations", "cut")} | {"schema": schema}
    return _digest(json.dumps(said, sort_keys=True, default=str))


def _digest(*parts: str | bytes) -> bytes:
    found = blake2b(digest_size=SIZE)
    for part in parts:
        data = os.fsencode(part) if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()
