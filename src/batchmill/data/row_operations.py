"""The operations of a table dataset, applied where its slices are read: which rows stay, and which columns.

Filters, chance (sample, split) and column choices look at one row alone. *Positional* operations (take, skip) ask for the number of a
row among all that reach them, so a slice must be told how many rows of earlier slices did: its *starts*, one number for each of them.

A row that cannot be read passes every filter (nobody knows what it holds) and counts as a row, so that it fails by name.
Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Collection, Mapping, Optional, Sequence, Union

from batchmill.data.expression import Expression
from batchmill.data.row_filter import RowFilter
from batchmill.data.row_keys import chances
from batchmill.data.table_slice import TableSlice
from batchmill.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Operation = Mapping[str, Any]

TAKE, SKIP, SAMPLE, SPLIT, FILTER, KEEP, DROP = "take", "skip", "sample", "split", "filter", "keep_columns", "drop_columns"
POSITIONAL, CHANCE = frozenset({TAKE, SKIP}), frozenset({SAMPLE, SPLIT})
Keys = tuple[Any, int]
"""A key for each row of a slice, and the salt of its file (`data.row_keys`)."""


class RowOperations:
    """The operations of a definition in their order.

    >>> two = RowOperations([{"op": "skip", "count": 1}, {"op": "take", "count": 2}])
    >>> alive, counts = two.survivors(5, [], None, (0, 0), None)
    >>> alive.tolist(), counts
    ([False, True, True, False, False], (5, 4))
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._filters = [RowFilter(one["expression"]) if one["op"] == FILTER else None for one in operations]
        self._places = [n for n, one in enumerate(operations) if one["op"] in POSITIONAL]
        self.positional = len(self._places)
        """How many numbers the starts of a slice have."""
        self.draws = any(one["op"] in CHANCE for one in operations)
        """True where rows need keys."""
        self.filters = any(one is not None for one in self._filters)
        """True where some rows can only be counted once they are read."""
        self.beginning: tuple[int, ...] = (0,) * self.positional
        """The starts of the first slice."""

    def __bool__(self) -> bool:
        return bool(self._operations)

    # --- columns ----------------------------------------------------------------------------------------------------------------

    def columns(self, names: Sequence[str]) -> list[str]:
        """The columns that are left of ``names``, in the order of the table.

        Raises:
            InputError: an operation names a column that is not there (any more).
        """
        left = list(names)
        for one, row_filter in zip(self._operations, self._filters):
            wanted = row_filter.columns if row_filter is not None else one.get("columns", [])
            missing = [name for name in wanted if name not in left]
            if missing:
                known = ", ".join(left[:20])
                raise InputError(f"The dataset has no column {missing[0]!r}, which {one['op']} names.", cure=f"Its columns are: {known}.")
            if one["op"] == KEEP:
                left = [name for name in left if name in wanted]
            elif one["op"] == DROP:
                left = [name for name in left if name not in wanted]
        return left

    def needed(self, names: Sequence[str]) -> list[str]:
        """The columns that must be read of ``names``: those that are left, and those that filters look at."""
        wanted = {*self.columns(names), *(name for one in self._filters if one is not None for name in one.columns)}
        return [name for name in names if name in wanted]

    def conditions(self, columns: Collection[str]) -> list[Expression]:
        """Conditions on these columns alone that every row must meet before any positional operation counts it."""
        found = []
        for one, row_filter in zip(self._operations, self._filters):
            if one["op"] in POSITIONAL:
                break
            if row_filter is not None:
                tree = one["expression"]
                for part in tree["of"] if tree.get("op") == "and" else [tree]:
                    expression = Expression(part)
                    if expression.columns() and set(expression.columns()) <= set(columns):
                        found.append(expression)
        return found

    # --- rows -------------------------------------------------------------------------------------------------------------------

    def survivors(
        self, rows: int, failed: Sequence[int], table: Any, starts: Sequence[int], keys: Optional[Keys]
    ) -> tuple[Any, tuple[int, ...]]:
        """Which of ``rows`` rows stay (a numpy array), and how many reached each positional operation.

        ``failed`` are those that could not be read, ``table`` is a pair of the others (Arrow) and their column types, or None where
        there are no filters; ``keys`` may be None where nothing is drawn.
        """
        import numpy as np

        alive = np.ones(rows, bool)
        readable = np.ones(rows, bool)
        readable[list(failed)] = False
        counts: list[int] = []
        for n, one in enumerate(self._operations):
            row_filter = self._filters[n]
            if row_filter is not None:
                alive[readable] &= row_filter.mask(*table)
            elif one["op"] in CHANCE:
                assert keys is not None
                alive &= _drawn(one, n, keys)
            elif one["op"] in POSITIONAL:
                at = np.flatnonzero(alive)
                numbers = np.arange(starts[len(counts)], starts[len(counts)] + len(at), dtype=np.uint64)
                counts.append(len(at))
                alive[at] = _kept(one, numbers)
        return alive, tuple(counts)

    def apply(self, piece: TableSlice, starts: Sequence[int], left: Sequence[str]) -> tuple[TableSlice, tuple[int, ...]]:
        """What is left of a slice, with the columns ``left``, and how many rows reached each positional operation."""
        import numpy as np

        table, types = piece.arrow, piece.types
        positions = [entry[0] for entry in piece.failed]
        alive, counts = self.survivors(piece.rows, positions, (table, types), starts, piece.keys() if self.draws else None)
        order = np.flatnonzero(alive)
        if len(order) < piece.rows:
            readable = np.ones(piece.rows, bool)
            readable[positions] = False
            table = _filtered(table, alive[readable])
        types = [types[table.column_names.index(name)] for name in left]
        table = table.select(left)
        failed = [(int(np.searchsorted(order, row)), kind, words) for row, kind, words in piece.failed if alive[row]]
        describe = piece.describe
        result = TableSlice(table, types, len(order), failed, lambda row: describe(int(order[row])), piece.nulled, dropped=piece.dropped)
        result.numbers, result.read = order, piece.rows
        return result, counts

    # --- positions --------------------------------------------------------------------------------------------------------------

    def exhausted(self, starts: Sequence[int]) -> bool:
        """True where no later row can stay: some take has all its rows."""
        return any(self._operations[n]["op"] == TAKE and starts[k] >= self._operations[n]["count"] for k, n in enumerate(self._places))

    def passes_over(self, starts: Sequence[int], counts: Sequence[int]) -> bool:
        """True for a slice that lies before the first row: some skip is not done behind it."""
        for k, n in enumerate(self._places):
            skipped = self._operations[n]["count"] if self._operations[n]["op"] == SKIP else 0
            if starts[k] < skipped and starts[k] + counts[k] <= skipped:
                return True
        return False


def advanced(starts: Sequence[int], counts: Sequence[int]) -> tuple[int, ...]:
    """The starts of the slice behind one with these counts."""
    return tuple(start + count for start, count in zip(starts, counts))


def _kept(operation: Operation, numbers: Any) -> Any:
    """Which of the rows with these numbers a take or skip leaves."""
    return numbers < operation["count"] if operation["op"] == TAKE else numbers >= operation["count"]


def _drawn(operation: Operation, place: int, keys: Keys) -> Any:
    """Which of all rows a sample or split takes; ``place`` keeps equal seeds of two operations apart."""
    chance = chances(keys[0], operation["seed"], place, keys[1])
    if operation["op"] == SAMPLE:
        return chance < operation["probability"]
    return (chance >= operation["from"]) & (chance < operation["to"])


def _filtered(table: pa.Table, keep: Any) -> pa.Table:
    import pyarrow as pa

    if table.num_columns:
        return table.filter(pa.array(keep))
    return table.slice(0, int(keep.sum()))


def compiled(operations: Optional[Sequence[Operation]]) -> Union[RowOperations, None]:
    """The operations of a table header; None where there are none."""
    return RowOperations(operations) if operations else None
