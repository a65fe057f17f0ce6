"""Sorting one input by its keys with DuckDB, and writing the sorted rows and the index of their keys."""

from __future__ import annotations

import errno
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from struct import Struct
from typing import IO, Any

from batchmill.data.grouped_table import FIRST_ROWS, ROW_NUMBER, failures_name, table_name
from batchmill.data.table_pieces import read_in_pieces
from batchmill.data.table_slice import TableSlice
from batchmill.errors import DiskFullError, InputError, ReadError

GROUP = Struct("<QQQ")
"""The record of `worker.plan_file.GROUP`: first row, number of rows, offset of the line in groups.keys."""
BATCH = 1 << 17
SPILL = "grouping.spill"


class GroupIndex:
    """groups.index and groups.keys of all inputs."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._index, self._keys = _create(folder / "groups.index"), _create(folder / "groups.keys")
        (folder / "groups.order").touch()
        self._first_rows = _create(folder / FIRST_ROWS)
        self._names = list(keys)
        self._offset = 0
        self.groups = 0
        self.date_keys: set[str] = set()

    def __enter__(self) -> GroupIndex:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._index, self._keys, self._first_rows):
            file.close()

    def add(self, values: Sequence[Any], first: int, count: int) -> None:
        """One group: rows ``first`` to ``first + count`` of its input."""
        shown = {}
        for name, value in zip(self._names, values, strict=True):
            if isinstance(value, (date, datetime)):
                self.date_keys.add(name)
                # Nanoseconds are left out: Python's own date-times have none.
                value = (value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value).isoformat()
            shown[name] = value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
        line = json.dumps(shown).encode() + b"\n"
        self._keys.write(line)
        self._index.write(GROUP.pack(first, count, self._offset))
        self._offset += len(line)
        self.groups += 1

    def add_first_rows(self, rows: array[int]) -> None:
        """The number of the first row of each file of an input."""
        self._first_rows.write(rows.tobytes())


def _create(path: Path) -> IO[bytes]:
    return path.open("wb", buffering=1 << 18)


def write_grouped_input(
    job: dict[str, Any], number: int, files: Sequence[Any], index: GroupIndex, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Sort the rows of one input; returns the rows, the failed ones, and the first row of each batch of its Arrow file.

    Raises:
        DiskFullError: there is no room.
        InputError: a file cannot be read, or a column cannot be sorted.
    """
    import duckdb

    folder = Path(job["folder"])
    rows = _NumberedRows(job, number, files, progress)
    if rows.schema is None:
        index.add_first_rows(rows.first_rows)
        return {"rows": 0, "failed": 0, "nulled": 0, "dropped": 0, "starts": []}
    connection = duckdb.connect()
    try:
        connection.execute(f"SET memory_limit = '{job['memory_limit'] // 1024**2}MiB'")
        connection.execute(f"SET threads = {job['threads']}")
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SET temp_directory = '{_quoted(str(folder / SPILL))}'")
        connection.register("input_rows", rows.reader())
        order = ", ".join(f'"{key.replace(chr(34), chr(34) * 2)}" ASC NULLS LAST' for key in job["keys"])
        batches = connection.sql(f'SELECT * FROM input_rows ORDER BY {order}, "{ROW_NUMBER}"').to_arrow_reader(BATCH)
        starts, count = _write_sorted(batches, rows, folder / table_name(number), job["keys"], index)
    except (duckdb.Error, OSError) as error:
        rows.raise_own_error()
        if _is_full(error):
            raise DiskFullError(
                f"The disk of {folder} is full: the grouped table does not fit.", cure="Make room and resume the run."
            ) from None
        raise InputError(f"The input cannot be grouped by {', '.join(job['keys'])}: {_first_line(error)}") from error
    finally:
        connection.close()
        rows.close()
    index.add_first_rows(rows.first_rows)
    return {"rows": count, "failed": rows.failed, "nulled": rows.nulled, "dropped": rows.dropped, "starts": starts}


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "No space left" in str(error) or "max_temp_directory_size" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _write_sorted(batches: Any, rows: _NumberedRows, path: Path, keys: Sequence[str], index: GroupIndex) -> tuple[list[int], int]:
    """Write the sorted batches and the groups in them; returns where the batches begin and how many rows there are."""
    import pyarrow as pa

    schema = rows.schema
    starts: list[int] = []
    count = 0
    borders = _Borders([schema.get_field_index(key) for key in keys])
    open_group: tuple[list[Any], int] | None = None
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            if not batch.num_rows:
                continue
            batch = batch.cast(schema) if not batch.schema.equals(schema) else batch
            writer.write_batch(batch)
            starts.append(count)
            for at, values in borders.of(batch):
                if open_group is not None:
                    index.add(open_group[0], open_group[1], count + at - open_group[1])
                open_group = (values, count + at)
            count += batch.num_rows
    _add_last(open_group, count, rows.failed, len(keys), index)
    return starts, count


def _add_last(open_group: tuple[list[Any], int] | None, count: int, failed: int, keys: int, index: GroupIndex) -> None:
    """The last group; rows that could not be read are behind it where it has no keys, else in a group of their own."""
    if open_group is not None:
        values, first = open_group
        without_keys = all(value is None for value in values)
        index.add(values, first, count - first + (failed if without_keys else 0))
        if without_keys:
            return
    if failed:
        index.add([None] * keys, count, failed)


class _Borders:
    """Finds where the keys change, from batch to batch."""

    def __init__(self, columns: Sequence[int]) -> None:
        self._columns = columns
        self._last: list[Any] | None = None

    def of(self, batch: Any) -> Iterator[tuple[int, list[Any]]]:
        """Row and key values of each group that begins in ``batch``."""
        import numpy as np
        import pyarrow as pa

        keys = [batch.column(n) for n in self._columns]
        changed = np.zeros(batch.num_rows, bool)
        for column in keys:
            changed[1:] |= _differs(column)
        changed[0] = self._last is None or self._last != [column[0].as_py() for column in keys]
        self._last = [column[batch.num_rows - 1].as_py() for column in keys]
        begins = np.flatnonzero(changed)
        at = pa.array(begins)
        values = [column.take(at).to_pylist() for column in keys]
        for n, begin in enumerate(begins.tolist()):
            yield begin, [column[n] for column in values]


def _differs(column: Any) -> Any:
    """Where a value is another than the one before it; nulls are equal to each other."""
    import pyarrow.compute as pc

    values, before = column.slice(1), column.slice(0, len(column) - 1)
    other = pc.fill_null(pc.not_equal(values, before), False)
    if column.null_count:
        other = pc.or_(other, pc.xor(pc.is_null(values), pc.is_null(before)))
    return other.to_numpy(zero_copy_only=False)


class _NumberedRows:
    """The rows of an input with their numbers, as DuckDB pulls them; rows that cannot be read go to a file beside."""

    def __init__(self, job: dict[str, Any], number: int, files: Sequence[Any], progress: Callable[[int], None]) -> None:
        self._job = job
        self._files = files
        self._progress = progress
        self._failures = Path(job["folder"]) / failures_name(number)
        self._failures_file: IO[str] | None = None
        self._pieces = self._read()
        self._error: BaseException | None = None
        self._rows = 0
        self.failed = 0
        self.nulled = 0
        self.dropped = 0
        self.first_rows = array("Q")
        self._first = next(self._pieces, None)
        self.schema = self._find_schema()
        """None where there is nothing to read."""

    def _find_schema(self) -> Any:
        import pyarrow as pa

        if self._first is None:
            return None
        return pa.schema(list(zip(self._first.column_names, self._first.schema.types, strict=True)))

    def reader(self) -> Any:
        """A record batch reader over all rows."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[Any]:
        try:
            if self._first is not None:
                yield from self._first.to_batches()
                self._first = None
            for table in self._pieces:
                yield from table.to_batches()
        except BaseException as error:
            self._error = error  # it reaches us through DuckDB as a text only
            raise

    def raise_own_error(self) -> None:
        """Raise what went wrong while the rows were read, if that was it."""
        if isinstance(self._error, ReadError):
            raise InputError(self._error.message, cure=self._error.cure) from None
        if self._error is not None and not isinstance(self._error, GeneratorExit):
            raise self._error

    def _read(self) -> Iterator[Any]:
        position = -1
        try:
            for file, piece in read_in_pieces(self._job["header"], self._files, self._job["threads"]):
                while position < file:
                    self.first_rows.append(self._rows)
                    position += 1
                yield self._numbered(piece)
            while position < len(self._files) - 1:
                self.first_rows.append(self._rows)
                position += 1
        except ReadError as error:
            raise InputError(error.message, cure=error.cure) from None

    def _numbered(self, piece: TableSlice) -> Any:
        import numpy as np
        import pyarrow as pa

        numbers = np.arange(self._rows, self._rows + piece.read, dtype=np.int64)
        if piece.numbers is not None:  # operations of the dataset took rows away
            numbers = numbers[piece.numbers]
        if piece.failed:
            self._note_failed(piece, numbers)
            numbers = np.delete(numbers, [row for row, *_ in piece.failed])
        self._rows += piece.read
        self.nulled += piece.nulled
        self.dropped += piece.dropped
        self._progress(self._rows)
        table = _without_nan(piece.arrow, self._job["keys"])
        return table.append_column(ROW_NUMBER, pa.array(numbers))

    def _note_failed(self, piece: TableSlice, numbers: Any) -> None:
        if self._failures_file is None:
            self._failures_file = self._failures.open("w", encoding="utf-8")
        for row, kind, message in piece.failed:
            self._failures_file.write(json.dumps([int(numbers[row]), piece.describe(row), kind, message]) + "\n")
        self.failed += len(piece.failed)

    def close(self) -> None:
        self._pieces.close()  # type: ignore[attr-defined]
        if self._failures_file is not None:
            self._failures_file.close()


def _without_nan(table: Any, keys: Sequence[str]) -> Any:
    """NaN and null are one key: scripts cannot tell them apart."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for key in keys:
        n = table.schema.get_field_index(key)
        if pa.types.is_floating(table.schema.field(n).type):
            column = table.column(n)
            table = table.set_column(n, table.schema.field(n), pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column))
    return table
