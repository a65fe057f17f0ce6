"""Folders on a machine of a cluster that go when the last process that holds them does, however it ends.

::

    /tmp/batchmill-UID/RUN-EPOCH/              what all nodes of the run share on this machine
    /tmp/batchmill-UID/RUN-EPOCH/RUN.NODE/     the run folder of one node
    ....lock                                   beside each; locked by who uses the folder

Whoever comes or leaves removes what nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batchmill.errors import UsageError

LOCK, PART, MAKING = ".lock", ".part", ".making"
POLL = 0.05


class Stopped(Exception):
    """Nobody wants any more what was being prepared."""


class HeldFolder:
    """A folder that is there while anybody holds it: any number of processes and threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = _hold(path)
        path.mkdir(mode=0o700, exist_ok=True)

    def release(self) -> None:
        """Let go; the folder is removed if nobody else holds it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            _remove_if_free(self.path)


class Scratch:
    """The folders of one node: ``shared`` with the others of its run on this machine, ``own`` for itself."""

    def __init__(self, run_id: str, epoch: int, node: str, root: Path | None = None) -> None:
        top = root if root is not None else scratch_root()
        sweep(top)
        self._shared = HeldFolder(top / f"{run_id}-{epoch}")
        self.shared = self._shared.path
        sweep(self.shared)
        self._own = HeldFolder(self.shared / f"{run_id}.{node}")
        self.own = self._own.path

    def once(self, name: str, make: Callable[[Path], None], stopped: Callable[[], bool]) -> Path:
        """A shared folder, filled by whoever comes first, while the others wait. It appears when it is complete.

        Raises:
            Stopped: ``stopped`` said so meanwhile.
        """
        folder = self.shared / name
        if folder.exists():
            return folder
        descriptor = os.open(self.shared / (name + MAKING), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait(descriptor, stopped)
            if not folder.exists():
                part = self.shared / (name + PART)
                shutil.rmtree(part, ignore_errors=True)  # left by a node that was killed
                part.mkdir()
                make(part)
                part.rename(folder)
        finally:
            os.close(descriptor)
        return folder

    def close(self) -> None:
        """Let go of both folders."""
        self._own.release()
        self._shared.release()


def scratch_root() -> Path:
    """The folder of this user below the temporary folder of the machine (``TMPDIR``).

    Raises:
        UsageError: it belongs to somebody else.
    """
    path = Path(tempfile.gettempdir()) / f"batchmill-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UsageError(f"{path} belongs to another user.", cure="Set TMPDIR to a folder of your own on every node.")
    return path


def sweep(folder: Path) -> None:
    """Remove what processes that are gone have left."""
    for lock in folder.glob(f"*{LOCK}"):
        _remove_if_free(lock.with_name(lock.name.removesuffix(LOCK)))


def _hold(path: Path) -> int:
    """Lock the folder's lock file, shared, and make sure that it is still the folder's: it may just have been removed."""
    lock = path.with_name(path.name + LOCK)
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _same(descriptor, lock):
            return descriptor
        os.close(descriptor)


def _remove_if_free(path: Path) -> None:
    lock = path.with_name(path.name + LOCK)
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # somebody else has removed it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _same(descriptor, lock):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(FileNotFoundError):
                lock.unlink()
    except BlockingIOError:
        pass  # held
    finally:
        os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _wait(descriptor: int, stopped: Callable[[], bool]) -> None:
    pause = threading.Event()
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stopped():
                raise Stopped from None
            pause.wait(POLL)
