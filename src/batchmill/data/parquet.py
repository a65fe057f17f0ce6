"""Parquet files: row groups, rows inside them, and one set of column types for all files.

Rows are numbered through the file. A mini-batch is a range of rows inside one row group.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Optional

from batchmill.errors import ReadError

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetTable:
    """An open Parquet file; the row group read last is kept, because the next range of rows often lies in it."""

    def __init__(self, path: str, source: Any = None) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.path = path
        try:
            self._file = parquet.ParquetFile(path if source is None else source, memory_map=False)
        except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ReadError(f"{path} is no Parquet file that can be read: {_first_line(error)}") from None
        metadata = self._file.metadata
        self.starts = [0]
        for n in range(metadata.num_row_groups):
            self.starts.append(self.starts[-1] + metadata.row_group(n).num_rows)
        self._last: Optional[tuple[int, tuple[str, ...], Any]] = None

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the file."""
        return self._file.schema_arrow

    @property
    def row_groups(self) -> int:
        return len(self.starts) - 1

    def never_null(self) -> set[str]:
        """Columns that the statistics prove to hold a value in every row."""
        metadata = self._file.metadata
        proven = {field.name for field in self.schema}
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            flat = {}
            for n in range(row_group.num_columns):
                column = row_group.column(n)
                statistics = column.statistics
                flat[column.path_in_schema] = statistics is not None and statistics.has_null_count and statistics.null_count == 0
            proven = {name for name in proven if flat.get(name, False)}
        return proven

    def read(self, start: int, stop: int, columns: list[str]) -> pa.Table:
        """Rows ``start`` to ``stop``, of ``columns`` that the file has; the row group read last is kept where they lie in one."""
        if start >= stop:
            return self.schema.empty_table().select(columns)
        group = bisect_right(self.starts, start) - 1
        if stop > self.starts[group + 1]:
            return self._read_groups(start, stop, group, columns)
        first = self.starts[group]
        if self._last is None or self._last[:2] != (group, tuple(columns)):
            self._last = None  # the old row group goes before the new one comes
            self._last = (group, tuple(columns), self._read_group(group, columns))
        table = self._last[2]
        if stop - first >= table.num_rows and start == first:
            self._last = None
            return table
        return table.slice(start - first, stop - start)

    def _read_groups(self, start: int, stop: int, group: int, columns: list[str]) -> pa.Table:
        import pyarrow as pa

        parts = []
        while start < stop:
            end = min(stop, self.starts[group + 1])
            if end > start:
                table = self._read_group(group, columns)
                parts.append(table.slice(start - self.starts[group], end - start))
            start, group = end, group + 1
        return pa.concat_tables(parts)

    def _read_group(self, group: int, columns: list[str]) -> pa.Table:
        import pyarrow as pa

        try:
            return self._file.read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            metadata = self._file.metadata.row_group(group)
            begin = min(_offset(metadata.column(n)) for n in range(metadata.num_columns)) if metadata.num_columns else 0
            end = begin + sum(metadata.column(n).total_compressed_size for n in range(metadata.num_columns))
            rows = f"rows {self.starts[group] + 1} to {self.starts[group + 1]}"
            raise ReadError(
                f"Row group {group} of {self.path} (bytes {begin} to {end}, {rows}) cannot be read: {_first_line(error)}"
            ) from None

    def close(self) -> None:
        self._last = None
        self._file.close()


def _offset(column: Any) -> int:
    return int(column.dictionary_page_offset or column.data_page_offset)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def plain_type(type: pa.DataType, *, never_null: bool) -> pa.DataType:
    """The type of a column in every mini-batch: no dictionaries (their categories differ), whole numbers only where nothing is null."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(type):
        return plain_type(type.value_type, never_null=never_null)
    if types.is_integer(type) and not never_null:
        return pa.float64()
    if types.is_float16(type):
        return pa.float32()
    return type


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with the columns of ``schema``, in its order and types; missing columns are null."""
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        if field.name in table.column_names:
            column = table.column(field.name)
            columns.append(column if column.type.equals(field.type) else column.cast(field.type, safe=not pa.types.is_floating(field.type)))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)
