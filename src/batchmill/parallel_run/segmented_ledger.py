"""The ledger of a run on a cluster: a sequence of immutable segments in its store, with an SQLite file as the index of what they say.

Each transaction appends one segment before it is committed to the index. Who finds the next number taken has been replaced by a newer
incarnation. The index proves nothing: it is rebuilt from the segments wherever it is opened, and goes on from what it has.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from batchmill.errors import LedgerFencedError, StoreError
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.ledger_schema import TABLES, WRITES
from batchmill.parallel_run.ledger_segment import START, LedgerSegment, Write
from batchmill.parallel_run.ledger_sequence import PACK_SEGMENTS, LedgerSequence, segment_name
from batchmill.parallel_run.run_folder import take_lock
from batchmill.storage.shared_store import SharedStore

REPLICA = "CREATE TABLE IF NOT EXISTS replica (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL, token BLOB NOT NULL)"
WRITES_AT_ONCE = 5_000
PAGE = 16384
"""Bytes of a page of the index: a row holds the records of many mini-batches, and would leave much of a small page empty."""
CLAIMS = 50
PATIENCE = 5.0
"""Seconds that one waits for another one who refreshes the same mirror."""


class LedgerReplica(Ledger):
    """A local ledger that repeats what segments say. After a crash of the machine it may lack the last ones, never have a part of one."""

    def __init__(self, path: Path, store: SharedStore) -> None:
        if not path.exists():
            with closing(sqlite3.connect(path)) as new:
                new.execute(f"PRAGMA page_size={PAGE}")
                new.execute("VACUUM")
        super().__init__(path, write=True)
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(REPLICA)
        self._sequence = LedgerSequence(store)
        self._place = store.place

    @property
    def position(self) -> tuple[int, bytes]:
        """Number and token of the last segment that is repeated here."""
        row = self._connection.execute("SELECT number, token FROM replica").fetchone()
        return (0, START) if row is None else (row[0], row[1])

    def follow(self) -> bool:
        """Repeat all segments that are new; True when there were any.

        Raises:
            StoreError: the store does not answer, or one of them is damaged.
        """
        number, last = self.position
        start = number
        for batch in _batches(self._sequence.after(number)):
            if batch[0].before != last and start and number == start:
                self._forget()  # it is the beginning of another sequence
                self.follow()
                return True
            with Ledger._immediate(self):
                for segment in batch:
                    if (segment.number, segment.before) != (number + 1, last):
                        raise StoreError(
                            f"The ledger in {self._place} is damaged: {segment_name(number + 1)} does not follow the one before."
                        )
                    self._repeat(segment)
                    number, last = segment.number, segment.token
        return number > start

    def close(self) -> None:
        self._sequence.close()
        super().close()

    def _repeat(self, segment: LedgerSegment) -> None:
        for name, *values in segment.writes:
            self._connection.execute(WRITES[name], values)
        self._move(segment)

    def _move(self, segment: LedgerSegment) -> None:
        self._connection.execute("INSERT OR REPLACE INTO replica VALUES (0, ?, ?)", (segment.number, segment.token))

    def _forget(self) -> None:
        with Ledger._immediate(self):
            for table in (*TABLES, "replica"):
                self._connection.execute(f"DELETE FROM {table}")


class SegmentedLedger(LedgerReplica):
    """A `Ledger` whose transactions are segments in ``store``, the run folder.

    Raises:
        StoreError: the segments cannot be read.
    """

    def __init__(self, path: Path, store: SharedStore) -> None:
        super().__init__(path, store)
        self._writes: list[Write] = []
        self._undecided: tuple[LedgerSegment, bytes] | None = None
        try:
            self._catch_up()
        except BaseException:
            self.close()
            raise

    def claim(self, *, running: bool = True) -> int:
        """See `Ledger.claim`. What an older incarnation still had under way may come first; a newer one may not.

        Raises:
            LedgerFencedError: another one has claimed the run at the same time.
            StoreError: the store does not answer, or is one in which two could claim at once.
        """
        for left in reversed(range(CLAIMS)):
            before = self.epoch
            try:
                super().claim(running=running)
                break
            except LedgerFencedError:
                self.follow()
                if self.epoch != before or not left:
                    raise
        self._sequence.prove_conditions(self.position[0])
        return self.epoch

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        self._settle()
        self._writes = []
        with super()._immediate():
            yield
            if self._writes:
                self._append()
        self._undecided = None

    def _write(self, name: str, values: tuple[Any, ...]) -> Any:
        cursor = super()._write(name, values)
        self._writes.append((name, *values))
        return cursor

    def _append(self) -> None:
        number, token = self.position
        segment = LedgerSegment(number + 1, os.urandom(16), token, tuple(self._writes))
        self._undecided = (segment, segment.encode())
        self._decide(*self._undecided)
        self._move(segment)

    def _settle(self) -> None:
        """A segment whose append was not answered, or that could not be committed here, is brought to an end before the next one."""
        if self._undecided is None:
            return
        segment, data = self._undecided
        if self.position != (segment.number, segment.token):  # an interrupt may come right after the commit
            self._decide(segment, data)
            with super()._immediate():
                self._repeat(segment)
        self._undecided = None

    def _decide(self, segment: LedgerSegment, data: bytes) -> None:
        if not self._sequence.append(segment, data):
            self._undecided = None
            raise LedgerFencedError(f"Another incarnation of the coordinator goes on with the ledger in {self._place}.")

    def _catch_up(self) -> None:
        number, token = self.position
        if number and not self.follow():
            there = self._sequence.read(number)
            if there is None:
                raise StoreError(f"The ledger in {self._place} lacks {segment_name(number)}, which was there.")
            if there.token != token:
                self._forget()
        self.follow()
        while self._sequence.beyond(self.position[0]):
            if not self.follow():
                raise StoreError(f"The ledger in {self._place} lacks {segment_name(self.position[0] + 1)}, but has later segments.")


class LedgerMirror:
    """A local copy of a ledger that others write, for readers: ordinary ones open it while it is refreshed."""

    def __init__(self, path: Path, store: SharedStore) -> None:
        self._path, self._store = path, store

    def refresh(self) -> bool:
        """Take over what is new; True when anything was. Where another process is at it for long, that is left to it.

        Raises:
            StoreError: the store does not answer, or a segment is damaged.
        """
        descriptor = os.open(self._path.with_name(f"{self._path.name}.refresh"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not take_lock(descriptor, PATIENCE):
                return False
            replica = LedgerReplica(self._path, self._store)
            try:
                return replica.follow()
            finally:
                replica.close()
        finally:
            os.close(descriptor)


def _batches(segments: Iterator[LedgerSegment]) -> Iterator[list[LedgerSegment]]:
    """Many small ones at once: a transaction each would cost more than what is in them."""
    batch: list[LedgerSegment] = []
    writes = 0
    for segment in segments:
        batch.append(segment)
        writes += len(segment.writes)
        if writes >= WRITES_AT_ONCE or len(batch) == PACK_SEGMENTS:
            yield batch
            batch, writes = [], 0
    if batch:
        yield batch
