"""The rows of one mini-batch of a table: those that could be read as a DataFrame, the others by position and reason.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FailedRow = tuple[int, str, str]
"""Position in the slice, error class, message (which leaves the place to `TableSlice.describe`)."""


def _no_keys() -> tuple[Any, int]:
    raise ValueError("the rows of this slice have no keys")


class TableSlice:
    """``rows`` counts all rows of the slice, ``failed`` names those that cannot be read, ``nulled`` counts cells made null.

    ``dropped`` counts lines that are no rows because they were to be left out (``invalid_lines="drop"``). ``whole`` makes the frame of
    all readable rows where there is a quicker way than from ``table``. ``keys`` finds a key for each row and the salt of their file
    (`data.row_keys`). ``numbers`` are the places of the rows among ``read`` rows of the slice, where operations took some away.
    """

    __slots__ = ("_describe", "_failed_rows", "_table", "_whole", "dropped", "failed", "keys", "nulled", "numbers", "read", "rows", "types")

    def __init__(
        self,
        table: pa.Table,
        types: Sequence[str],
        rows: int,
        failed: list[FailedRow],
        describe: Callable[[int], str],
        nulled: int = 0,
        whole: Optional[Callable[[], pd.DataFrame]] = None,
        dropped: int = 0,
        keys: Callable[[], tuple[Any, int]] = _no_keys,
    ) -> None:
        self.rows = rows
        self.failed = failed
        self.nulled = nulled
        self.dropped = dropped
        self.keys = keys
        self.numbers: Any = None
        self.read = rows
        self.types = types
        self._table = table
        self._failed_rows = [entry[0] for entry in failed]
        self._describe = describe
        self._whole = whole

    @property
    def arrow(self) -> pa.Table:
        """The readable rows as they were parsed."""
        return self._table

    def frame(self, first: int = 0, count: Optional[int] = None) -> pd.DataFrame:
        """The readable ones among ``count`` rows from ``first``; the index runs from 0 (Azure ML: in each mini-batch)."""
        if self._whole is not None and first == 0 and count is None:
            return self._whole()
        last = self.rows if count is None else min(first + count, self.rows)
        begin = first - bisect_left(self._failed_rows, first)
        end = last - bisect_left(self._failed_rows, last)
        table = self._table
        if not table.num_columns:
            return _rows_without_columns(end - begin)
        if begin or end < table.num_rows:
            table = table.slice(begin, end - begin)
        return to_frame(table, self.types)

    def describe(self, row: int) -> str:
        """Where row ``row`` of the slice comes from: ``path:line 17`` or ``path:row 17``."""
        return self._describe(row)


def to_frame(table: pa.Table, types: Sequence[str]) -> pd.DataFrame:
    """The table as scripts get it; every mini-batch of a run gets the same column types."""
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, use_threads=False)
    for n, type_name in enumerate(types):
        if type_name == "object_bool":
            values: Any = frame.iloc[:, n].astype(object)
            frame.isetitem(n, values)
        elif type_name == "json":
            values = [None if value is None else json.loads(value) for value in table.column(n).to_pylist()]
            frame.isetitem(n, _objects(values))
    return frame


def _rows_without_columns(rows: int) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(index=pd.RangeIndex(rows))


def _objects(values: list[Any]) -> Any:
    """A column that stays one of Python objects, whatever these values are (pandas would make one of texts a column of text)."""
    import pandas as pd

    return pd.Series(values, dtype=object)
