"""A shared store in a folder: each object is a file, written under a hidden name, synced, then renamed or linked to its own."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchmill.errors import BatchmillError, DiskFullError, ObjectMissingError, StoreError
from batchmill.storage.files import FULL, fsync_folder
from batchmill.storage.shared_store import Entry, Writer

BUFFER = 8 << 20
UNFINISHED = ".batchmill-new-"
"""What the hidden names of unfinished files begin with."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class FolderStore:
    """See `SharedStore`. The folder need not be there yet."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.place = os.path.abspath(place)

    def put(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write, sync, rename, sync the folder."""
        with self.writer(name, durable=durable) as file:
            file.write(data)

    def create(self, name: str, data: bytes) -> bool:
        """Write, sync, link, sync the folder: of several who do it at once, the link is made by one."""
        target = self._path(name)
        with self._guard("write", target):
            temporary = self._unfinished(target)
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                    _sync(file)
                created = _link(temporary, target)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
            fsync_folder(os.path.dirname(target))
        return created

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file."""
        path = self._path(name)
        with self._guard("read", path), open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            wanted = max(0, size - offset if length is None else min(length, size - offset))
            data = os.pread(file.fileno(), wanted, offset) if wanted else b""
            while len(data) < wanted and (more := os.pread(file.fileno(), wanted - len(data), offset + len(data))):
                data += more
            return data

    def put_file(self, name: str, path: Path, *, durable: bool = True) -> None:
        """Copy a file here."""
        with open(path, "rb") as source, self.writer(name, durable=durable) as target:
            shutil.copyfileobj(source, target, BUFFER)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file from here."""
        origin = self._path(name)
        with self._guard("read", origin), open(origin, "rb") as source, _appearing(os.fspath(path), durable=True) as target:
            shutil.copyfileobj(source, target, BUFFER)

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """One folder at a time is in memory."""
        prefix = prefix.strip("/")
        yield from self._walk(self._path(prefix) if prefix else self.place, f"{prefix}/" if prefix else "", os.fsencode(after or ""))

    def _walk(self, folder: str, before: str, after: bytes) -> Iterator[Entry]:
        with self._guard("list", folder):
            try:
                with os.scandir(folder) as entries:
                    found = [(one.name + "/" if one.is_dir(follow_symlinks=False) else one.name) for one in entries]
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in sorted(found, key=os.fsencode):
            whole = os.fsencode(before + name)
            if name.endswith("/"):
                if whole > after or after.startswith(whole):
                    yield from self._walk(os.path.join(folder, name[:-1]), before + name, after)
            elif whole > after and not name.startswith(UNFINISHED):
                with suppress(FileNotFoundError):
                    facts = os.stat(os.path.join(folder, name))
                    yield Entry(before + name, facts.st_size, str(facts.st_mtime_ns))

    def delete(self, name: str) -> None:
        """Remove a file."""
        path = self._path(name)
        with self._guard("delete", path), suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)

    def clear(self, prefix: str) -> None:
        """Remove a folder with all that is in it."""
        prefix = prefix.strip("/")
        folder = self._path(prefix) if prefix else self.place
        with self._guard("delete", folder), suppress(FileNotFoundError):
            shutil.rmtree(folder)

    @contextmanager
    def writer(self, name: str, size: int | None = None, growing: str | None = None, *, durable: bool = True) -> Iterator[Writer]:
        """Write under a hidden name (or as ``growing``, in the same folder), sync, rename, sync the folder."""
        target = self._path(name)
        with self._guard("write", target):
            temporary = self._unfinished(target) if growing is None else os.path.join(self._folder_of(target), growing)
            with _appearing(target, temporary, durable=durable) as file:
                yield file
            if durable:
                fsync_folder(os.path.dirname(target))

    def below(self, folder: str) -> FolderStore:
        """The store of a folder in this one."""
        return FolderStore(self._path(folder))

    # ---------------------------------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        parts = name.strip("/").split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in name:
            raise StoreError(f"'{name}' cannot be the name of an object in {self.place}.")
        return os.path.join(self.place, *parts)

    def _folder_of(self, path: str) -> str:
        folder = os.path.dirname(path)
        _make_folder(folder)
        return folder

    def _unfinished(self, target: str) -> str:
        return os.path.join(self._folder_of(target), f"{UNFINISHED}{uuid.uuid4().hex}")

    @contextmanager
    def _guard(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except BatchmillError:
            raise
        except OSError as error:
            if error.errno in FULL:
                raise DiskFullError(f"No space is left for {path}.", cure="Free some space, then batchmill resume.") from error
            if error.errno is None:
                raise
            if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError) and action == "read":
                raise ObjectMissingError(f"Cannot read {path}: there is no such file.", word="missing") from None
            raise StoreError(f"Cannot {action} {path}: {error.strerror}.", cure="Check the folder.", word="other") from error


def _make_folder(folder: str) -> None:
    """Make a folder and those around it, their names durable."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    _make_folder(parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    fsync_folder(parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _link(temporary: str, target: str) -> bool:
    try:
        os.link(temporary, target)
    except FileExistsError:
        # Over NFS the answer to a link that was made can be lost; the repeated request then finds its own work.
        return os.stat(temporary).st_ino == os.stat(target).st_ino
    except OSError as error:
        if error.errno in NO_LINKS:
            raise StoreError(
                f"Cannot write {target}: its file system has no hard links, so it cannot keep two writers apart.",
                cure="Choose another folder for --output, or a URL.",
            ) from None
        raise
    return True


@contextmanager
def _appearing(target: str, temporary: str | None = None, *, durable: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends, synced where it is to be durable; after an error it is gone."""
    temporary = temporary or os.path.join(os.path.dirname(target), f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                _sync(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
