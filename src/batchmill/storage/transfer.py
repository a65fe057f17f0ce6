"""Moving many whole files between this machine and a place: concurrent, each file atomic, what is there already skipped.

A transfer that was interrupted is repeated: it goes on with what is missing. No half file is ever seen under its name: a put is atomic,
and a download gets its name when it is complete.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from batchmill.errors import DiskFullError, ItemChangedError, OutputError, ReadError, StoreError, UsageError
from batchmill.storage.crew import Crew
from batchmill.storage.location import Location
from batchmill.storage.object_store import RETRY_TIMEOUT, store_for
from batchmill.storage.store_errors import item_error, store_error
from batchmill.storage.upload import PART, OutputFolder

THREADS = 16
LOCAL_THREADS = 4
LARGE_AT_ONCE = 2
"""Files in parts on their way to a store; each sends several parts at a time, of several megabytes each."""
FEW = 64
MOST_KNOWN = 100_000
STREAM_CHUNK = 1024 * 1024
PARTIAL = ".batchmill-part"


@dataclass(frozen=True, slots=True)
class StoreFile:
    """One file of a transfer: ``name`` relative to the place, ``path`` on this machine, ``size`` in bytes."""

    name: str
    path: str
    size: int


@dataclass(slots=True)
class Moved:
    """What a transfer did so far; ``size`` are the bytes moved, ``skipped`` files were there already."""

    files: int = 0
    size: int = 0
    skipped: int = 0

    def add(self, size: int | None) -> None:
        """Count a file of ``size`` bytes, or with None one that was skipped."""
        if size is None:
            self.skipped += 1
        else:
            self.files += 1
            self.size += size


@dataclass(slots=True)
class Transfer:
    """How files are moved to or from ``place``; ``tell`` is called after each file, in the calling thread.

    With ``ignore_missing`` files that are not there (any more) count as skipped.
    """

    place: Location
    overwrite: bool = False
    retry_timeout: float = RETRY_TIMEOUT
    tell: Callable[[Moved], None] | None = None
    ignore_missing: bool = False
    moved: Moved = field(default_factory=Moved)

    def send(self, files: Iterable[StoreFile]) -> Moved:
        """Upload files; returns what was done.

        Raises:
            StoreError: the place is unreachable, unknown or refuses.
            OutputError: the local place cannot be written to.
            UsageError: one of the files cannot be read.
        """
        waiting = iter(files)
        first = list(itertools.islice(waiting, FEW + 1))
        stream = itertools.chain(first, waiting)
        if not self.place.remote:
            return self._work(stream, _LocalSender(self), LOCAL_THREADS)
        return self._work(stream, _Sender(self, few=len(first) <= FEW), THREADS)

    def fetch(self, files: Iterable[StoreFile]) -> Moved:
        """Download files; returns what was done.

        Raises:
            ReadError: one of them cannot be read (ItemChangedError: it vanished).
            DiskFullError: there is no room on the disk.
            UsageError: one of them cannot be written here.
        """
        return self._work(files, _Fetcher(self), THREADS if self.place.remote else LOCAL_THREADS)

    def _work(self, files: Iterable[StoreFile], action: _Action, threads: int) -> Moved:
        crew = Crew(threads)
        action.stopped = crew.stopped

        def done(size: int | None) -> None:
            self.moved.add(size)
            if self.tell is not None:
                self.tell(self.moved)

        try:
            crew.work(files, action, done)
        finally:
            action.close()
        return self.moved


class _Action:
    """What is done to each file: returns its size, or None when it was skipped."""

    stopped: threading.Event

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._place = transfer.place

    def __call__(self, file: StoreFile) -> int | None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind that is not complete."""


class _Sender(_Action):
    """To an object store. What is there is found by one listing, or asked for one by one where files are few or objects too many."""

    def __init__(self, transfer: Transfer, *, few: bool) -> None:
        super().__init__(transfer)
        self._folder = OutputFolder(self._place, transfer.retry_timeout)
        self._store: Any = store_for(self._place, transfer.retry_timeout, upload=True)
        self._known = set() if transfer.overwrite or few else self._listed()
        self._large = threading.Semaphore(LARGE_AT_ONCE)
        self._asks = not transfer.overwrite and (few or self._known is None)

    def _listed(self) -> set[str] | None:
        """The names below the place, None when there are too many."""
        known: set[str] = set()
        skip = len(self._place.prefix) + 1 if self._place.prefix else 0
        try:
            for page in store_for(self._place, self._transfer.retry_timeout).list(self._place.prefix or None, chunk_size=1000):
                known.update(meta["path"][skip:] for meta in page)
                if len(known) > MOST_KNOWN:
                    return None
        except Exception as error:
            raise store_error(error, self._place, "list") from None
        return known

    def __call__(self, file: StoreFile) -> int | None:
        if self._known is not None and file.name in self._known:
            return None
        if self._asks and self._folder.exists(file.name):
            return None
        if file.size > PART:
            with self._large, _readable(file):
                return self._folder.publish(file.path, file.name)
        with _readable(file), open(file.path, "rb") as opened:
            body = opened.read()
        try:
            self._store.put(self._place.key(file.name), body, use_multipart=False)
        except Exception as error:
            raise store_error(error, self._place, f"write {file.name} in") from None
        return len(body)


class _readable:
    """Errors of a local file, told as such; those of the store pass."""

    def __init__(self, file: StoreFile) -> None:
        self._path = file.path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            raise UsageError(f"File {self._path} cannot be read: {error.strerror}.", cure="Check the file, then upload again.") from None


class _Parts(_Action):
    """Files that are written beside their place under a name of their own, and renamed when they are complete."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        self._lock = threading.Lock()
        self._open: set[str] = set()
        self._numbers = itertools.count()

    def _part(self, path: str) -> str:
        folder = os.path.dirname(path)
        part = os.path.join(folder, f"{PARTIAL}-{os.getpid()}-{next(self._numbers)}")
        with self._lock:
            if self.stopped.is_set():
                raise InterruptedError
            os.makedirs(folder, exist_ok=True)
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            self._open.add(part)
        return part

    def _finish(self, part: str, path: str) -> None:
        with self._lock:
            if self.stopped.is_set():
                raise InterruptedError
            os.replace(part, path)
            self._open.discard(part)

    def _drop(self, part: str) -> None:
        with self._lock, suppress(OSError):
            self._open.discard(part)
            os.unlink(part)

    def close(self) -> None:
        with self._lock:
            left, self._open = self._open, set()
        for part in left:
            with suppress(OSError):
                os.unlink(part)


class _LocalSender(_Parts):
    """To a folder of this machine."""

    def __call__(self, file: StoreFile) -> int | None:
        target = os.path.join(self._place.path, file.name)
        if not self._transfer.overwrite and os.path.lexists(target):
            return None
        with _readable(file), open(file.path, "rb") as source:
            try:
                return self._copy(source, target)
            except InterruptedError:
                return None
            except OSError as error:
                raise _unwritable(error, target) from None

    def _copy(self, source: Any, target: str) -> int:
        part = self._part(target)
        try:
            with open(part, "wb") as copy:
                shutil.copyfileobj(source, copy, STREAM_CHUNK)
                size = copy.tell()
            self._finish(part, target)
        except BaseException:
            self._drop(part)
            raise
        return size


class _Fetcher(_Parts):
    """From an object store or a folder of this machine."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        self._store: Any = store_for(self._place, transfer.retry_timeout) if self._place.remote else None

    def __call__(self, file: StoreFile) -> int | None:
        if not self._transfer.overwrite and os.path.lexists(file.path):
            return None
        if {"..", ".", ""} & set(file.name.split("/")):
            raise StoreError(f"Cannot download {file.name} from {self._place}: its name does not fit into a local folder.")
        try:
            return self._write(file)
        except InterruptedError:
            return None
        except ItemChangedError:
            if self._transfer.ignore_missing:
                return None
            raise
        except OSError as error:
            if error.errno is None:  # obstore raises a FileNotFoundError of its own, without a number
                raise item_error(error, self._place, file.name) from None
            raise _unwritable(error, file.path) from None

    def _write(self, file: StoreFile) -> int:
        chunks = self._chunks(file)
        part = self._part(file.path)
        size = 0
        try:
            with open(part, "wb", buffering=0) as copy:
                for chunk in chunks:
                    if self.stopped.is_set():
                        raise InterruptedError
                    size += len(chunk)
                    _write_all(copy, chunk)
            self._finish(part, file.path)
        except BaseException:
            self._drop(part)
            raise
        return size

    def _chunks(self, file: StoreFile) -> Iterator[Any]:
        """The content, asked for at once and handed out piece by piece; errors are the file's."""
        if self._store is None:
            return _local_chunks(os.path.join(self._place.path, file.name))
        try:
            answer = self._store.get(self._place.key(file.name))
            expected = answer.meta["size"]
            pieces = [answer.bytes()] if file.size <= STREAM_CHUNK else answer.stream(min_chunk_size=STREAM_CHUNK)
        except Exception as error:
            raise item_error(error, self._place, file.name) from None
        return self._guarded(file, pieces, expected)

    def _guarded(self, file: StoreFile, pieces: Iterable[Any], expected: int) -> Iterator[Any]:
        size = 0
        waiting = iter(pieces)
        while True:
            try:
                piece = next(waiting, None)
            except Exception as error:
                raise item_error(error, self._place, file.name) from None
            if piece is None:
                break
            size += len(piece)
            yield piece
        if size != expected:
            raise ReadError(f"Cannot read {self._place.base}/{file.name}: it arrived incomplete.", cure="Download it again.")


def _local_chunks(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as source:
            while chunk := source.read(STREAM_CHUNK):
                yield chunk
    except FileNotFoundError:
        raise ItemChangedError(f"Cannot read {path}: it vanished.") from None
    except OSError as error:
        raise ReadError(f"Cannot read {path}: {error.strerror}.", cure="Check the file, then try again.") from None


def _write_all(file: Any, chunk: Any) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _unwritable(error: OSError, path: str) -> OutputError | DiskFullError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"No space is left for {path}.", cure="Make room, then do it again: what is there is not copied twice.")
    cure = "Check the folder and its rights."
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        cure = "A file and a folder would have one name: move one of them away, or choose another folder."
    return OutputError(f"Cannot write {path}: {error.strerror}.", cure=cure)
