"""append_row on a cluster: the parts lie in the run's store, and the output is streamed from them in order when all is done.

Nothing grows meanwhile, so there is nothing to go on from after a crash: publishing is repeated, and writes the same bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from batchmill.errors import LedgerInconsistentError, StoreError
from batchmill.parallel_run.ledger import Ledger, Segment
from batchmill.parallel_run.run_store import RunStore
from batchmill.storage.shared_store import SharedStore

READERS = 16
BLOCK = 16 << 20
"""Bytes that are put together at once; twice as many are read ahead."""
PIECES = 4096
READ = 8 << 20
GAP = 16 << 10
"""Bytes between two pieces of a part that are rather read than asked for apart."""


class _Stopped(Exception):
    """Nobody wants the output any more."""


@dataclass(slots=True)
class _Piece:
    """Consecutive bytes of a part."""

    part: str
    offset: int
    length: int


@dataclass(slots=True)
class _Read:
    """Bytes of a part that are read by one request."""

    offset: int
    end: int
    data: Future[bytes] | None = None


class CollectedOutput:
    """The output of one incarnation of a run on a cluster; the face of `OrderedOutput`.

    Args:
        store: the run's store.
        name: the final name of the output.
        ledger: what says where the bytes are; the publication is a fenced transaction of it.
        run_id: whose output it is.
        epoch: this incarnation.
        total: number of mini-batches.
        check: raises where another run may hold the output by now.
    """

    def __init__(
        self, store: RunStore, name: str, ledger: Ledger, run_id: str, epoch: int, total: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._name, self._ledger, self._total = store, name, ledger, total
        self._ours = f"{name}.partial.{run_id}."
        self._epoch = epoch
        self._check = check
        self.front = 0
        self.length = 0

    def open(self, front: int, length: int) -> None:
        """Begin anew, whatever an earlier incarnation had; what it left in a folder is removed."""
        if "://" not in self._store.results.place:
            for epoch in range(1, self._epoch):
                self._store.results.delete(f"{self._ours}{epoch}")

    def add(self, first: int, count: int, segments: Iterable[Segment]) -> None:
        """The ledger knows it, and is asked at the end."""

    def advance(self) -> None:
        """Nothing moves before the end."""

    def proven(self) -> tuple[int, int] | None:
        """Nothing is to be noted."""
        return None

    def intact(self) -> bool:
        """Nothing lies where somebody could remove it."""
        return True

    def publish(self, stopped: Callable[[], bool] = lambda: False, /) -> bool:
        """Write the output, in bounded memory; it appears, or replaces the one before, when it is complete. False where ``stopped`` said
        meanwhile that nobody wants it any more; nothing was published.

        Raises:
            LedgerFencedError: a newer incarnation has claimed the run; nothing was published.
            OutputBusyError: another run may hold the output; nothing was published.
            LedgerInconsistentError: the ledger lacks a mini-batch.
            StoreError: the store does not answer, or lacks bytes of a part.
        """
        try:
            self._publish(stopped)
        except _Stopped:
            return False
        return True

    def _publish(self, stopped: Callable[[], bool]) -> None:
        self.front = self.length = 0
        expected = self._ledger.output_bytes()
        with self._store.results.writer(self._name, expected, f"{self._ours}{self._epoch}") as file:
            for block in _blocks(self._store.parts, self._pieces(), (self._ledger.first_header() or "").encode()):
                if stopped():
                    raise _Stopped
                file.write(block)
                self.length += len(block)
            if self.front != self._total:
                raise LedgerInconsistentError(f"Only {self.front} of {self._total} mini-batches are in the output.")
            self._check()
            with self._ledger.transaction():
                self._ledger.put(output_front=str(self.front), output_length=str(self.length))

    def close(self) -> None:
        """Nothing is open."""

    def _pieces(self) -> Iterator[_Piece]:
        """Where the bytes are, in order; what lies side by side is one piece."""
        piece: _Piece | None = None
        for first, count, segments in in_order(self._ledger):
            if first != self.front:
                raise LedgerInconsistentError(f"Mini-batch {self.front} is missing from the output.")
            self.front += count
            for segment in segments:
                if piece is not None and piece.part == segment.part and piece.offset + piece.length == segment.offset:
                    piece.length += segment.length
                else:
                    if piece is not None and piece.length:
                        yield piece
                    piece = _Piece(segment.part, segment.offset, segment.length)
        if piece is not None and piece.length:
            yield piece


def in_order(ledger: Ledger) -> Iterator[tuple[int, int, list[Segment]]]:
    """(first mini-batch, their number, where their bytes are) of all mini-batches with a fate, in order."""
    whole = ((first, count, [segment]) for first, count, segment, _, _, _ in ledger.ranges())
    split = (
        (mini_batch, 1, [piece[2] for piece in ledger.pieces(mini_batch) if piece[2] is not None])
        for mini_batch, _, _, ended in ledger.splits()
        if ended
    )
    failed: Iterator[tuple[int, int, list[Segment]]] = ((mini_batch, 1, []) for mini_batch, _ in ledger.failed())
    return heapq.merge(whole, split, failed, key=lambda row: row[0])


def _blocks(parts: SharedStore, pieces: Iterator[_Piece], header: bytes) -> Iterator[bytes]:
    """The bytes of the pieces, block by block; while one is used, the next one is being read."""
    if header:
        yield header
    with ThreadPoolExecutor(READERS, "batchmill-collect") as threads:
        ahead: Iterator[memoryview] | None = None
        for batch in _batches(pieces):
            started = _start(parts, batch, threads)
            if ahead is not None:
                yield b"".join(ahead)
            ahead = _slices(batch, started)
        if ahead is not None:
            yield b"".join(ahead)


def _batches(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces by the block, none larger than what is read at once."""
    batch: list[_Piece] = []
    size = 0
    for piece in pieces:
        for start in range(0, piece.length, READ):
            cut = _Piece(piece.part, piece.offset + start, min(READ, piece.length - start))
            batch.append(cut)
            size += cut.length
            if size >= BLOCK or len(batch) == PIECES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _start(parts: SharedStore, batch: list[_Piece], threads: ThreadPoolExecutor) -> list[_Read]:
    """Begin to read what the pieces need; for each the read that holds it. Neighbours in a part are read at once."""
    reads: list[_Read] = [_Read(piece.offset, piece.offset + piece.length) for piece in batch]
    last: tuple[str, _Read] | None = None
    wanted: list[tuple[str, _Read]] = []
    for number in sorted(range(len(batch)), key=lambda n: (batch[n].part, batch[n].offset)):
        part, read = batch[number].part, reads[number]
        if last is not None and last[0] == part and read.offset <= last[1].end + GAP and read.end - last[1].offset <= READ:
            last[1].end = max(last[1].end, read.end)
            reads[number] = last[1]
        else:
            last = (part, read)
            wanted.append(last)
    for part, read in wanted:
        read.data = threads.submit(_read, parts, part, read.offset, read.end - read.offset)
    return reads


def _read(parts: SharedStore, part: str, offset: int, length: int) -> bytes:
    data = parts.read(part, offset, length)
    if len(data) != length:
        raise StoreError(f"{parts.place}/{part} ends before byte {offset + length}, which the ledger says it has.")
    return data


def _slices(batch: list[_Piece], reads: list[_Read]) -> Iterator[memoryview]:
    for piece, read in zip(batch, reads, strict=True):
        assert read.data is not None
        yield memoryview(read.data.result())[piece.offset - read.offset : piece.offset - read.offset + piece.length]
