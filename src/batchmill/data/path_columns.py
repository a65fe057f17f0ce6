"""Columns that rows get from the path of their file (``--partition-format``), and the names they must not meet.

The reading half runs in worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from batchmill.data.partition_folder import folder_columns, folder_values
from batchmill.data.partition_format import PartitionFormat
from batchmill.data.table_options import TableOptions
from batchmill.errors import InputError, PartitionFormatError

PATH = "Path"
"""Azure ML: the column of ``include_path``."""


def path_columns(options: TableOptions, schemas: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Names and types of the columns of the partition format, in its order (the date last).

    Raises:
        PartitionFormatError: the format is not well formed, or names a column that the files have.
        InputError: the files have a column Path of their own, and paths were asked for.
    """
    own = {column["name"] for schema in schemas for column in schema["columns"]}
    if options.include_path and PATH in own:
        raise InputError("The input has a column 'Path' of its own.", cure="Leave out --include-path.")
    if options.partitioned is not None:
        return folder_columns(options.partitioned)
    if options.partition_format is None:
        return []
    form = _format(options.partition_format)
    for name in form.columns:
        if name in own:
            raise PartitionFormatError(f"The input has a column {name!r} of its own.", cure="Give it another name in --partition-format.")
    return [{"name": name, "type": "datetime" if name == form.date_column else "str"} for name in form.columns]


def all_columns(header: dict[str, Any], number: int) -> list[dict[str, str]]:
    """The columns of schema ``number`` of a table header as its slices have them, before any operation of the dataset.

    Azure ML: ``Path`` comes first; columns of a partition format come first for text and last for Parquet.
    """
    own, of_path = header["schemas"][number]["columns"], header["path_columns"]
    path = [{"name": PATH, "type": "str"}] if header["options"]["include_path"] else []
    if header["options"]["format"] == "parquet":
        return [*path, *own, *of_path]
    return [*path, *of_path, *own]


def path_values(header: dict[str, Any], source: str) -> list[tuple[str, Any, Any]]:
    """Name, Arrow type and value (None: the path does not match) of each of these columns, for the rows of one file."""
    columns = header["path_columns"]
    if not columns:
        return []
    partitioned = header["options"].get("partitioned")
    if partitioned is not None:
        return folder_values(partitioned, source)
    import pyarrow as pa

    found = []
    for column, value in zip(columns, _format(header["options"]["partition_format"]).values(source)):
        kind = pa.timestamp("ns") if column["type"] == "datetime" else pa.string()
        try:
            pa.scalar(value, kind)
        except (pa.ArrowInvalid, OverflowError):  # a day that nanoseconds cannot count to
            value = None
        found.append((column["name"], kind, value))
    return found


@lru_cache(maxsize=8)
def _format(text: str) -> PartitionFormat:
    return PartitionFormat(text)
