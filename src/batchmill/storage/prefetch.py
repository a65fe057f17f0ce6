"""Fetching the items of remote inputs into a bounded folder on this machine, ahead of the workers that read them."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import stat
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from batchmill.errors import BatchmillError, DiskFullError
from batchmill.storage.fetch import PlannedItem, Source
from batchmill.storage.object_store import RETRY_TIMEOUT

BLOCK = 4096
CLOSE_BOUND = 0.5


class PlannedMiniBatch(Protocol):
    """What the prefetcher reads of a mini-batch of a plan."""

    items: Sequence[int]


class Plan(Protocol):
    """The part of a plan that the prefetcher needs."""

    header: dict[str, Any]

    def item(self, number: int, /) -> PlannedItem: ...
    def mini_batch(self, index: int, /) -> PlannedMiniBatch: ...


class Failure(str):
    """Why an item could not be fetched: the message, and the class of the error in ``error_class``."""

    __slots__ = ("error_class",)
    error_class: str

    @classmethod
    def of(cls, error: BatchmillError) -> Failure:
        failure = cls(error)
        failure.error_class = type(error).__name__
        return failure


class State(Enum):
    """Where a cached item stands."""

    NEW = 0
    QUEUED = 1
    HERE = 2
    FAILED = 3


class _Entry:
    """One item that some wanted mini-batch needs, or that still lies in the cache."""

    __slots__ = ("cost", "failure", "item", "number", "refs", "state", "waiters")

    def __init__(self, number: int, item: PlannedItem) -> None:
        self.number = number
        self.item = item
        self.cost = max(1, -(-item.size // BLOCK)) * BLOCK
        self.refs = 0
        self.state = State.NEW
        self.failure: Failure | None = None
        self.waiters: list[tuple[_Batch, int]] = []


class _Batch:
    """One wanted mini-batch."""

    __slots__ = ("dropped", "entries", "failures", "index", "pending")

    def __init__(self, index: int) -> None:
        self.index = index
        self.entries: list[tuple[int, _Entry]] = []
        self.failures: dict[int, str] = {}
        self.pending = 0
        self.dropped = False


class Prefetcher:
    """Keeps the items of the wanted mini-batches in ``cache_folder/<input>/<relative path>``.

    Items are fetched in the order of the wants, by ``threads`` threads, and never take more than ``max_bytes`` (in blocks of 4 KiB),
    except that one mini-batch is always let in. An item shared by mini-batches is fetched once; one that nobody needs any more stays
    until its room is wanted. ``wake`` is called, from any thread, when `ready` has something to tell.
    ``as_now`` takes objects that have changed since the plan as they are now, whatever their size.
    All methods may be called from any thread, and none waits for the network.
    """

    def __init__(
        self,
        plan: Plan,
        cache_folder: str | os.PathLike[str],
        max_bytes: int,
        retry_timeout: float = RETRY_TIMEOUT,
        threads: int = 16,
        wake: Callable[[], None] | None = None,
        *,
        as_now: bool = False,
    ) -> None:
        self._plan, self._folder, self._max, self._wake = plan, os.fspath(cache_folder), max_bytes, wake
        self._sources = [
            Source(i, entry, self._folder, retry_timeout, self._is_closed, as_now=as_now) for i, entry in enumerate(plan.header["inputs"])
        ]
        self._clear()  # what a killed run left
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._lock = threading.Lock()
        self._wanted: deque[range] = deque()
        self._skipped: set[int] = set()
        self._head: _Batch | None = None
        self._live: dict[int, _Batch] = {}
        self._entries: dict[int, _Entry] = {}
        self._idle: OrderedDict[int, _Entry] = OrderedDict()
        self._used = 0
        self._ready: list[tuple[int, dict[int, str]]] = []
        self._fatal: DiskFullError | None = None
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._closed = False
        self._thread_count, self._threads = threads, list[threading.Thread]()

    @property
    def bytes_used(self) -> int:
        """What the cached items and those on their way take on disk, in bytes."""
        return self._used

    def want(self, first: int, count: int = 1) -> None:
        """Fetch the items of ``count`` mini-batches from ``first``, after all that was wanted before."""
        with self._lock:
            if self._closed:
                return
            wanted = range(first, first + count)
            self._skipped = {index for index in self._skipped if index not in wanted}
            self._wanted.append(wanted)
            tell = self._admit()
        self._tell(tell)

    def ready(self) -> list[tuple[int, dict[int, str]]]:
        """Mini-batches that became complete since the last call, each with the items that failed: position -> `Failure`.

        Raises:
            DiskFullError: the cache's disk is full.
        """
        with self._lock:
            if self._fatal is not None:
                raise self._fatal
            ready, self._ready = self._ready, []
        return ready

    def done(self, mini_batch: int) -> None:
        """The items of a mini-batch are needed no more (or, before it was ready, not at all)."""
        with self._lock:
            if self._closed:
                return
            batch = self._live.pop(mini_batch, None)
            if batch is None and self._head is not None and self._head.index == mini_batch:
                batch, self._head = self._head, None
            if batch is not None:
                self._drop(batch)
            elif any(mini_batch in wanted for wanted in self._wanted):
                self._skipped.add(mini_batch)
            tell = self._admit()
        self._tell(tell)

    def close(self) -> None:
        """End the threads and empty the cache.

        Returns within a second: a thread that waits for a store that hangs is left behind; it touches nothing any more and ends with
        its request, within the retry timeout, or with the process.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + CLOSE_BOUND
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._clear()

    def _clear(self) -> None:
        """Remove our own folders, and nothing else that may lie beside them."""
        for source in self._sources:
            if source.remote:
                shutil.rmtree(source.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)

    # --- what is let in; the lock is held ---------------------------------------------------------------------------------------

    def _admit(self) -> bool:
        """Let in as many wanted mini-batches as there is room for; True when the first one became ready."""
        silent = not self._ready
        while self._head is not None or self._wanted:
            if self._head is None:
                self._head = self._next_batch()
                continue
            batch = self._head
            need = sum(entry.cost for _, entry in batch.entries if entry.state is State.NEW)
            while self._used + need > self._max and self._idle:
                self._evict()
            if self._used + need > self._max and self._live:
                break
            self._head = None
            self._live[batch.index] = batch
            self._start(batch)
        return silent and bool(self._ready)

    def _next_batch(self) -> _Batch | None:
        """The next wanted mini-batch, its items held; None when it needs no admission."""
        wanted = self._wanted[0]
        if len(wanted) > 1:
            self._wanted[0] = wanted[1:]
        else:
            self._wanted.popleft()
        index = wanted[0]
        if index in self._skipped:
            self._skipped.discard(index)
            return None
        known = self._live.get(index)
        if known is not None:
            if not known.pending:
                self._ready.append((index, known.failures))
            return None
        batch = _Batch(index)
        for position, number in enumerate(self._plan.mini_batch(index).items):
            entry = self._entries.get(number)
            if entry is None:
                item = self._plan.item(number)
                if not self._sources[item.input].remote:
                    continue
                entry = self._entries[number] = _Entry(number, item)
            entry.refs += 1
            self._idle.pop(number, None)
            batch.entries.append((position, entry))
        return batch

    def _start(self, batch: _Batch) -> None:
        for position, entry in batch.entries:
            if entry.state is State.NEW:
                entry.state = State.QUEUED
                self._used += entry.cost
                self._queue.put(entry)
            if entry.state is State.QUEUED:
                entry.waiters.append((batch, position))
                batch.pending += 1
            elif entry.failure is not None:
                batch.failures[position] = entry.failure
        if not batch.pending:
            self._ready.append((batch.index, batch.failures))
        elif len(self._threads) < self._thread_count:
            self._start_threads(batch.pending)

    def _start_threads(self, useful: int) -> None:
        for _ in range(min(useful, self._thread_count - len(self._threads))):
            thread = threading.Thread(target=self._work, name=f"batchmill-prefetch-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _drop(self, batch: _Batch) -> None:
        batch.dropped = True
        for _, entry in batch.entries:
            entry.refs -= 1
            if not entry.refs and entry.state is not State.QUEUED:  # one in the queue or under way is settled by its thread
                self._retire(entry)

    def _evict(self) -> None:
        number, entry = self._idle.popitem(last=False)
        del self._entries[number]
        self._used -= entry.cost
        try:
            os.unlink(self._sources[entry.item.input].path(entry.item.name))
        except FileNotFoundError:
            pass  # a script may have moved or removed its own input
        except OSError:
            self._used += entry.cost  # still there, and no longer ours to use

    # --- what the threads do ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None and not self._closed:
            failure: Failure | None = None
            needed = entry.refs > 0
            if needed:
                try:
                    self._sources[entry.item.input].fetch(entry.item)
                except BatchmillError as error:
                    failure = Failure.of(error)
                    if isinstance(error, DiskFullError):
                        self._fatal = error
            self._tell(self._settle(entry, needed, failure))

    def _is_closed(self) -> bool:
        return self._closed

    def _settle(self, entry: _Entry, fetched: bool, failure: Failure | None) -> bool:
        """Note how a fetch ended, or that it was not needed; True when somebody must be told."""
        with self._lock:
            if self._closed:
                return False
            if not fetched and entry.refs:  # wanted again after its thread had looked
                self._queue.put(entry)
                return False
            silent = not self._ready
            entry.state = State.HERE if fetched and failure is None else State.FAILED
            entry.failure = failure
            waiters, entry.waiters = entry.waiters, []
            for batch, position in waiters:
                batch.pending -= 1
                if failure is not None:
                    batch.failures[position] = failure
                if not batch.pending and not batch.dropped:
                    self._ready.append((batch.index, batch.failures))
            if entry.state is State.FAILED:
                self._used -= entry.cost
            if not entry.refs:
                self._retire(entry)
            if entry.state is State.FAILED or not entry.refs:
                self._admit()
            return (silent and bool(self._ready)) or self._fatal is not None

    def _retire(self, entry: _Entry) -> None:
        """Nobody needs this item any more, whether it is here or not."""
        if entry.state is State.HERE:
            self._idle[entry.number] = entry
        else:
            del self._entries[entry.number]

    def _tell(self, needed: bool) -> None:
        if needed and self._wake is not None:
            self._wake()


def choose_cache_folder(name: str, max_bytes: int, on_disk: str | os.PathLike[str], memory: str = "/dev/shm") -> str:
    """A folder for `Prefetcher`: in memory where ``max_bytes`` are a small part of it, else ``on_disk``.

    Small files in memory cost 8 µs; on ext4 25 µs, and up to 500 µs where many were deleted in the last minutes, as a cache does.
    ``name`` tells the runs of a machine apart and stays the same when a run is resumed, so that what a killed run left is found again.
    """
    try:
        state = os.statvfs(memory)
    except OSError:
        return os.fspath(on_disk)
    room = state.f_bavail * state.f_frsize
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if room < 2 * max_bytes or physical < 20 * max_bytes or not os.access(memory, os.W_OK | os.X_OK):
        return os.fspath(on_disk)
    folder = os.path.join(memory, f"batchmill-{os.getuid()}-{name}")
    return folder if _ours_or_nobodys(folder) else os.fspath(on_disk)


def _ours_or_nobodys(folder: str) -> bool:
    """False where another user has made that folder, or put a link in its place: everybody may write to the memory file system."""
    try:
        found = os.lstat(folder)
    except OSError:
        return True
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
