"""How many rows come before each mini-batch, for operations that ask for the number of a row (take, skip).

Found once, at plan time, by a pass over the slices; kept in the plan, so that every worker, retry and resume takes the same rows.
Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import os
from struct import Struct


def positions_name(number: int) -> str:
    """The file of a table of a plan: for each of its mini-batches the starts (see `data.row_operations`), little-endian."""
    return f"positions-{number}.bin"


class RowPositions:
    """The file ``name`` of a plan folder, with ``count`` numbers for each mini-batch.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, folder: str, name: str, count: int) -> None:
        self._record = Struct(f"<{count}Q")
        self._descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def starts(self, mini_batch: int) -> tuple[int, ...]:
        """The starts of a mini-batch, counted from the first of its table.

        Raises:
            ValueError: the file ends before it.
        """
        data = os.pread(self._descriptor, self._record.size, mini_batch * self._record.size)
        if len(data) < self._record.size:
            raise ValueError(f"The plan has no positions of mini-batch {mini_batch}.")
        return self._record.unpack(data)

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()
