"""The pass at plan time that numbers the rows of a table for its positional operations (take, skip).

Slices are read as workers will read them, only as far as some row can still be taken; of Parquet without filters the footers suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from batchmill.data.row_keys import file_salt, row_range
from batchmill.data.row_operations import RowOperations, advanced
from batchmill.data.table_pieces import Task, read_ahead
from batchmill.data.table_plan import UNKNOWN, Slice, TablePlan
from batchmill.data.table_reader import TableReader
from batchmill.errors import InputError, ReadError
from batchmill.storage.files import open_binary

Starts = tuple[int, ...]


def positioned(table: TablePlan, threads: int) -> Iterator[tuple[Slice, Starts]]:
    """The mini-batches of a table with the starts of each, and their rows as the operations leave them.

    Slices that lie before the first row (skip) or behind the last (take) are left out; those that a filter empties are not.

    Raises:
        InputError: a slice cannot be read, so its rows cannot be numbered.
    """
    operations = RowOperations(table.header["operations"])
    found = _by_footers(table, operations) if table.options.format == "parquet" and not operations.filters else None
    starts = operations.beginning
    for one, rows, counts in found or _by_reading(table, operations, threads):
        if not operations.passes_over(starts, counts):
            yield (*one[:3], rows), starts
        starts = advanced(starts, counts)


def _by_footers(table: TablePlan, operations: RowOperations) -> Iterator[tuple[Slice, int, Starts]]:
    starts = operations.beginning
    for one in table.slices():
        if operations.exhausted(starts):
            return
        keys = (row_range(one[1], one[2]), file_salt(table.files[one[0]].name))
        alive, counts = operations.survivors(one[2] - one[1], [], None, starts, keys)
        yield one, int(alive.sum()), counts
        starts = advanced(starts, counts)


def _by_reading(table: TablePlan, operations: RowOperations, threads: int) -> Iterator[tuple[Slice, int, Starts]]:
    readers = [TableReader({**table.header, "positions": None}, open_remote=open_binary) for _ in range(threads)]
    starts = operations.beginning
    try:
        for one, (piece, reader) in read_ahead(((one, _task(table, one)) for one in table.slices()), readers):
            if operations.exhausted(starts):
                return
            left, counts = reader.operate(piece, table.files[one[0]].input, starts)
            yield one, left.rows, counts
            starts = advanced(starts, counts)
    except ReadError as error:
        raise InputError(error.message, cure="Its rows cannot be numbered, which take and skip need.") from None


def _task(table: TablePlan, one: Slice) -> Task:
    file: Any = table.files[one[0]]
    known = [None if value == UNKNOWN else value for value in one[1:]]
    plan = SimpleNamespace(items=(0,), input=file.input, index=0, start=known[0], stop=known[1], rows=known[2], keys=None)
    return lambda reader: reader.read_all(plan, lambda _: file)
