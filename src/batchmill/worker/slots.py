"""The shared-memory slots: what each worker process is doing right now, readable without asking it.

One file per coordinator incarnation, mapped by the node and by its workers. A slot is sixteen aligned 64-bit integers with one
writer each, so no lock is needed. Because the file outlives every process, it also tells a resumed run what was in flight.
"""

from __future__ import annotations

import mmap
import os

WIDTH = 16
PID, PID_START, PHASE, RUNNING, RUNNING_SINCE, RUNNING_ITEMS, READING, READING_SINCE = range(8)
PIECE_FIRST, PIECE_COUNT, FINISHED, READER_THREAD, VOID, WAITING_SINCE, PAUSED, PAUSED_IN = range(8, 16)

NONE = -1
STARTING, INIT, IDLE, RUN, SHUTDOWN = range(5)


class Slots:
    """All slots of one node, as one mapped array of 64-bit integers."""

    def __init__(self, path: str, count: int, *, create: bool = False) -> None:
        size = count * WIDTH * 8
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if create:
                os.ftruncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self.count = count
        self.values = memoryview(self._map).cast("q")

    def clear(self, slot: int) -> None:
        base = slot * WIDTH
        for field in range(WIDTH):
            self.values[base + field] = 0
        for field in (RUNNING, READING, PIECE_FIRST):
            self.values[base + field] = NONE

    def get(self, slot: int, field: int) -> int:
        return self.values[slot * WIDTH + field]

    def set(self, slot: int, field: int, value: int) -> None:
        self.values[slot * WIDTH + field] = value

    def elapsed(self, slot: int, now: int) -> int:
        """Nanoseconds that the current call has taken, without those in which the script waited for an answer of its run."""
        began, waiting = self.get(slot, RUNNING_SINCE), self.get(slot, WAITING_SINCE)
        paused = self.get(slot, PAUSED) if self.get(slot, PAUSED_IN) == began else 0
        if waiting:
            paused += now - max(began, waiting)
        return now - began - paused

    def close(self) -> None:
        self.values.release()
        self._map.close()


def in_flight(path: str) -> list[int]:
    """The mini-batches that workers were reading or running when the writer of this file died (missing file: none)."""
    try:
        count = os.path.getsize(path) // (WIDTH * 8)
    except OSError:
        return []
    if count == 0:
        return []
    slots = Slots(path, count)
    try:
        found: set[int] = set()
        for slot in range(count):
            if slots.get(slot, PID):
                found.update(slots.get(slot, field) for field in (RUNNING, READING))
        return sorted(k for k in found if k >= 0)
    finally:
        slots.close()
