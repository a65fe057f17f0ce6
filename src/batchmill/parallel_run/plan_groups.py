"""One mini-batch per combination of keys that the paths hold (``--partition-format``, ``--partition-key``), for files.

Keys and item numbers are sorted together, outside memory when there are many, so a million combinations are an ordinary plan.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from batchmill.data.partition_format import PartitionFormat, Value, check_partition_keys
from batchmill.data.sorted_spill import SortedSpill
from batchmill.errors import PartitionFormatError
from batchmill.parallel_run.plan_writer import InputPlan, first_mini_batches
from batchmill.worker.plan_file import GROUP, PlanFile

Record = tuple[bytes, int]
VALUE, NULL, END = b"\x01", b"\x02", b"\0"
"""Marks before a value sort nulls last; paths hold no zero byte, so one may end a value."""
BATCH = 4096


def cut_groups(
    folder: Path, patterns: Sequence[str | None], keys: Sequence[str], inputs: Sequence[InputPlan]
) -> tuple[list[InputPlan], dict[str, Any]]:
    """Write the groups of the items in ``folder``; each input by itself, combinations in ascending order, nulls last.

    ``patterns`` has the partition format of each input; places that are joined are one input. Returns the inputs with their
    mini-batches, and what the plan's header says about the keys.

    Raises:
        PartitionFormatError: a pattern is not well formed or has not these keys, or a key is a date in one and a text in another.
    """
    forms = [key_format(pattern, keys) for pattern in patterns]
    dates = _date_keys(forms, keys)
    plan = PlanFile(folder)
    cut: list[InputPlan] = []
    writer = _GroupsWriter(folder, keys)
    with writer, first_mini_batches(folder) as put:
        for form, places in zip(forms, joined_places(inputs), strict=True):
            first = writer.groups
            for key, records in groupby(_sorted(_with_keys(plan, form, keys, places), folder), key=itemgetter(0)):
                items = [n for _, n in records]
                for n in items:
                    put(n, writer.groups)
                writer.add(key, items)
            cut.append(replace(places[0], first_mini_batch=first, mini_batches=writer.groups - first))
            cut.extend(replace(one, first_mini_batch=writer.groups, mini_batches=0) for one in places[1:])
        put(plan.items or 0, writer.groups)
    pattern = patterns[0] if len(set(patterns)) == 1 else None
    return cut, {"partition_keys": list(keys), "date_keys": dates, "partition_format": pattern}


def joined_places(inputs: Sequence[InputPlan]) -> list[list[InputPlan]]:
    """The places of each input of the run."""
    found: list[list[InputPlan]] = []
    for one in inputs:
        if one.joined:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def _date_keys(forms: Sequence[PartitionFormat | None], keys: Sequence[str]) -> list[str]:
    dates = [[key for key in keys if form and key == form.date_column] for form in forms]
    for other in dates[1:]:
        if other != dates[0]:
            key = next(key for key in keys if (key in other) != (key in dates[0]))
            raise PartitionFormatError(f"Partition key {key!r} is a date in one input and a text in another.", cure="Run them one by one.")
    return dates[0] if dates else []


def key_format(pattern: str | None, keys: Sequence[str]) -> PartitionFormat | None:
    """The partition format, known to hold the keys.

    Raises:
        PartitionFormatError: it is not well formed, or has not these keys.
    """
    form = PartitionFormat(pattern) if pattern is not None else None
    check_partition_keys(keys, form.columns if form else [])
    return form


def _with_keys(plan: PlanFile, form: PartitionFormat | None, keys: Sequence[str], places: Sequence[InputPlan]) -> Iterator[Record]:
    columns = [form.columns.index(key) for key in keys] if form else []
    for n in range(places[0].first_item, places[-1].first_item + places[-1].items):
        values = form.values(plan.item(n).path) if form else ()
        yield _typed([values[column] for column in columns]), n


def _typed(values: Sequence[Value]) -> bytes:
    """Key values as bytes that sort as the values do."""
    key = b""
    for value in values:
        if value is None:
            key += NULL + END
        else:
            text = value.isoformat() if isinstance(value, datetime) else value
            key += VALUE + os.fsencode(text) + END
    return key


def _sorted(records: Iterator[Record], folder: Path) -> Iterator[Record]:
    spill = SortedSpill(str(folder))
    try:
        batch: list[bytes] = []
        for key, n in records:
            batch.append(key + n.to_bytes(8, "big"))
            if len(batch) == BATCH:
                spill.extend(batch)
                batch = []
        spill.extend(batch)
        for record in spill:
            yield record[:-8], int.from_bytes(record[-8:], "big")
    finally:
        spill.close()


class _GroupsWriter:
    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._names = keys
        self._index, self._order, self._keys = (_create(folder / f"groups.{part}") for part in ("index", "order", "keys"))
        self._position = 0
        self._offset = 0
        self.groups = 0

    def __enter__(self) -> _GroupsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._index, self._order, self._keys):
            file.close()

    def add(self, key: bytes, items: Sequence[int]) -> None:
        values = [None if part[:1] == NULL else os.fsdecode(part[1:]) for part in key.split(END)[:-1]]
        line = json.dumps(dict(zip(self._names, values, strict=True))).encode() + b"\n"
        self._index.write(GROUP.pack(self._position, len(items), self._offset))
        self._order.write(b"".join(n.to_bytes(8, "little") for n in items))
        self._keys.write(line)
        self._position += len(items)
        self._offset += len(line)
        self.groups += 1


def _create(path: Path) -> IO[bytes]:
    return path.open("wb", buffering=1 << 18)
