"""Part sync of a node of a cluster: rows leave the node as immutable objects in the store of the run, one for many outcomes.

Workers append to local part files as ever. Some of their outcomes become a *segment*: their rows, in the order of the mini-batches, are
one object ``parts/<epoch>-<node>-<n>``, written by a thread; when it is durable, consecutive outcomes are told as one (`merged`). What
has been stored is given back to the local disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from batchmill.errors import BatchmillError, DiskFullError, StoreError
from batchmill.nodes.output_files import OutputFiles
from batchmill.nodes.part_sync import PartsLostError
from batchmill.parallel_run.events import Done
from batchmill.parallel_run.merged_outcomes import in_order, merged
from batchmill.storage.holes import punch
from batchmill.storage.shared_store import SharedStore

PARTS = "parts"
SEGMENT_BYTES = 8 << 20
"""Rows that are gathered for one object; a single outcome may have more."""
AT_ONCE = 4
"""Segments on their way at the same time, so that a store far away does not limit a node that writes much."""
BACKLOG = 1 << 30
"""Bytes that are not in the store yet before the node begins nothing more."""

SOON = 0.02
FIRST_GAP, LAST_GAP = 0.5, 2.0
GAPS_GROW = 20
"""Segments after which the gap between them doubles: a short run tells its progress often, a long one leaves few objects."""
SHARE_OF_LOOKING = 10
"""Looking for the files of scripts takes at most one part in so many of the time."""

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
HOLE_BYTES = 1 << 20
IDLE = 0.1


@dataclass(slots=True)
class _Segment:
    """Outcomes on their way into the store, in the order of their bytes there. ``shares``: for each local part file, how many of them
    it holds, and where they end."""

    name: str
    outcomes: list[Done]
    ranges: list[tuple[Path, int, int]]
    shares: dict[Path, tuple[int, int]]
    length: int
    landed: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class _Part:
    """A local part file: outcomes that are not told yet, how much of its beginning is a hole, whether its worker is gone."""

    waiting: int = 0
    hole: int = 0
    ended: bool = False


@dataclass(slots=True)
class _Gap:
    """How long outcomes are gathered."""

    segments: int = 0
    looking: float = 0.0
    began: float = field(default=-LAST_GAP)

    def due(self, now: float, *, hurry: bool) -> float:
        gap = SOON if hurry else min(LAST_GAP, FIRST_GAP * 2 ** (self.segments // GAPS_GROW))
        return self.began + max(gap, self.looking * (1 if hurry else SHARE_OF_LOOKING)) - now


class SegmentSync:
    """See `PartSync`. ``patience``: seconds for which a store that is away is asked again. ``outputs``: files of scripts to upload."""

    def __init__(
        self, store: SharedStore, epoch: int, node: str, patience: float, outputs: OutputFiles | None = None, *, gather: int = SEGMENT_BYTES
    ) -> None:
        self._store = store.below(PARTS)
        self._prefix = f"{epoch}-{node}-"
        self._patience = patience
        self._outputs = outputs
        self._gather = gather
        self._pending: deque[tuple[Path, Done]] = deque()
        self._pending_bytes = 0
        self._flying: deque[_Segment] = deque()
        self._parts: dict[Path, _Part] = {}
        self._gap = _Gap()
        self._unseen = False
        """A worker has ended, which may have written files after its last outcome."""
        self._error: Exception | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self.wake, self._waker = os.pipe()
        for descriptor in (self.wake, self._waker):
            os.set_blocking(descriptor, False)

    @property
    def waiting(self) -> bool:
        return bool(self._pending or self._flying or self._unseen)

    @property
    def behind(self) -> bool:
        return self._pending_bytes + sum(one.length for one in self._flying) > BACKLOG

    def add(self, part: Path, done: Done) -> None:
        self._pending.append((part, done))
        self._pending_bytes += done.length
        self._parts.setdefault(part, _Part()).waiting += 1

    def ended(self, part: Path) -> None:
        self._unseen = self._outputs is not None and self._error is None
        self._parts.setdefault(part, _Part()).ended = True
        self._free(part, 0)

    def due(self, now: float, *, hurry: bool) -> float:
        if self._error is not None or (self._flying and self._flying[0].landed) or self._full:
            return 0.0
        if self._flying or not (self._pending or self._unseen):
            return IDLE
        return self._gap.due(now, hurry=hurry)

    def sync(self, now: float, *, hurry: bool) -> list[Done]:
        told = self._collect()
        if self._error is None:
            while self._full or (not self._flying and (self._pending or self._unseen) and self._gap.due(now, hurry=hurry) <= 0):
                self._begin(now)
            told += self._collect()
        if self._error is not None and not told:
            raise _what_is_lost(self._error, self._store.place)
        return told

    @property
    def _full(self) -> bool:
        """Enough is gathered for an object, and it may go."""
        return self._pending_bytes >= self._gather and len(self._flying) < AT_ONCE

    def _begin(self, now: float) -> None:
        """Send what was gathered, oldest first; rows of length 0 need no object."""
        taken: list[tuple[Path, Done]] = []
        shares: dict[Path, tuple[int, int]] = {}
        length = 0
        while self._pending and (not taken or length + self._pending[0][1].length <= self._gather):
            part, done = self._pending.popleft()
            taken.append((part, done))
            shares[part] = (shares.get(part, (0, 0))[0] + 1, done.offset + done.length)
            length += done.length
        self._pending_bytes -= length
        where = {id(done): part for part, done in taken}
        outcomes = in_order(done for _, done in taken)
        ranges = _joined((where[id(done)], done.offset, done.length) for done in outcomes)
        segment = _Segment(f"{self._prefix}{self._gap.segments}", outcomes, ranges, shares, length)
        self._gap.began, self._gap.segments, self._unseen = now, self._gap.segments + 1, False
        self._flying.append(segment)
        if length == 0 and self._outputs is None:
            segment.landed = True
        else:
            threading.Thread(target=self._carry, args=(segment,), name=f"batchmill-{segment.name}", daemon=True).start()

    def _collect(self) -> list[Done]:
        """The outcomes of segments that are durable, in the order in which they began."""
        told: list[Done] = []
        while self._error is None and self._flying and self._flying[0].landed:
            segment = self._flying[0]
            if segment.error is None:
                self._flying.popleft()
                told += merged(segment.outcomes, segment.name)
                for part, (outcomes, end) in segment.shares.items():
                    self._parts[part].waiting -= outcomes
                    self._free(part, end)
            self._error = segment.error
        return told

    def _free(self, part: Path, end: int) -> None:
        """Everything before ``end`` is in the store, and needed here no more."""
        facts = self._parts[part]
        if facts.ended and not facts.waiting:
            del self._parts[part]
            part.unlink(missing_ok=True)
        elif end - facts.hole >= HOLE_BYTES:
            facts.hole = punch(part, facts.hole, end)

    def lost(self) -> list[Done]:
        outcomes = [done for segment in self._flying for done in segment.outcomes] + [done for _, done in self._pending]
        self._flying.clear()
        self._pending.clear()
        self._pending_bytes, self._unseen = 0, False
        return outcomes

    def heard(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.wake, 1 << 16)

    def close(self) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                os.close(self.wake)
                os.close(self._waker)
                self.wake = -1

    # --- in a thread of its own -------------------------------------------------------------------------------------------------

    def _carry(self, segment: _Segment) -> None:
        began = time.monotonic()
        pause = FIRST_PAUSE
        while segment.error is None:
            try:
                self._write(segment)
                break
            except DiskFullError as error:
                segment.error = error
            except StoreError as error:
                if time.monotonic() - began + pause > self._patience or self._closed.wait(pause):
                    segment.error = error
                pause = min(2 * pause, LAST_PAUSE)
            except Exception as error:
                segment.error = error
        segment.landed = True
        with self._lock:
            if not self._closed.is_set():
                with suppress(BlockingIOError):  # it is full of wakes already
                    os.write(self._waker, b"!")

    def _write(self, segment: _Segment) -> None:
        if segment.length > self._gather:
            with self._store.writer(segment.name, segment.length) as target:
                for data in _read(segment.ranges):
                    target.write(data)
        elif segment.length:
            self._store.put(segment.name, b"".join(_read(segment.ranges)))
        if self._outputs is not None:
            began = time.monotonic()
            self._outputs.upload()
            self._gap.looking = time.monotonic() - began


def _what_is_lost(error: Exception, place: str) -> PartsLostError:
    text = error.line if isinstance(error, BatchmillError) else f"{type(error).__name__}: {error}"
    full = {"full": place} if isinstance(error, DiskFullError) else {}
    return PartsLostError(f"The rows of finished mini-batches cannot be stored: {text}", **full)


def _joined(ranges: Iterable[tuple[Path, int, int]]) -> list[tuple[Path, int, int]]:
    """(part, offset, length): neighbours become one."""
    found: list[tuple[Path, int, int]] = []
    for part, offset, length in ranges:
        if found and found[-1][0] == part and found[-1][1] + found[-1][2] == offset:
            found[-1] = (part, found[-1][1], found[-1][2] + length)
        elif length:
            found.append((part, offset, length))
    return found


def _read(ranges: Iterable[tuple[Path, int, int]]) -> Iterator[bytes]:
    """The bytes of ranges of part files, a bounded piece at a time."""
    with ExitStack() as stack:
        files: dict[Path, BinaryIO] = {}
        for part, offset, length in ranges:
            if part not in files:
                files[part] = stack.enter_context(part.open("rb", buffering=0))
            while length:
                data = os.pread(files[part].fileno(), min(length, SEGMENT_BYTES), offset)
                if not data:
                    raise OSError(f"part file {part.name} is shorter than its worker reported")
                offset, length = offset + len(data), length - len(data)
                yield data
