"""Where a worker gets the items of a mini-batch from: files are named, tables are read one slice ahead."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Optional, Sequence

from batchmill.worker.plan_file import PlanFile

Unreadable = tuple[int, str, str]
"""Position in the mini-batch, error class, message."""

Known = dict[str, Sequence[str]]
"""Items that the node could not fetch: position in the mini-batch -> error class, message."""


class Slice:
    """What one call of run() gets, and what is known about the items it holds.

    ``items`` counts all items of the slice; ``given`` those that could be read and are handed to run().
    """

    __slots__ = ("dropped", "first", "given", "items", "keys", "name", "nulled", "paths", "unreadable", "value")

    def __init__(
        self,
        value: Any,
        items: int,
        first: int,
        unreadable: list[Unreadable],
        paths: list[str],
        name: Callable[[int], str],
        keys: Optional[dict[str, Any]] = None,
    ) -> None:
        self.value = value
        self.items = items
        self.first = first
        self.given = items - len(unreadable)
        self.unreadable = unreadable
        self.paths = paths
        self.name = name
        self.keys = keys
        self.nulled = 0
        """Cells that did not fit their column's type and were made null (``--unparsable null``)."""
        self.dropped = 0
        """Lines of text that are no rows and were left out (``invalid_lines="drop"``)."""


class FileSource:
    """Files: run() gets their absolute paths. Nothing is opened, but a file that is no longer the planned one is held back.

    ``unchecked``: size and time are not compared (the node has checked what it fetched; a replay takes files as they are now).
    """

    def __init__(self, plan: PlanFile, *, unchecked: bool) -> None:
        self._plan = plan
        self._keyed = bool(plan.header.get("partition_keys"))
        self._unchecked = unchecked

    def read(self, mini_batch: int, first: int = 0, count: Optional[int] = None, known: Optional[Known] = None) -> Slice:
        listed = self._plan.paths(mini_batch, first, count)
        unreadable: list[Unreadable] = []
        paths = []
        stat = os.stat
        for position, (path, size, mtime_ns) in enumerate(listed, first):
            if known and str(position) in known:
                error_class, message = known[str(position)]
                unreadable.append((position, error_class, message))
                continue
            try:
                status = stat(path)
            except OSError as error:
                unreadable.append(
                    (
                        position,
                        "ItemChangedError",
                        f"It cannot be read any more: {error.strerror}. It vanished after the plan was made.",
                    )
                )
                continue
            if not self._unchecked and (status.st_size != size or status.st_mtime_ns != mtime_ns):
                unreadable.append(
                    (
                        position,
                        "ItemChangedError",
                        f"It changed after the plan was made: {size} bytes then, {status.st_size} now. Run again to score it.",
                    )
                )
                continue
            paths.append(path)
        keys = self._plan.mini_batch(mini_batch).keys if self._keyed else None

        def name(position: int) -> str:
            return listed[position - first][0]

        return Slice(paths, len(listed), first, unreadable, paths, name, keys)

    def ahead(self, mini_batch: int) -> None:
        """Nothing to read ahead: files are opened by the script."""


class RankSource:
    """No input: run() gets the number of the mini-batch (Azure ML: ``--rank_mini_batch_count``)."""

    def read(self, mini_batch: int, first: int = 0, count: Optional[int] = None, known: Optional[Known] = None) -> Slice:
        return Slice(mini_batch, 1, 0, [], [], lambda position: f"rank {mini_batch}")

    def ahead(self, mini_batch: int) -> None:
        """Nothing to read ahead."""


class TableSource:
    """Tables: run() gets a DataFrame. While run() computes, a thread reads the next slice of the lease."""

    def __init__(
        self, plan: PlanFile, began: Callable[[int], None], ended: Callable[[], None], thread_started: Callable[[int], None]
    ) -> None:
        from batchmill.data.tables_reader import TablesReader

        self._plan = plan
        self._reader = TablesReader(plan.header["table"], plan.folder)
        self._began = began
        self._ended = ended
        self._thread_started = thread_started
        self._last: Optional[tuple[int, Any]] = None
        self._ahead: Optional[_ReadAhead] = None
        self._mapped = self._reader.mapped

    def read(self, mini_batch: int, first: int = 0, count: Optional[int] = None, known: Optional[Known] = None) -> Slice:
        if known:
            from batchmill.errors import ReadError

            raise ReadError(next(iter(known.values()))[1])
        plan = self._plan.mini_batch(mini_batch)
        table = self._table(mini_batch)
        frame = table.frame(first, count)
        whole = table.rows if count is None else count
        failed = [entry for entry in table.failed if first <= entry[0] < first + whole]
        paths = [self._plan.item(n).path for n in plan.items]
        part = Slice(frame, whole, first, failed, paths, table.describe, plan.keys)
        if count is None:
            part.nulled, part.dropped = table.nulled, table.dropped
        return part

    def _table(self, mini_batch: int) -> Any:
        if self._last is not None and self._last[0] == mini_batch:
            return self._last[1]
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.join()
            if ahead.mini_batch == mini_batch:
                table = ahead.result()
                self._last = (mini_batch, table)
                return table
        self._last = None
        self._began(mini_batch)
        try:
            table = self._read_now(mini_batch)
        finally:
            self._ended()
        self._last = (mini_batch, table)
        return table

    def _read_now(self, mini_batch: int) -> Any:
        return self._reader.read(self._plan.mini_batch(mini_batch), self._plan.item)

    def ahead(self, mini_batch: int) -> None:
        """Begin to read a mini-batch that will be asked for next (a mapped one is there: a thread would take longer)."""
        if self._ahead is None and not self._mapped:
            self._ahead = _ReadAhead(mini_batch, self._read_now, self._began, self._ended, self._thread_started)
            self._ahead.start()


class _ReadAhead(threading.Thread):
    def __init__(
        self,
        mini_batch: int,
        read: Callable[[int], Any],
        began: Callable[[int], None],
        ended: Callable[[], None],
        started: Callable[[int], None],
    ) -> None:
        super().__init__(name="batchmill-reader", daemon=True)
        self.mini_batch = mini_batch
        self._read, self._began, self._ended, self._started_in = read, began, ended, started
        self._value: Any = None
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        self._started_in(threading.get_ident())
        self._began(self.mini_batch)
        try:
            self._value = self._read(self.mini_batch)
        except BaseException as error:
            self._error = error
        finally:
            self._ended()

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value
