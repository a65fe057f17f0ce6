"""Merge replayed rows into an existing output: unchanged stretches are copied inside the kernel, replayed ones come from part files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchmill.parallel_run.fates import Span, spans
from batchmill.parallel_run.ledger import Ledger, Segment
from batchmill.parallel_run.output import copy_range


def merge(
    ledger: Ledger,
    scratch: Ledger,
    targets: Mapping[int, set[int] | None],
    old: Path | None,
    header: bytes,
    parts: Path,
    new: Path,
) -> None:
    """Write and sync the merged output.

    Args:
        ledger: what the old output holds.
        scratch: the outcomes of the replayed mini-batches and items.
        targets: mini-batch -> replayed item positions, None for the whole mini-batch.
        old: the old output; None when there is none (every item had failed).
        header: the header line of the new output: that of the first rows in it.
        parts: folder of the part files of the replay.
        new: the file to write.
    """
    source = os.open(old, os.O_RDONLY) if old is not None else -1
    target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    writer = _Writer(source, target, parts)
    try:
        os.write(target, header)
        position = len((ledger.first_header() or "").encode())
        replayed = iter(sorted(targets))
        upcoming = next(replayed, None)
        for span in spans(ledger):
            while upcoming is not None and upcoming < span.mini_batch:
                writer.put(_replacement(scratch, upcoming))
                upcoming = next(replayed, None)
            if span.mini_batch not in targets:
                writer.keep(position, span.length)
            elif targets[span.mini_batch] is None:
                upcoming = _whole(writer, scratch, span, position, upcoming, replayed)
            else:
                upcoming = _piece(writer, scratch, span, position, targets, upcoming, replayed)
            position += span.length
        while upcoming is not None:
            writer.put(_replacement(scratch, upcoming))
            upcoming = next(replayed, None)
        writer.flush()
        os.fsync(target)
    finally:
        writer.close()


def _whole(writer: _Writer, scratch: Ledger, span: Span, position: int, upcoming: int | None, replayed: Iterator[int]) -> int | None:
    """A replayed mini-batch that has bytes in the old output: the new rows, or the old ones when it failed altogether again."""
    if not scratch.has_result(span.mini_batch):
        writer.keep(position, span.length)
    elif upcoming == span.mini_batch:
        writer.put(_replacement(scratch, span.mini_batch))
    return next(replayed, None) if upcoming == span.mini_batch else upcoming


def _piece(
    writer: _Writer,
    scratch: Ledger,
    span: Span,
    position: int,
    targets: Mapping[int, set[int] | None],
    upcoming: int | None,
    replayed: Iterator[int],
) -> int | None:
    single = targets[span.mini_batch] or set()
    if span.first in single:
        writer.put([segment for first, _, segment, _ in scratch.pieces(span.mini_batch) if first == span.first and segment is not None])
    else:
        writer.keep(position, span.length)
    return next(replayed, None) if upcoming == span.mini_batch else upcoming


def _replacement(scratch: Ledger, mini_batch: int) -> list[Segment]:
    """The bytes a replayed mini-batch has now."""
    for first, count, segment, _, _, _ in scratch.ranges(mini_batch):
        if first == mini_batch and count == 1:
            return [segment]
        break
    return [segment for _, _, segment, _ in scratch.pieces(mini_batch) if segment is not None]


class _Writer:
    """Writes kept stretches (joined into long copies) and new segments, in order."""

    def __init__(self, source: int, target: int, parts: Path) -> None:
        self._source = source
        self._target = target
        self._parts = parts
        self._kept: tuple[int, int] | None = None

    def keep(self, offset: int, length: int) -> None:
        if self._kept is not None and self._kept[0] + self._kept[1] == offset:
            self._kept = (self._kept[0], self._kept[1] + length)
            return
        self.flush()
        self._kept = (offset, length)

    def put(self, segments: list[Segment]) -> None:
        self.flush()
        for segment in segments:
            if segment.length == 0:
                continue
            part = os.open(self._parts / segment.part, os.O_RDONLY)
            try:
                copy_range(part, self._target, segment.offset, segment.length)
            finally:
                os.close(part)

    def flush(self) -> None:
        if self._kept is not None:
            copy_range(self._source, self._target, *self._kept)
            self._kept = None

    def close(self) -> None:
        for descriptor in (self._source, self._target):
            if descriptor >= 0:
                os.close(descriptor)
