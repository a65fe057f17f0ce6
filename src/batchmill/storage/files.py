"""Files and bytes: reading from anywhere, and writing so that a crash leaves the old or the new, never half."""

from __future__ import annotations

import errno
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from batchmill.storage.location import SCHEME, Location, parse_location

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FIRST_READ = 256 * 1024
LARGEST_READ = 8 * 1024 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)
SYNCED_AT_ONCE = 8
NEARLY_NOTHING = 64 * 1024


def open_binary(path: str | os.PathLike[str], *, etag: str | None = None, retry_timeout: float = 20.0) -> BinaryIO:
    """Open a local file or the object of a URL for reading; seekable and buffered.

    An object is read in ranges that grow while it is read in sequence. With ``etag``, or once opened, a change shows as ItemChangedError.

    Raises:
        ReadError: the object cannot be read (ItemChangedError: it vanished or changed). Local files raise OSError.
    """
    text = os.fspath(path)
    if SCHEME.match(text) is None:
        return open(text, "rb")
    location = parse_location(text)
    if not location.remote:
        return open(location.path, "rb")
    key = location.prefix if location.pattern is None else location.key(location.pattern)  # a key may hold glob characters
    raw = ObjectReader(location, key, etag, retry_timeout)
    return cast(BinaryIO, io.BufferedReader(raw, 64 * 1024))


class ObjectReader(io.RawIOBase):
    """One object as a seekable raw stream of ranged reads."""

    def __init__(self, location: Location, key: str, etag: str | None, retry_timeout: float) -> None:
        from batchmill.storage.object_store import store_for

        super().__init__()
        self._location, self._key = location.top, key
        self._store: ObjectStore = store_for(location.top, retry_timeout)
        meta = self._guard(lambda: self._store.head(key))
        self.size: int = meta["size"]
        self._options: dict[str, Any] = {"if_match": etag or meta["e_tag"]} if etag or meta["e_tag"] else {}
        self._position = 0
        self._block: Any = b""
        self._block_start = 0
        self._ahead = FIRST_READ

    def _guard(self, ask: Any) -> Any:
        from batchmill.storage.store_errors import item_error

        try:
            return ask()
        except Exception as error:
            raise item_error(error, self._location, self._key) from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if not view or self._position >= self.size:
            return 0
        offset = self._position - self._block_start
        if not 0 <= offset < len(self._block):
            self._fetch(len(view))
            offset = 0
        count = min(len(view), len(self._block) - offset)
        view[:count] = memoryview(self._block)[offset : offset + count]
        self._position += count
        return count

    def _fetch(self, wanted: int) -> None:
        in_sequence = self._position == self._block_start + len(self._block)
        self._ahead = min(self._ahead * 2, LARGEST_READ) if in_sequence and self._block else FIRST_READ
        stop = min(self.size, self._position + max(wanted, self._ahead))
        options = {**self._options, "range": (self._position, stop)}
        self._block = self._guard(lambda: self._store.get(self._key, options=cast(Any, options)).bytes())
        self._block_start = self._position

    def close(self) -> None:
        self._block = b""
        super().close()


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Replace a file so that after any crash it holds the old content or all of the new; threads and processes may do it at once."""
    target = os.fspath(path)
    folder = os.path.dirname(target) or "."
    temporary = f"{target}.{os.getpid()}.{threading.get_ident()}.tmp"
    body = data.encode() if isinstance(data, str) else data
    try:
        with open(temporary, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    fsync_folder(folder)


def fsync_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable: a synced file can still be nameless after a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: str | os.PathLike[str]) -> None:
    """Make all files below a folder durable, and the names of all of them."""

    def sync(path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    files: list[str] = []
    folders: list[str] = []
    for at, _, names in os.walk(folder):
        files.extend(os.path.join(at, name) for name in names)
        folders.append(at)
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as threads:
        for _ in threads.map(sync, files):
            pass
        for _ in threads.map(fsync_folder, folders):
            pass


def disk_is_full(error: BaseException, folder: str | os.PathLike[str]) -> bool:
    """True when ``error``, or what caused it, comes of a full disk (or quota, or used-up inodes) under ``folder``.

    Libraries lose the error number (SQLite says "disk I/O error" or "database or disk is full"), so the disk itself is asked too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        of_files = isinstance(seen, OSError) or type(seen).__module__ == "sqlite3"
        if of_files and ("disk is full" in str(seen) or _nothing_left(folder)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _nothing_left(folder: str | os.PathLike[str]) -> bool:
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < NEARLY_NOTHING or (state.f_files > 0 and state.f_favail == 0)
