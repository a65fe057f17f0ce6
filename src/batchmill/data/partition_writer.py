"""Writing a table as one Parquet file per combination of key values, in folders named after them (Azure ML: ``partition_by``).

The rows are sorted by their keys outside memory (`data.grouping`) and written out group by group. The layout is
``FOLDER/<value of key 1>/<value of key 2>/part-0.parquet`` and an empty ``FOLDER/_SUCCESS``, which is written last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.data.group_writer import GROUP
from batchmill.data.grouped_table import ROW_NUMBER, ArrowFile, failures_name, table_name
from batchmill.data.grouping import Grouped, group
from batchmill.data.partition_folder import folder_name, partitioning
from batchmill.data.table_rows import FAILED_CURE, TableRows
from batchmill.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

PART, SUCCESS = "part-0.parquet", "_SUCCESS"
ROW_GROUP = 1 << 17
MEMORY = 1 << 30


def write_partitions(
    rows: TableRows,
    keys: Sequence[str],
    folder: Path,
    scratch: Path,
    *,
    dots: bool = True,
    memory_limit: int = MEMORY,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write the partitions to ``folder``, which is new; returns what a definition keeps of them (`partitioning`).

    ``scratch`` takes the sorted copy. Without ``dots`` a folder name holds none, as ``{name}`` in a partition format wants it.
    ``progress`` is told the number of rows read.

    Raises:
        PartitionFormatError: a key is no column, or its values cannot name folders.
        InputError: a file or a row cannot be read.
        DiskFullError: there is no room for the sorted copy.
    """
    grouped = group(rows.files, rows.header, keys, scratch, memory_limit=memory_limit, progress=progress)
    _refuse_failed(grouped, scratch)
    folder.mkdir(parents=True)
    types = {column["name"]: column["type"] for column in rows.columns}
    found: dict[str, Any] | None = None
    for entry in grouped.inputs:
        if not entry["starts"]:
            continue
        table = ArrowFile(str(scratch / table_name(entry["place"])), entry["starts"])
        found = found or partitioning(keys, types, table.schema)
        _write_groups(table, _groups(scratch), list(keys), folder, dots)
    if found is None:
        raise InputError("The dataset holds no rows to partition.", cure="Its files are empty, or its operations leave no row.")
    (folder / SUCCESS).touch()
    texts = [name for name, kind in types.items() if kind == "json" and name not in keys]
    return {**found, "json": texts} if texts else found


def _refuse_failed(grouped: Grouped, scratch: Path) -> None:
    for entry in grouped.inputs:
        if entry["failed"]:
            with (scratch / failures_name(entry["place"])).open(encoding="utf-8") as file:
                _, place, _, message = json.loads(file.readline())
                raise InputError(f"{place}: {message}", cure=FAILED_CURE)


def _groups(scratch: Path) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each group."""
    with (scratch / "groups.index").open("rb") as file:
        while record := file.read(GROUP.size):
            first, count, _ = GROUP.unpack(record)
            yield first, count


def _write_groups(table: ArrowFile, groups: Iterator[tuple[int, int]], keys: list[str], folder: Path, dots: bool) -> None:
    schema = _without(table.schema, [*keys, ROW_NUMBER])
    for first, count in groups:
        head = table.rows(first, first + 1)
        names = [folder_name(head.column(key)[0]) for key in keys]
        path = folder.joinpath(*(name if dots else name.replace(".", "%2E") for name in names), PART)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(table, first, first + count, schema, path)


def _without(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([field for field in schema if field.name not in names])


def _write(table: ArrowFile, start: int, stop: int, schema: pa.Schema, path: Path) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, schema) as writer:
        for begin in range(start, stop, ROW_GROUP):
            part = table.rows(begin, min(begin + ROW_GROUP, stop)).select(schema.names)
            writer.write_table(part)
