"""Columns that rows get from the path of their file (``--partition-format``).

The reading half runs in worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Sequence

from batchmill.data.table_options import TableOptions


def path_columns(options: TableOptions, header: dict[str, Any], files: Sequence[Any]) -> list[dict[str, str]]:
    """Names and types of the columns of the partition format, in its order."""
    return []


def path_values(header: dict[str, Any], item: Any) -> list[tuple[str, Any, Any]]:
    """Name, Arrow type and value (None: the path does not match) of each of them for one file."""
    return []
