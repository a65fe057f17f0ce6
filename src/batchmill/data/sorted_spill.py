"""Byte strings in any order in, in byte order out, with a bounded number of them in memory."""

from __future__ import annotations

import heapq
import marshal
import tempfile
from collections.abc import Iterator
from itertools import islice
from typing import IO

MOST_NAMES = 1_000_000
"""What is kept in memory before a sorted run goes to a file, as strings ..."""

MOST_BYTES = 64 << 20
"""... or as bytes of memory, whichever comes first: long names count for more."""

OVERHEAD = 41
"""Bytes of memory a byte string costs besides its own: its header and its place in the list."""

BATCH = 4096


class SortedSpill:
    """Sorts what `extend` is given; beyond the bounds, sorted runs go to unnamed files in ``folder`` and are merged when read.

    The files have no names, so a process that is killed leaves nothing behind.
    """

    def __init__(self, folder: str | None = None, *, most_names: int = MOST_NAMES, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_names = most_names
        self._most_bytes = most_bytes
        self._values: list[bytes] = []
        self._bytes = 0
        self._runs: list[IO[bytes]] = []

    @property
    def runs(self) -> int:
        """Sorted runs on disk."""
        return len(self._runs)

    def extend(self, values: list[bytes]) -> None:
        """Take some more; the caller gives small lists (thousands), because the bounds are checked once a list."""
        self._bytes += sum(map(len, values)) + OVERHEAD * len(values)
        self._values += values
        if len(self._values) > self._most_names or self._bytes > self._most_bytes:
            self._spill()

    def _spill(self) -> None:
        self._values.sort()
        run = tempfile.TemporaryFile(dir=self._folder, prefix="sorted-run-")  # noqa: SIM115 - closed by close()
        self._runs.append(run)
        for first in range(0, len(self._values), BATCH):
            marshal.dump(self._values[first : first + BATCH], run)
        run.flush()
        self._values = []
        self._bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """All of them in byte order, once: memory is freed on the way."""
        if not self._runs:
            values, self._values = self._values, []
            values.sort()
            return iter(values)
        if self._values:
            self._spill()
        return heapq.merge(*(_read_run(run) for run in self._runs))

    def close(self) -> None:
        """Give the files back; the rest of a begun iteration is lost."""
        for run in self._runs:
            run.close()
        self._runs = []
        self._values = []


def _read_run(run: IO[bytes]) -> Iterator[bytes]:
    run.seek(0)
    while True:
        try:
            batch = marshal.load(run)
        except EOFError:
            return
        yield from batch


def batched(values: Iterator[bytes], size: int = BATCH) -> Iterator[list[bytes]]:
    """``values`` in lists of at most ``size``."""
    while batch := list(islice(values, size)):
        yield batch
