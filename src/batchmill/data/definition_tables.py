"""From the definition of a table dataset to what the planner and the readers of tables take."""

from __future__ import annotations

from typing import Any

from batchmill.data.definition import SQL, TABULAR, Definition
from batchmill.data.row_operations import Operation
from batchmill.data.table_options import TableOptions

QUERY_OPTIONS = ("query", "query_timeout")


def table_options(definition: Definition, partition_format: str | None = None) -> TableOptions:
    """How the files of a dataset are read; ``partition_format`` stands in where the definition has none.

    Cells that do not fit become null (Azure ML: ``on_error='null'``). The answer of a query is read as the Parquet file it was written to.

    Raises:
        InputError: the definition holds an option that this version does not know.
    """
    if definition.kind != TABULAR:
        raise ValueError("a file dataset has no table options")
    values: dict[str, Any] = {"unparsable": "null", **definition.options}
    for name in QUERY_OPTIONS:
        values.pop(name, None)
    form = "parquet" if definition.format == SQL else definition.format
    if definition.partitioned is not None:
        return TableOptions(form, **values, partitioned=definition.partitioned)
    return TableOptions(form, **values, partition_format=definition.partition_format or partition_format)


def row_operations(definition: Definition) -> list[Operation]:
    """The operations that are applied to the rows, in their order."""
    return [dict(one) for one in definition.operations]
