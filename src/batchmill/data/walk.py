"""A folder walk in the byte order of the relative paths, streamed, with size and mtime, without an object kept per file.

A folder sorts as ``name/``, so a depth-first walk of sorted names yields the order of whole paths. Names are sorted as bytes and
statted relative to their open folder, which costs the kernel one path component per file.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Iterator
from itertools import islice

from batchmill.data.globs import Glob, States
from batchmill.data.sorted_spill import MOST_NAMES, SortedSpill
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk

CHUNK = 16_384
SLASH = ord("/")
DOT = ord(".")
PROOF = b".batchmill-seen-"
"""How the names of files begin that runs on clusters put into folders for a while, to see whether others see them (path proofs)."""
READABLE_FILE = stat.S_IFREG | 0o444
TYPE_AND_READ = stat.S_IFMT(0o177777) | 0o444


class _Folder:
    """A folder on the way from the root to where the walk is."""

    __slots__ = ("identity", "path", "prefix", "runs", "spill", "states")

    def __init__(self, path: bytes, prefix: bytes, states: States, identity: tuple[int, int]) -> None:
        self.path = path
        self.prefix = prefix
        self.states = states
        self.identity = identity
        self.spill: SortedSpill
        self.runs: Iterator[list[bytes] | bytes]


class FolderWalk:
    """The files below ``root``.

    * Names that begin with a dot are skipped, files and folders, unless ``include_hidden``. Proofs of paths (`PROOF`) are no input ever.
    * Links to files are files. Links to folders are entered, except those that lead back to a folder the walk is inside of
      (its files are already in the listing under their shorter path).
    * Sockets, pipes and devices are no files and are skipped; a link to nothing, an unreadable file or folder is an error.
    * What vanishes while the walk looks at it was not there.

    A folder with more than ``most_names`` names is sorted through files in ``scratch``.
    """

    def __init__(
        self,
        root: bytes,
        *,
        include_hidden: bool = False,
        glob: Glob | None = None,
        scratch: str | None = None,
        most_names: int = MOST_NAMES,
    ) -> None:
        self._root = root if root.endswith(b"/") else root + b"/"
        self._include_hidden = include_hidden or glob is not None  # a glob has its own rule for hidden names
        self._glob = glob
        self._scratch = scratch
        self._most_names = most_names
        self._stack: list[_Folder] = []

    def chunks(self) -> Iterator[Chunk]:
        """The files in order.

        Raises:
            InputError: something cannot be read.
        """
        try:
            self._enter(self._root, b"", self._glob.start if self._glob else ())
            while self._stack:
                folder = self._stack[-1]
                run = next(folder.runs, None)
                if run is None:
                    self._stack.pop().spill.close()
                elif isinstance(run, bytes):
                    self._descend(folder, run)
                elif chunk := _stat_run(folder.path, folder.prefix, run):
                    yield chunk
        finally:
            for folder in self._stack:
                folder.spill.close()

    def _descend(self, folder: _Folder, name: bytes) -> None:
        states = self._glob.enter(folder.states, name[:-1]) if self._glob else ()
        if self._glob is None or states:
            self._enter(folder.path + name, folder.prefix + name, states)

    def _enter(self, path: bytes, prefix: bytes, states: States) -> None:
        try:
            status = os.stat(path)
            folder = _Folder(path, prefix, states, (status.st_dev, status.st_ino))
            folder.spill = SortedSpill(self._scratch, most_names=self._most_names)
            self._stack.append(folder)
            with os.scandir(path) as entries:
                while batch := list(islice(entries, CHUNK)):
                    folder.spill.extend(self._names(batch, folder))
            folder.runs = _runs(iter(folder.spill))
        except OSError as error:
            if error.errno == errno.ENOENT and prefix:
                self._leave_vanished(path)
            elif error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            else:
                message = f"Folder {shown(path)} cannot be listed: {error.strerror}."
                raise InputError(message, cure=_cure(error), path=os.fsdecode(path)) from None

    def _leave_vanished(self, path: bytes) -> None:
        if self._stack and self._stack[-1].path == path:
            self._stack.pop().spill.close()

    def _names(self, entries: list[os.DirEntry[bytes]], folder: _Folder) -> list[bytes]:
        names: list[bytes] = []
        add, plain = names.append, self._glob is None
        for entry in entries:
            name = entry.name
            # Almost every entry is a file that is wanted: it must not cost a call.
            if not (plain and name[0] != DOT and entry.is_file(follow_symlinks=False)):
                name = self._name(entry, folder)
            if name:
                add(name)
        return names

    def _name(self, entry: os.DirEntry[bytes], folder: _Folder) -> bytes:
        """The entry's name, with a slash when it is a folder; empty when it is nothing that the walk takes."""
        name = entry.name
        if name[0] == DOT and (not self._include_hidden or name.startswith(PROOF)):
            return b""
        if entry.is_file(follow_symlinks=False):
            return name if self._glob is None or self._glob.match(folder.states, name) else b""
        if entry.is_dir(follow_symlinks=False):
            return name + b"/"
        return self._link(entry, folder) if entry.is_symlink() else b""

    def _link(self, entry: os.DirEntry[bytes], folder: _Folder) -> bytes:
        wanted = self._glob is None or self._glob.match(folder.states, entry.name)
        try:
            status = entry.stat()
        except OSError as error:
            if not wanted or not os.path.lexists(entry.path):
                return b""
            raise _unusable_link(entry.path, error) from None
        if stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            return b"" if any(above.identity == identity for above in self._stack) else entry.name + b"/"
        return entry.name if wanted and stat.S_ISREG(status.st_mode) else b""


def _runs(names: Iterator[bytes]) -> Iterator[list[bytes] | bytes]:
    """Consecutive files as lists, folders (which end in a slash) one by one."""
    while batch := list(islice(names, CHUNK)):
        folders = [n for n, name in enumerate(batch) if name[-1] == SLASH]
        begin = 0
        for n in folders:
            if n > begin:
                yield batch[begin:n]
            yield batch[n]
            begin = n + 1
        if begin < len(batch):
            yield batch[begin:] if begin else batch


def _stat_run(path: bytes, prefix: bytes, names: list[bytes]) -> Chunk | None:
    sizes, mtimes = array("Q"), array("q")
    add_size, add_mtime, status_of = sizes.append, mtimes.append, os.stat
    gone: set[bytes] = set()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        for name in names:
            try:
                status = status_of(name, dir_fd=descriptor)
            except OSError as error:
                if os.path.islink(path + name):
                    raise _unusable_link(path + name, error) from None
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise _unreadable(path + name, error) from None
                gone.add(name)
                continue
            if status.st_mode & TYPE_AND_READ != READABLE_FILE and not _is_readable(path + name, status):
                gone.add(name)
                continue
            add_size(status.st_size)
            add_mtime(status.st_mtime_ns)
    finally:
        os.close(descriptor)
    if gone:
        names = [name for name in names if name not in gone]
    return Chunk(prefix, names, sizes, mtimes) if names else None


def _is_readable(path: bytes, status: os.stat_result) -> bool:
    """Whether a file that is not everybody's to read is ours to read; False when it has become something else than a file."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not os.access(path, os.R_OK):
        raise _unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return True


def stat_file(path: bytes) -> os.stat_result:
    """The status of one readable regular file.

    Raises:
        InputError: it is none.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        if os.path.islink(path):
            raise _unusable_link(path, error) from None
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown(path)} is neither a file nor a folder.", cure="Give a regular file.", path=os.fsdecode(path))
    _is_readable(path, status)
    return status


def _unreadable(path: bytes, error: OSError) -> InputError:
    return InputError(f"File {shown(path)} cannot be read: {error.strerror}.", cure=_cure(error), path=os.fsdecode(path))


def _unusable_link(path: bytes, error: OSError) -> InputError:
    try:
        target = shown(os.readlink(path))
    except OSError:
        target = "?"
    return InputError(
        f"Link {shown(path)} cannot be followed to {target}: {error.strerror}.", cure="Repair or remove the link.", path=os.fsdecode(path)
    )


def _cure(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "Give this user the right to read it, or leave it out of the input."
    return "Check the path and the file system, then run again."


def shown(path: bytes | str) -> str:
    """A path as it can stand in a message of one line: what does not print is escaped."""
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
