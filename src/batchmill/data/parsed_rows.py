"""What a parser makes of a piece of text: the rows it could read, and the ones it could not, by position.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 60
"""Characters of a value that a message shows."""


class RowFailure:
    """A row that cannot be read: its position among the rows of the text, the class and the words (without the place)."""

    __slots__ = ("error_class", "message", "row")

    def __init__(self, row: int, error_class: str, message: str) -> None:
        self.row = row
        self.error_class = error_class
        self.message = message


class Parsed:
    """The readable rows of a text as an Arrow table, the failed ones, how many cells were made null, and the number of all rows.

    ``dropped`` counts lines that are no rows because they were to be left out.
    """

    __slots__ = ("dropped", "failed", "nulled", "rows", "table")

    def __init__(self, table: pa.Table, rows: int, failed: list[RowFailure], nulled: int = 0, dropped: int = 0) -> None:
        self.table = table
        self.rows = rows
        self.failed = failed
        self.nulled = nulled
        self.dropped = dropped


def shown(value: str) -> str:
    """A value as a message shows it, cut where it is long."""
    return repr(value if len(value) <= SHOWN else value[:SHOWN] + "...")
