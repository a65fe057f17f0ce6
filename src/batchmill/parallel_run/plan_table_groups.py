"""One mini-batch per combination of key values of tables, from sorted copies that lie in the plan (`data.grouping`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from batchmill.data.group_writer import GROUP
from batchmill.data.grouped_table import FIRST_ROWS
from batchmill.data.grouping import Grouped, group
from batchmill.errors import PartitionFormatError
from batchmill.parallel_run.cores import usable_cores
from batchmill.parallel_run.plan_tables import PlannedTable, number_inputs, tables_header
from batchmill.parallel_run.plan_writer import InputPlan, ItemsWriter

LEAST_MEMORY = 256 * 1024 * 1024
INDEX, KEYS, ORDER = "groups.index", "groups.keys", "groups.order"
COPIED = 1 << 20


def group_tables(
    tables: Sequence[PlannedTable], keys: Sequence[str], folder: Path, items: ItemsWriter, announce: Callable[[str], None] | None
) -> tuple[dict[str, Any], list[InputPlan], int]:
    """Group all tables by ``keys`` into ``folder``; returns what the plan's header says of it, the inputs and the number of mini-batches.

    Raises:
        PartitionFormatError: a key is no column, or is a date in one table and something else in another.
        DiskFullError: the disk has no room.
        InputError: a file cannot be read.
    """
    found = []
    for number, table in enumerate(tables):
        here = folder if len(tables) == 1 else folder / f"table-{number}"
        here.mkdir(exist_ok=True)
        found.append(_group(table, keys, here, announce))
    if announce is not None:
        _tell_losses(found, announce)
    if len(tables) > 1:
        _join(tables, found, folder)
    _check_dates(found)
    counts = {entry["place"]: count for one in found for entry, count in zip(one.inputs, one.groups, strict=True)}
    inputs, mini_batches = number_inputs(folder, _starts(tables, counts, items.inputs), items.inputs)
    headers = [{**table.cut.header, "grouped": _by_place(one, len(items.inputs))} for table, one in zip(tables, found, strict=True)]
    header = {"cut": {"rule": "groups"}, "date_keys": found[0].date_keys, "table": tables_header(tables, headers)}
    return header, inputs, mini_batches


def _group(table: PlannedTable, keys: Sequence[str], folder: Path, announce: Callable[[str], None] | None) -> Grouped:
    import psutil

    memory = max(LEAST_MEMORY, psutil.virtual_memory().available // 3)
    return group(table.files, table.cut.header, keys, folder, memory_limit=memory, threads=usable_cores(), announce=announce)


def _tell_losses(found: Sequence[Grouped], announce: Callable[[str], None]) -> None:
    nulled, dropped = (sum(entry[word] for one in found for entry in one.inputs) for word in ("nulled", "dropped"))
    if nulled:
        announce(f"{nulled:,} cells did not fit the type of their column and were made null.")
    if dropped:
        announce(f"{dropped:,} lines are no JSON objects and were left out.")


def _check_dates(found: Sequence[Grouped]) -> None:
    for one in found[1:]:
        odd = set(one.date_keys) ^ set(found[0].date_keys)
        if odd:
            raise PartitionFormatError(
                f"Partition key {min(odd)!r} is a date in one input and something else in another.", cure="Run them one by one."
            )


def _by_place(found: Grouped, places: int) -> list[dict[str, Any] | None]:
    entries = {entry["place"]: entry for entry in found.inputs}
    return [entries.get(place) for place in range(places)]


def _starts(tables: Sequence[PlannedTable], counts: dict[int, int], inputs: Sequence[InputPlan]) -> Iterator[int]:
    """The first mini-batch of each item: that of its input for the first place, the end of it for places that are joined."""
    first, firsts = 0, {}
    for places in sorted(places for table in tables for places in table.inputs):
        firsts[places[0]] = first
        first += counts.get(places[0], 0)
        firsts.update(dict.fromkeys(places[1:], first))
    return chain((firsts[place] for place, one in enumerate(inputs) for _ in range(one.items)), [first])


# --- several tables ---------------------------------------------------------------------------------------------------------------------


def _join(tables: Sequence[PlannedTable], found: Sequence[Grouped], folder: Path) -> None:
    """Bring the files of all tables into one folder, their groups in the order of the inputs."""
    (folder / ORDER).touch()
    for number, (table, one) in enumerate(zip(tables, found, strict=True)):
        here = folder / f"table-{number}"
        first_rows = f"grouped-table-{number}.rows"
        (here / FIRST_ROWS).rename(folder / first_rows)
        for path in sorted(here.glob("grouped-*")):
            path.rename(folder / path.name)
        for entry in one.inputs:
            entry |= {"first_rows": first_rows, "shift": table.files.item_number(entry["first_item"]) - entry["first_item"]}
    _join_indexes(found, folder)
    for number in range(len(tables)):
        shutil.rmtree(folder / f"table-{number}")


def _join_indexes(found: Sequence[Grouped], folder: Path) -> None:
    offset, shifts = 0, []
    with (folder / KEYS).open("wb", buffering=COPIED) as out:
        for number in range(len(found)):
            shifts.append(offset)
            with (folder / f"table-{number}" / KEYS).open("rb") as keys:
                shutil.copyfileobj(keys, out, COPIED)
            offset = out.tell()
    parts: dict[int, tuple[int, int, int]] = {}
    for number, one in enumerate(found):
        begin = 0
        for entry, count in zip(one.inputs, one.groups, strict=True):
            parts[entry["place"]] = (number, begin, count)
            begin += count
    with (folder / INDEX).open("wb", buffering=COPIED) as out:
        for _, (number, begin, count) in sorted(parts.items()):
            with (folder / f"table-{number}" / INDEX).open("rb", buffering=COPIED) as index:
                index.seek(begin * GROUP.size)
                for _ in range(count):
                    row, rows, line = GROUP.unpack(index.read(GROUP.size))
                    out.write(GROUP.pack(row, rows, line + shifts[number]))
