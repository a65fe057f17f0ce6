"""The ledger: the durable fate of every mini-batch, in one SQLite file; the only thing a resume needs.

Each transaction is durable (WAL, ``synchronous=FULL``) and fenced: it happens only while this incarnation's epoch is the newest.
Successful mini-batches are kept as ranges with one packed record each (`batchmill.worker.delivery.RECORD`); a row of its own exists
only for what is exceptional.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchmill.errors import DiskFullError, LedgerFencedError
from batchmill.parallel_run.events import Done, TryFailed
from batchmill.parallel_run.ledger_schema import SCHEMA, WRITES, storable
from batchmill.records import Counts, DeadLetter, ItemCounts, MiniBatchCounts, RunStatus


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of the ordered output: they lie in ``part`` at ``offset``."""

    part: str
    offset: int
    length: int
    header: str | None = None


class Ledger:
    """One run's ledger. Opened for writing by the coordinator that holds the run, read-only by everybody else."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        if write:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SCHEMA)
        else:
            self._connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)
        self._connection.execute("PRAGMA cache_size=-8000")
        self._epoch: int | None = None

    def close(self) -> None:
        self._connection.close()

    # --- epochs and transactions ------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        return int(self.meta("epoch") or 0)

    def claim(self, *, running: bool = True) -> int:
        """Begin a new incarnation: every older one is fenced off from now on. Replay leaves the status as it is."""
        with self._immediate():
            epoch = self.epoch + 1
            if not running:
                self._put("epoch", str(epoch))
                self._epoch = epoch
                return epoch
            if self.status is RunStatus.RUNNING:
                self._put("deaths", str(int(self.meta("deaths") or 0) + 1))
            self._put("epoch", str(epoch))
            self._put("status", RunStatus.RUNNING)
        self._epoch = epoch
        return epoch

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One durable, fenced transaction.

        Raises:
            LedgerFencedError: a newer incarnation has claimed the run.
            DiskFullError: no space is left for the ledger.
        """
        with self._immediate():
            if self.epoch != self._epoch:
                raise LedgerFencedError(
                    f"Incarnation {self._epoch} of the coordinator of {self.path.parent.name} was replaced by incarnation {self.epoch}."
                )
            yield

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """What a transaction would change can be read inside the block, and is undone at its end."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:  # an interrupt may come between any two of these lines
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and ("full" in str(error) or "disk I/O" in str(error)):
                raise DiskFullError(
                    f"No space is left for the ledger {self.path}.", cure="Free some space, then batchmill resume."
                ) from error
            raise

    def _write(self, name: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        """Every change of the tables goes through here."""
        return self._connection.execute(WRITES[name], values)

    # --- meta -------------------------------------------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _put(self, key: str, value: str | None) -> None:
        self._write("meta", storable((key, value)))

    def put(self, **values: str | None) -> None:
        """Set meta values (inside a transaction)."""
        for key, value in values.items():
            self._put(key, value)

    def begin(self, **values: str | None) -> None:
        """First transaction of a new run: its id, name and settings are durable from here on."""
        with self._immediate():
            self.put(status=RunStatus.QUEUED, created=str(time.time()), **values)

    @property
    def status(self) -> RunStatus:
        return RunStatus(self.meta("status") or RunStatus.QUEUED)

    def end(self, status: RunStatus, error: str | None, counts: Counts) -> None:
        """The last transaction of an incarnation that ends in order."""
        with self.transaction():
            self.put(status=status, error=error, ended=str(time.time()), counts=json.dumps(counts.as_dict()), deaths="0")

    def counts(self) -> Counts:
        """The counts as of the last commit."""
        text = self.meta("counts")
        if text is None:
            return Counts()
        values = json.loads(text)
        return Counts(ItemCounts(**values["items"]), MiniBatchCounts(**values["mini_batches"]))

    # --- writing outcomes (inside a transaction) --------------------------------------------------------------------------------

    def add_done(self, done: Done) -> None:
        if done.piece is not None:
            from batchmill.worker.delivery import RECORD

            crc = RECORD.unpack(done.packed)[4]
            place = (done.first, *done.piece, done.part, done.offset, done.length)
            self._write("piece", (*place, done.rows, done.ok, crc, done.header, done.worker))
            return
        where = (done.first, done.count, done.part, done.offset, done.length)
        numbers = (done.rows, done.items, done.ok, done.short)
        origin = (done.node, done.worker, done.header, done.packed, done.spans)
        self._write("range", (*where, *numbers, *origin))

    def add_notes(self, done: Done, attempt: int) -> list[DeadLetter]:
        """The items a successful try left out, and its warnings; returns the new letters."""
        letters: list[DeadLetter] = []
        if not done.notes:
            return letters
        from batchmill.parallel_run.merged_outcomes import worker_of

        for note in done.notes:
            worker = worker_of(done.worker, note["mb"] - done.first)
            if "warning" in note:
                self.add_warning(note["warning"], note["mb"], worker)
            else:
                letters.append(
                    self.add_letter(
                        note["mb"],
                        note["item"],
                        note["position"],
                        note["items_failed"],
                        attempt,
                        worker,
                        note["class"],
                        note["message"],
                        None,
                        None,
                    )
                )
        return letters

    def add_warning(self, text: str, mini_batch: int | None = None, worker: str | None = None) -> None:
        self._write("warning", storable((mini_batch, worker, text)))

    def add_letter(
        self,
        mini_batch: int,
        item: str | None,
        position: int | None,
        items_failed: int,
        attempt: int,
        worker: str,
        error_class: str,
        message: str,
        traceback: str | None,
        peak: int | None,
    ) -> DeadLetter:
        values = storable((mini_batch, item, position, items_failed, attempt, worker, error_class, message, traceback, peak))
        cursor = self._write("letter", values)
        return DeadLetter(int(cursor.lastrowid or 0), *values)

    def add_try(self, event: TryFailed, attempt: int) -> None:
        piece = event.piece or (None, None)
        error = event.error
        what = (event.mini_batch, *piece, attempt, event.node, event.worker)
        times = (event.started, event.elapsed, event.run_seconds, event.status, event.items)
        why = (error.error_class, error.message, error.traceback, int(error.memory), error.peak)
        printed = None if event.printed is None else json.dumps(event.printed)
        self._write("try", storable((*what, *times, *why, printed)))

    def add_split(self, mini_batch: int, items: int, ok: int, *, ended: bool) -> None:
        self._write("split", (mini_batch, items, ok, int(ended)))

    def add_failed_piece(self, mini_batch: int, piece: tuple[int, int], worker: str) -> None:
        self._write("piece", (mini_batch, *piece, None, 0, 0, 0, 0, 0, None, worker))

    def add_failed(self, mini_batch: int, items: int) -> None:
        self._write("failed", (mini_batch, items))

    # --- reading ----------------------------------------------------------------------------------------------------------------

    def ranges(self, first: int = 0) -> Iterator[tuple[int, int, Segment, int, int, int]]:
        """(first, count, segment, items, ok, short) in order."""
        query = "SELECT first, count, part, offset, length, header, items, ok, short FROM ranges WHERE first >= ? ORDER BY first"
        for row in self._connection.execute(query, (first,)):
            yield row[0], row[1], Segment(row[2], row[3], row[4], row[5]), row[6], row[7], row[8]

    def records(self) -> Iterator[tuple[int, int, str, str, bytes, bytes]]:
        """(first, count, node, worker, packed, spans) in order; ``worker`` may name several (`merged_outcomes`)."""
        yield from self._connection.execute("SELECT first, count, node, worker, packed, spans FROM ranges ORDER BY first")

    def record_of(self, mini_batch: int) -> tuple[str, str, bytes] | None:
        """(node, worker, spans of its range) of a mini-batch that succeeded as a whole, else None."""
        from batchmill.parallel_run.merged_outcomes import worker_of

        query = "SELECT first, count, node, worker, spans FROM ranges WHERE first <= ? ORDER BY first DESC LIMIT 1"
        row = self._connection.execute(query, (mini_batch,)).fetchone()
        if row is None or row[0] + row[1] <= mini_batch:
            return None
        return row[2], worker_of(row[3], mini_batch - row[0]), row[4]

    def splits(self) -> Iterator[tuple[int, int, int, bool]]:
        """(mini-batch, items, ok, ended)."""
        for row in self._connection.execute("SELECT mini_batch, items, ok, ended FROM splits ORDER BY mini_batch").fetchall():
            yield row[0], row[1], row[2], bool(row[3])

    def pieces(self, mini_batch: int) -> list[tuple[int, int, Segment | None, int]]:
        """(first item, items, segment or None when it failed, items ok), in item order."""
        query = "SELECT first, count, part, offset, length, header, ok FROM pieces WHERE mini_batch = ? ORDER BY first"
        return [
            (row[0], row[1], Segment(row[2], row[3], row[4], row[5]) if row[2] is not None else None, row[6])
            for row in self._connection.execute(query, (mini_batch,))
        ]

    def failed(self) -> list[tuple[int, int]]:
        return self._connection.execute("SELECT mini_batch, items FROM failed ORDER BY mini_batch").fetchall()

    def tries(self, mini_batch: int | None = None) -> Iterator[dict[str, Any]]:
        """Failed tries, oldest first."""
        where = "" if mini_batch is None else " WHERE mini_batch = ?"
        cursor = self._connection.execute("SELECT * FROM tries" + where + " ORDER BY id", () if mini_batch is None else (mini_batch,))
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def tries_of_whole(self) -> list[tuple[int, int, bool]]:
        """(mini-batch, charged tries, any for memory) of whole mini-batches."""
        query = "SELECT mini_batch, COUNT(*), MAX(memory) FROM tries WHERE piece_first IS NULL GROUP BY mini_batch"
        return [(row[0], row[1], bool(row[2])) for row in self._connection.execute(query)]

    def letters(self, *, open_only: bool = False) -> Iterator[DeadLetter]:
        """Dead letters in the order of their mini-batches."""
        where = " WHERE replayed = 0" if open_only else ""
        columns = "id, mini_batch, item, position, items_failed, attempt, worker, error_class, message, traceback, peak, replayed"
        for row in self._connection.execute(f"SELECT {columns} FROM letters{where} ORDER BY mini_batch, position, id"):
            yield DeadLetter(*row)

    def warnings(self) -> list[tuple[int | None, str | None, str]]:
        return self._connection.execute("SELECT mini_batch, worker, text FROM warnings ORDER BY id").fetchall()

    def piece_checksums(self, mini_batch: int) -> list[tuple[int, int, int, int]]:
        """(first item, items, length, crc) of the pieces of a bisected mini-batch, in item order."""
        query = "SELECT first, count, length, crc FROM pieces WHERE mini_batch = ? ORDER BY first"
        return self._connection.execute(query, (mini_batch,)).fetchall()

    def output_bytes(self) -> int:
        """Bytes of all results, without a header line."""
        query = "SELECT SUM(length) FROM (SELECT length FROM ranges UNION ALL SELECT length FROM pieces)"
        return int(self._connection.execute(query).fetchone()[0] or 0)

    def first_header(self) -> str | None:
        """The header line of the output: that of the first rows in it, if they came from a data frame and headers were asked for."""
        whole = self._connection.execute("SELECT first, header FROM ranges WHERE length > 0 ORDER BY first LIMIT 1").fetchone()
        query = (
            "SELECT mini_batch, header FROM pieces JOIN splits USING (mini_batch) WHERE ended = 1 AND length > 0"
            " ORDER BY mini_batch, pieces.first LIMIT 1"
        )
        piece = self._connection.execute(query).fetchone()
        found = min((row for row in (whole, piece) if row is not None), default=None, key=lambda row: row[0])
        return None if found is None else found[1]

    def failed_mini_batches(self) -> int:
        """Mini-batches with any failed item."""
        query = (
            "SELECT (SELECT COALESCE(SUM(short),0) FROM ranges) + (SELECT COUNT(*) FROM splits WHERE ended=1 AND ok<items)"
            " + (SELECT COUNT(*) FROM failed)"
        )
        return int(self._connection.execute(query).fetchone()[0])

    # --- replay (inside a transaction) ------------------------------------------------------------------------------------------

    def take_out(self, mini_batch: int) -> None:
        """Remove what is recorded of one mini-batch, so that something else can be recorded; a range around it is cut in two."""
        from batchmill.parallel_run.merged_outcomes import cut_workers
        from batchmill.worker.delivery import RECORD

        for what in ("no pieces", "no split", "no failed"):
            self._write(what, (mini_batch,))
        row = self._connection.execute("SELECT * FROM ranges WHERE first <= ? ORDER BY first DESC LIMIT 1", (mini_batch,)).fetchone()
        if row is None or row[0] + row[1] <= mini_batch:
            return
        first, count, part, offset = row[:4]
        node, worker, header, packed, range_spans = row[9:14]
        self._write("no range", (first,))
        for begin, end in ((first, mini_batch), (mini_batch + 1, first + count)):
            if end <= begin:
                continue
            slice_ = packed[(begin - first) * RECORD.size : (end - first) * RECORD.size]
            records = list(RECORD.iter_unpack(slice_))
            length, rows, items, ok = (sum(record[field] for record in records) for field in range(4))
            short = sum(record[3] < record[2] for record in records)
            at = offset + sum(record[0] for record in RECORD.iter_unpack(packed[: (begin - first) * RECORD.size]))
            who = cut_workers(worker, begin - first, end - begin)
            values = (begin, end - begin, part, at, length, rows, items, ok, short, node, who, header, slice_, range_spans)
            self._write("range", values)

    def has_result(self, mini_batch: int) -> bool:
        """Whether a mini-batch that was leased by itself came to anything: it ran as a whole, or a piece of it did."""
        query = "SELECT EXISTS (SELECT 1 FROM ranges WHERE first = ?) OR EXISTS (SELECT 1 FROM splits WHERE mini_batch = ? AND ok > 0)"
        return bool(self._connection.execute(query, (mini_batch, mini_batch)).fetchone()[0])

    def adopt(self, other: Ledger, mini_batch: int, single: set[int] | None) -> bool:
        """Record what another ledger says of one mini-batch in place of what this one says; False when nothing of it succeeded.

        ``single``: the positions of a bisected mini-batch that the other ledger ran again; its other pieces stay. None: it ran it whole.
        """
        if single is None and not other.has_result(mini_batch):
            return False
        row = other._connection.execute("SELECT * FROM ranges WHERE first = ?", (mini_batch,)).fetchone()
        split = other._connection.execute("SELECT * FROM splits WHERE mini_batch = ? AND ended = 1", (mini_batch,)).fetchone()
        if single is None:
            self.take_out(mini_batch)
        for first in single or ():
            self._write("no piece", (mini_batch, first))
        tries = other._connection.execute("SELECT * FROM tries WHERE mini_batch = ? ORDER BY id", (mini_batch,)).fetchall()
        for one in tries:
            self._write("try", one[1:])
        if row is not None:
            self._write("range", row)
            return True
        self._write("split", split)
        pieces = other._connection.execute("SELECT * FROM pieces WHERE mini_batch = ?", (mini_batch,)).fetchall()
        for piece in pieces:
            self._write("piece", piece)
        return True

    def settle_letter(self, letter: DeadLetter, again: DeadLetter | None) -> None:
        """A replayed letter: done with, or still failing, with one attempt more and the newest error."""
        if again is None:
            self._write("letter settled", (letter.id,))
            return
        values = (again.items_failed, again.worker, again.error_class, again.message, again.traceback, again.peak_memory, letter.id)
        self._write("letter again", values)

    def sums(self) -> tuple[int, int, int]:
        """(mini-batches with a fate, items, items ok), added up from the rows themselves: what the counters are proved against."""
        ranges = self._connection.execute(
            "SELECT COALESCE(SUM(count),0), COALESCE(SUM(items),0), COALESCE(SUM(ok),0) FROM ranges"
        ).fetchone()
        splits = self._connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(items),0), COALESCE(SUM(ok),0) FROM splits WHERE ended = 1"
        ).fetchone()
        failed = self._connection.execute("SELECT COUNT(*), COALESCE(SUM(items),0) FROM failed").fetchone()
        return ranges[0] + splits[0] + failed[0], ranges[1] + splits[1] + failed[1], ranges[2] + splits[2]
