"""A table that `data.grouping` sorted by its keys, as workers read it: mapped, the rows of one key a slice that copies nothing.

Each input lies in an Arrow file of its own: its columns in the sorted order, and as a last column the number of each row in the input.
Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from batchmill.data.table_slice import FailedRow, TableSlice, to_frame
from batchmill.errors import ReadError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROW_NUMBER = "__batchmill_row__"
"""The last column of a grouped table: the number of the row in its input."""
WINDOW = 16_384
WINDOW_BYTES = 32 << 20
"""Rows, and at most bytes, that are made a frame at once for many keys."""
FIRST_ROWS = "grouped.rows"
"""For each file (item) of the plan the number of its first row in its input; unsigned 64-bit numbers, as in memory."""


def table_name(number: int) -> str:
    """The Arrow file of an input."""
    return f"grouped-{number}.arrow"


def failures_name(number: int) -> str:
    """The rows of an input that could not be read: JSON lines of row number, error class, message."""
    return f"grouped-{number}.failed.jsonl"


class GroupedTable:
    """The grouped inputs of a plan; ``inputs`` is the header's list, by place, of {"rows", "failed", "starts", "first_item", "items"}.

    ``first_item`` counts the files of the table; ``shift``, where there is one, leads from there to the items of the plan, and
    ``first_rows`` names the file of first rows.
    """

    def __init__(self, folder: str, inputs: Sequence[Any], types: Sequence[list[str]]) -> None:
        self._folder = folder
        self._inputs = inputs
        self._types = types
        self._open: dict[int, ArrowFile] = {}
        self._first_rows: Any = None

    def read(self, number: int, start: int, stop: int, item_of: Callable[[int], Any]) -> TableSlice:
        """Rows ``start`` to ``stop`` of an input; those behind its last row are the ones that could not be read.

        Raises:
            ReadError: the grouped table is damaged or gone.
        """
        entry = self._inputs[number]
        good = min(stop, entry["rows"])
        try:
            file = self._open.get(number)
            if file is None:
                file = self._open[number] = ArrowFile(os.path.join(self._folder, table_name(number)), entry["starts"])
            table = file.rows(start, good)
            failed = self._failed(number)[: stop - good] if stop > good else []
        except (OSError, ValueError) as error:
            raise ReadError(f"Rows {start + 1} to {stop} of {table_name(number)} in {self._folder} cannot be read: {error}") from error
        rows_in_input = table.column(table.num_columns - 1)
        count = good - start

        def describe(row: int) -> str:
            return failed[row - count][1] if row >= count else self._place(number, rows_in_input[row].as_py(), item_of)

        unreadable: list[FailedRow] = [(count + n, kind, message) for n, (_, _, kind, message) in enumerate(failed)]
        types = self._types[number]
        whole = (lambda: file.frame(start, good, entry["rows"], types)) if file.may_share(types) and 0 < count <= WINDOW // 2 else None
        return TableSlice(table.remove_column(table.num_columns - 1), types, count + len(failed), unreadable, describe, 0, whole)

    def _failed(self, number: int) -> list[tuple[int, str, str, str]]:
        """(row in the input, place, error class, message)."""
        with open(os.path.join(self._folder, failures_name(number)), encoding="utf-8") as file:
            return [tuple(json.loads(line)) for line in file]

    def _place(self, number: int, row: int, item_of: Callable[[int], Any]) -> str:
        entry = self._inputs[number]
        if self._first_rows is None:
            with open(os.path.join(self._folder, entry.get("first_rows", FIRST_ROWS)), "rb") as file:
                self._first_rows = array("Q", file.read())
        first = entry["first_item"]
        # The rightmost file that begins at or before the row: files without rows are passed over.
        item = bisect_right(self._first_rows, row, first, first + entry["items"]) - 1
        return f"{item_of(item + entry.get('shift', 0)).path}:row {row - self._first_rows[item] + 1}"

    def close(self) -> None:
        """Let go of the mapped files."""
        self._open.clear()


class ArrowFile:
    """A mapped Arrow file whose batches begin at the rows ``starts``."""

    def __init__(self, path: str, starts: Sequence[int]) -> None:
        import pyarrow as pa

        self._reader = pa.ipc.open_file(pa.memory_map(path))
        self._starts = starts
        self._batch = (-1, None)
        self._window: tuple[int, int, Any] = (0, 0, None)
        self._shares: Optional[bool] = None

    @property
    def schema(self) -> pa.Schema:
        """Its columns, the row number among them."""
        return self._reader.schema

    def may_share(self, types: Sequence[str]) -> bool:
        """True where no cell is a Python object that a script could change under a later try."""
        if self._shares is None:
            import pyarrow as pa

            nested = any(pa.types.is_nested(field.type) for field in self._reader.schema)
            self._shares = not nested and "json" not in types
        return self._shares

    def frame(self, start: int, stop: int, rows: int, types: Sequence[str]) -> pd.DataFrame:
        """Rows ``start`` to ``stop`` of all ``rows``, cut out of a frame of many more: making one for each key costs more than its rows."""
        import pandas as pd

        first, last, frame = self._window
        if frame is None or start < first or stop > last:
            table = self.rows(start, min(start + WINDOW, rows))
            if table.nbytes > WINDOW_BYTES:
                table = table.slice(0, stop - start)
            frame = to_frame(table.remove_column(table.num_columns - 1), types)
            first, last = start, start + table.num_rows
            self._window = (first, last, frame)
        part: pd.DataFrame = frame.iloc[start - first : stop - first]
        if int(pd.__version__.partition(".")[0]) < 3:
            part = part.copy()  # later ones copy by themselves when a script writes into its frame
        part.index = pd.RangeIndex(stop - start)
        return part

    def rows(self, start: int, stop: int) -> pa.Table:
        import pyarrow as pa

        if start >= stop:
            return self._reader.schema.empty_table()
        pieces = []
        n = bisect_right(self._starts, start) - 1
        while start < stop:
            batch = self._get(n)
            first = self._starts[n]
            end = min(stop, first + batch.num_rows)
            pieces.append(batch.slice(start - first, end - start))
            start = end
            n += 1
        return pa.Table.from_batches(pieces)

    def _get(self, n: int) -> Any:
        batch = self._batch  # read once: another thread may put its own there
        if batch[0] != n:
            batch = self._batch = (n, self._reader.get_batch(n))
        return batch[1]
