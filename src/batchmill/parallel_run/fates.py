"""The fate of every mini-batch of an ended run as its output shows it: which bytes are whose. Read from the ledger, in order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors import ReplayRefusedError
from batchmill.parallel_run.ledger import Ledger
from batchmill.records import Counts, ItemCounts, MiniBatchCounts
from batchmill.worker.delivery import RECORD

BUFFER = 8 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of one mini-batch (``first`` is None) or of one of its pieces in the output."""

    mini_batch: int
    first: int | None
    count: int | None
    length: int
    crc: int


def spans(ledger: Ledger) -> Iterator[Span]:
    """Every span of the output, in its order."""
    splits = [mini_batch for mini_batch, _, _, ended in ledger.splits() if ended]
    pending = iter(splits)
    split = next(pending, None)
    for first, _, _, _, packed, _ in ledger.records():
        for mini_batch, record in enumerate(RECORD.iter_unpack(packed), first):
            while split is not None and split < mini_batch:
                yield from _pieces(ledger, split)
                split = next(pending, None)
            yield Span(mini_batch, None, None, record[0], record[4])
    while split is not None:
        yield from _pieces(ledger, split)
        split = next(pending, None)


def _pieces(ledger: Ledger, mini_batch: int) -> Iterator[Span]:
    for first, count, length, crc in ledger.piece_checksums(mini_batch):
        yield Span(mini_batch, first, count, length, crc)


def verify(ledger: Ledger, output: Path, name: str) -> None:
    """Read the output and compare it with the ledger, checksum by checksum.

    ``name`` is what a user calls it: the file read may be a copy of an object.

    Raises:
        ReplayRefusedError: the output is not the one this run wrote.
    """
    header = (ledger.first_header() or "").encode()
    expected = len(header)
    try:
        with output.open("rb", buffering=BUFFER) as file:
            if file.read(len(header)) != header:
                raise _changed(name, "its header line was changed")
            for span in spans(ledger):
                crc, left = 0, span.length
                while left:
                    data = file.read(min(left, BUFFER))
                    if not data:
                        raise _changed(name, f"it ends before mini-batch {span.mini_batch}")
                    crc, left = zlib.crc32(data, crc), left - len(data)
                if crc != span.crc:
                    raise _changed(name, f"the rows of mini-batch {span.mini_batch} were changed")
                expected += span.length
            if file.read(1):
                raise _changed(name, f"it is longer than {expected} bytes")
    except OSError as error:
        raise ReplayRefusedError(
            f"The output {name} cannot be read: {error.strerror}.",
            cure="Replay merges into the output that the run wrote; put it back, or run again.",
        ) from None


def _changed(name: str, how: str) -> ReplayRefusedError:
    return ReplayRefusedError(f"The output {name} is not the one the run wrote: {how}.", cure="Put the original back, or run again.")


def recount(ledger: Ledger, total: int) -> Counts:
    """Counts added up from the rows of an ended run."""
    ended, items, ok = ledger.sums()
    failed = ledger.failed_mini_batches()
    before = ledger.counts().mini_batches
    return Counts(ItemCounts(items, ok, items - ok, 0), MiniBatchCounts(total, ended - failed, failed, total - ended, before.retried))
