"""Reading the mini-batches of a plan that holds one table, or several, each with options of its own.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from batchmill.data.table_reader import TableReader
from batchmill.data.table_slice import TableSlice


class TablesReader:
    """Reads the mini-batches of one plan; ``header`` is the "table" part of plan.json: a table header, or several as
    ``{"tables": [header, ...], "of_place": [number of the table of each place]}``. May be used by two threads.
    """

    def __init__(self, header: dict[str, Any], folder: Optional[str] = None) -> None:
        self._readers = [TableReader(one, folder) for one in header.get("tables", [header])]
        self._of_place = header.get("of_place")
        self.mapped = any(one["grouped"] for one in header.get("tables", [header]))
        """True where slices are mapped, not read: there is nothing to read ahead."""

    def read(self, plan: Any, item_of: Callable[[int], Any]) -> TableSlice:
        """The rows of a mini-batch, see `TableReader.read`.

        Raises:
            ReadError: it cannot be read at all.
        """
        number = 0 if self._of_place is None else self._of_place[plan.input]
        return self._readers[number].read(plan, item_of)

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers:
            reader.close()
