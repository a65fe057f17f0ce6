"""The output of an earlier run as something to take rows from: where each mini-batch lies in it, and which may be taken.

Only mini-batches that succeeded in every item at their first run as a whole are taken: no dead letter, no short result, not bisected, not
replayed (that may have been another script).
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path

from batchmill.errors import BatchmillError
from batchmill.parallel_run.events import Done
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.output import copy_range
from batchmill.worker.delivery import RECORD

REUSED = "reused"
"""In place of the name of a node, and of the worker."""
LONGEST = 10_000
"""Mini-batches in one row of the ledger."""
BUFFER = 8 << 20
NONE = -1


class OutputGoneError(BatchmillError):
    """The output of an earlier run is not there any more, or not as the run left it."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Mini-batches ``[first, first + count)`` are those from ``earlier`` on of the earlier run."""

    first: int
    earlier: int
    count: int


class EarlierOutput:
    """What the ledger of a completed run says of its output, in arrays: 49 bytes a mini-batch.

    ``usable[k]``: 1 where mini-batch k may be taken. ``header``: the line of column names that the output begins with.
    """

    def __init__(self, ledger: Ledger, mini_batches: int, *, with_header: bool) -> None:
        self.usable = bytearray(mini_batches)
        self.header = ledger.first_header() or ""
        self._packed = bytearray(mini_batches * RECORD.size)
        self._headers: dict[int, str | None] | None = {} if with_header else None
        lengths = array("Q", bytes(8 * mini_batches))
        for (first, count, _, _, packed, _), (_, _, segment, _, _, short) in zip(ledger.records(), ledger.ranges(), strict=True):
            self._packed[first * RECORD.size : (first + count) * RECORD.size] = packed
            records = list(RECORD.iter_unpack(packed))
            lengths[first : first + count] = array("Q", [record[0] for record in records])
            self.usable[first : first + count] = b"\1" * count
            if short:
                for k, record in enumerate(records, first):
                    self.usable[k] = record[3] == record[2]
            if self._headers is not None:
                filled = next((k for k, record in enumerate(records, first) if record[0]), None)
                if filled is not None:
                    self._headers[filled] = segment.header
        for mini_batch, _, _, ended in ledger.splits():
            if ended:
                lengths[mini_batch] = sum(piece[2] for piece in ledger.piece_checksums(mini_batch))
        for letter in ledger.letters():
            self.usable[letter.mini_batch] = 0
        self._offsets = array("Q", accumulate(lengths, initial=len(self.header.encode())))

    def drop_unknown_headers(self, found: array[int]) -> None:
        """Which line of column names the output begins with is known of some mini-batches only: let those before the first of them run.

        ``found``: for each mini-batch of the new run that of the earlier one, or `NONE`.
        """
        if self._headers is None:
            return
        for k, earlier in enumerate(found):
            if earlier == NONE or self._length(earlier, 1) == 0:
                continue
            if earlier in self._headers:
                return
            found[k] = NONE

    def _length(self, first: int, count: int) -> int:
        return self._offsets[first + count] - self._offsets[first]

    def copy(self, output: Path, name: str, part: Path, stretches: Iterator[Stretch]) -> list[Done]:
        """Copy the rows into a new part file, and compare what arrived with the ledger; returns what is to be recorded of them.

        ``name`` is what a user calls the output: the file read may be a copy of an object. The part is synced.

        Raises:
            OutputGoneError: the output is not the one that the run wrote.
        """
        try:
            source = os.open(output, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise OutputGoneError(f"its output {name} cannot be read ({error.strerror})") from None
        target = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(source).st_size != self._offsets[-1]:
                raise OutputGoneError(f"its output {name} has been replaced or changed")
            found, at = [], 0
            for one in stretches:
                length = self._length(one.earlier, one.count)
                copy_range(source, target, self._offsets[one.earlier], length)
                self._check(target, at, one, name)
                found.append(self._done(one, part.name, at, length))
                at += length
            os.fsync(target)
        finally:
            os.close(source)
            os.close(target)
        return found

    def _records(self, one: Stretch) -> bytes:
        return bytes(self._packed[one.earlier * RECORD.size : (one.earlier + one.count) * RECORD.size])

    def _check(self, part: int, at: int, one: Stretch, name: str) -> None:
        """The bytes that arrived are those of the ledger, mini-batch by mini-batch."""
        held, begin = b"", at
        for record in RECORD.iter_unpack(self._records(one)):
            crc, left = 0, record[0]
            while left:
                if at - begin >= len(held):
                    held, begin = os.pread(part, BUFFER, at), at
                piece = held[at - begin : at - begin + left]
                if not piece:
                    break
                crc, left, at = zlib.crc32(piece, crc), left - len(piece), at + len(piece)
            if left or crc != record[4]:
                raise OutputGoneError(f"its output {name} has been replaced or changed")

    def _done(self, one: Stretch, part: str, at: int, length: int) -> Done:
        packed = self._records(one)
        rows, items = (sum(record[field] for record in RECORD.iter_unpack(packed)) for field in (1, 2))
        header = self._header_of(one)
        where = (one.first, one.count, None, part, at, length)
        return Done(REUSED, REUSED, 0, *where, rows, items, items, 0, packed, header=header)

    def _header_of(self, one: Stretch) -> str | None:
        if self._headers is None:
            return None
        filled = (k for k in range(one.earlier, one.earlier + one.count) if self._length(k, 1))
        return self._headers.get(next(filled, NONE))


def stretches(found: array[int]) -> Iterator[Stretch]:
    """The mini-batches that follow one another in both runs, in the order of the new one."""
    borders = (k for k in range(1, len(found)) if found[k] != found[k - 1] + 1 or NONE in (found[k], found[k - 1]))
    for begin, end in pairwise(chain([0], borders, [len(found)])):
        if found[begin] == NONE:
            continue
        for at in range(begin, end, LONGEST):
            yield Stretch(at, found[at], min(LONGEST, end - at))
