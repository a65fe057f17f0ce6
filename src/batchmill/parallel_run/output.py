"""append_row: part files become one output in input order.

The output grows as ``<name>.partial.<run>.<epoch>`` beside its final place while the front of finished mini-batches advances; ranges are
copied inside the kernel where it can. It takes its final name by sync, rename and folder sync when the run is Completed; until then an
earlier run's output stays.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from batchmill.errors import DiskFullError
from batchmill.parallel_run.ledger import Segment
from batchmill.storage.files import fsync_folder

SYNC_EVERY = 1.0
COPY = 8 << 20


class RunOutput(Protocol):
    """What a job does with the results; each method as in `OrderedOutput`."""

    front: int
    length: int

    def open(self, front: int, length: int) -> None: ...
    def add(self, first: int, count: int, segments: Iterable[Segment]) -> None: ...
    def advance(self) -> None: ...
    def proven(self) -> tuple[int, int] | None: ...
    def intact(self) -> bool: ...
    def publish(self, stopped: Callable[[], bool], /) -> bool: ...
    def close(self) -> None: ...


class OrderedOutput:
    """The growing output of one incarnation of a run.

    Args:
        folder: where the output belongs.
        name: its final name.
        parts: the folder of the part files.
        run_id: whose output it is: the partial file of another run in the same folder must never be taken for ours.
        epoch: this incarnation.
        total: number of mini-batches.
    """

    def __init__(self, folder: Path, name: str, parts: Path, run_id: str, epoch: int, total: int) -> None:
        self.final = folder / name
        self._ours = f"{name}.partial.{run_id}."
        self.partial = folder / f"{self._ours}{epoch}"
        self._parts_folder = parts
        self._total = total
        self.front = 0
        self.length = 0
        self._waiting: dict[int, tuple[int, tuple[Segment, ...]]] = {}
        self._parts: dict[str, int] = {}
        self._file = -1
        self._synced_at = time.monotonic()
        self._synced_length = 0

    def open(self, front: int, length: int) -> None:
        """Go on from what the ledger proves: ``length`` bytes for the first ``front`` mini-batches; else begin anew."""
        folder = self.final.parent
        folder.mkdir(parents=True, exist_ok=True)
        older = [path for path in folder.iterdir() if path.name.startswith(self._ours) and path.suffix[1:].isdigit()]
        usable = [path for path in older if length and path.stat().st_size >= length]
        newest = max(usable, key=lambda path: int(path.suffix[1:]), default=None)
        if newest is not None:
            os.truncate(newest, length)
            newest.rename(self.partial)
            self.front, self.length = front, length
        for path in older:
            if path != newest:
                path.unlink(missing_ok=True)
        self._file = os.open(self.partial, os.O_WRONLY | os.O_CREAT, 0o644)
        os.lseek(self._file, self.length, os.SEEK_SET)
        self._synced_length = self.length

    def add(self, first: int, count: int, segments: Iterable[Segment]) -> None:
        """Mini-batches [first, first + count) have their fate; these are their bytes."""
        if first >= self.front:
            self._waiting[first] = (count, tuple(segments))

    def advance(self) -> None:
        """Copy everything that is next in line.

        Raises:
            DiskFullError: no space for the output.
        """
        try:
            while (entry := self._waiting.pop(self.front, None)) is not None:
                for segment in entry[1]:
                    self._append(segment)
                self.front += entry[0]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(
                    f"No space is left for the output {self.partial}.", cure="Free some space, then batchmill resume."
                ) from error
            raise

    def _append(self, segment: Segment) -> None:
        if segment.length == 0:
            return
        if self.length == 0 and segment.header is not None:
            data = segment.header.encode()
            os.write(self._file, data)
            self.length += len(data)
        self.length += copy_range(self._part(segment.part), self._file, segment.offset, segment.length)

    def _part(self, name: str) -> int:
        if name not in self._parts:
            if len(self._parts) >= 256:
                os.close(self._parts.pop(next(iter(self._parts))))
            self._parts[name] = os.open(self._parts_folder / name, os.O_RDONLY)
        return self._parts[name]

    def proven(self) -> tuple[int, int] | None:
        """(front, length) after a sync, when one is due and something is new; the caller writes it into the ledger."""
        now = time.monotonic()
        if self.length == self._synced_length or now - self._synced_at < SYNC_EVERY:
            return None
        os.fsync(self._file)
        self._synced_at, self._synced_length = now, self.length
        return self.front, self.length

    def intact(self) -> bool:
        """False when somebody deleted or replaced the partial output under us."""
        try:
            there = self.partial.stat()
        except OSError:
            return False
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino, there.st_size) == (here.st_dev, here.st_ino, self.length)

    def publish(self, stopped: Callable[[], bool] = lambda: False, /) -> bool:
        """Sync, rename to the final name, sync the folder. False where ``stopped`` said, before the output was there, that nobody wants it
        any more: what takes but a moment does not ask."""
        assert self.front == self._total, f"only {self.front} of {self._total} mini-batches are in the output"
        os.fsync(self._file)
        os.rename(self.partial, self.final)
        fsync_folder(self.final.parent)
        return True

    def close(self) -> None:
        for descriptor in (*self._parts.values(), self._file):
            if descriptor >= 0:
                os.close(descriptor)
        self._parts.clear()
        self._file = -1


def copy_range(source: int, target: int, offset: int, length: int) -> int:
    """Append ``length`` bytes of one file, from ``offset``, to where another is being written; returns ``length``."""
    left = length
    while left:
        copied = _copy(source, target, offset, min(left, COPY))
        if copied == 0:
            raise OSError(errno.EIO, f"a file ends before offset {offset}, where bytes of it are needed")
        offset += copied
        left -= copied
    return length


def _copy(source: int, target: int, offset: int, length: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, length, offset_src=offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
    data = os.pread(source, length, offset)
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)
