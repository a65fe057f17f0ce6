"""What mounts hold: copies of remote files, fetched once, kept while a mount needs them, then until their room is wanted.

Below ``BATCHMILL_HOME/cache/datasets`` lie ``files`` (the cache: a file is named by the digest of its place, name and etag) and
``mounts``, with a folder of hard links for each living mount, its *pins*. What is taken out of the cache therefore stays readable for
every mount that has it. A lock on each folder of pins tells the living from what a killed process left; ``place.json`` in it says where
the links are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import DiskFullError, SettingError
from batchmill.storage.home import home
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.link_folder import PREFIX, remove
from batchmill.workspace.link_folder import READ_ONLY as READ_ONLY_FOLDER

if TYPE_CHECKING:
    from batchmill.data.listing import Input
    from batchmill.workspace.dataset_files import DatasetFile

VARIABLE = "BATCHMILL_MOUNT_CACHE"
DEFAULT_BYTES = 10 * 1024**3
BLOCK = 4096
THREADS = 16
PLACE = "place.json"
READ_ONLY = 0o444


def cache_bytes() -> int:
    """How many bytes of remote files a mount may bring here, and as many may stay in the cache: ``BATCHMILL_MOUNT_CACHE``.

    Raises:
        SettingError: it is no size.
    """
    from batchmill.settings.sizes import parse_size

    text = os.environ.get(VARIABLE)
    if not text:
        return DEFAULT_BYTES
    try:
        unit, size = parse_size(text.strip()) or ("rows", 0)
    except SettingError:
        unit, size = "rows", 0
    if unit != "count":
        raise SettingError(f"{VARIABLE} has the value '{text}': it must be a size like 500MB or 20GB.")
    return size


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of the cache that no mount holds."""

    path: str
    size: int
    used: int


class Pins:
    """What one mount holds: the remote files it needs, and its place, so that it is taken away when its process was killed."""

    def __init__(self, limit: int | None) -> None:
        root = home() / "cache" / "datasets"
        self._files, mounts = root / "files", root / "mounts"
        for folder in (self._files, mounts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_dead(mounts)
        self._folder = mounts / uuid.uuid4().hex
        self._lock = _lock(self._folder.with_suffix(".lock"))
        self._folder.mkdir(mode=0o755)
        self._paths: dict[tuple[int, str], str] = {}
        self._bases: list[str] = []
        self._limit = limit

    @classmethod
    def of(cls, places: Sequence[Input], files: Sequence[DatasetFile], retry_timeout: float = 20.0) -> Pins:
        """Bring those of ``files`` of ``places`` that are remote to this machine, or find them in the cache, and hold them.

        Raises:
            UserErrorException: together they are larger than `cache_bytes`.
            DiskFullError: the disk has no room for them.
            ReadError: one of them cannot be read.
        """
        remote = [file for file in files if places[file.input].location != "local"]
        limit, size = cache_bytes() if remote else None, sum(map(_cost, remote))
        if limit is not None and size > limit:
            raise UserErrorException(
                f"The remote files of the dataset take {_shown(size)}, more than the {_shown(limit)} that a mount may bring to this "
                f"machine. Set {VARIABLE} to more, mount a part (take, filter), or give the dataset to a run, which fetches as it goes."
            )
        pins = cls(limit)
        pins._bases = [one.base for one in places]
        try:
            pins._hold(places, remote, retry_timeout)
        except BaseException:
            pins.release()
            raise
        return pins

    def note(self, place: Path, *, made: bool, target: str | None = None) -> None:
        """Say where the links will be: a folder, which was ``made`` for them or was there, or the one link that leads to ``target``."""
        status = os.stat(place) if target is None else None
        told = {"path": str(place), "made": made, "target": target, "inode": status and [status.st_dev, status.st_ino]}
        (self._folder / PLACE).write_text(json.dumps(told), encoding="utf-8", errors="surrogateescape")

    def path_of(self, file: DatasetFile) -> str:
        """Where a file of the dataset is now; one that is local stays where it lies."""
        return self._paths.get((file.input, file.name)) or f"{self._bases[file.input]}/{file.name}"

    def release(self) -> None:
        """Let go of the files; they stay in the cache as far as it may grow, until their room is wanted."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            os.unlink(self._folder.with_suffix(".lock"))
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._limit is not None:
            _make_room(self._files, self._limit)

    # --- getting hold of files ------------------------------------------------------------------------------------------------------

    def _hold(self, places: Sequence[Input], files: Sequence[DatasetFile], retry_timeout: float) -> None:
        from batchmill.storage.crew import Crew

        missing = [(number, file) for number, file in enumerate(files) if not self._found(number, file)]
        if not missing:
            return
        _make_room(self._files, (self._limit or 0) - sum(map(_cost, files)))
        self._check_disk(sum(_cost(file) for _, file in missing))
        crew = Crew(THREADS)
        fetcher = _Fetcher(places, self._folder, retry_timeout, crew.stopped.is_set)

        def bring(task: tuple[int, DatasetFile]) -> tuple[int, DatasetFile]:
            number, file = task
            fetcher.fetch(file, self._pin(number, file))
            return task

        crew.work(missing, bring, lambda task: self._keep(*task))

    def _pin(self, number: int, file: DatasetFile) -> str:
        """The name of a file's pin: short, and with the extension that libraries go by."""
        extension = os.path.splitext(file.name)[1]
        return str(self._folder / f"file{number}{extension if len(extension) <= 16 else ''}")

    def _cached(self, file: DatasetFile) -> str:
        known = file.etag or f"{file.size} {file.mtime_ns}"
        text = "\0".join([self._bases[file.input], file.name, known])
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return str(self._files / digest[:2] / digest[2:])

    def _found(self, number: int, file: DatasetFile) -> bool:
        cached, pin = self._cached(file), self._pin(number, file)
        try:
            os.link(cached, pin)
        except FileNotFoundError:
            return False
        os.utime(pin, ns=(time.time_ns(), file.mtime_ns or time.time_ns()))  # the time of access is what the cache forgets by
        self._paths[file.input, file.name] = pin
        return True

    def _keep(self, number: int, file: DatasetFile) -> None:
        """A file has arrived: it is ours, and in the cache for others."""
        cached, pin = self._cached(file), self._pin(number, file)
        os.chmod(pin, READ_ONLY)
        os.utime(pin, ns=(time.time_ns(), file.mtime_ns or time.time_ns()))
        os.makedirs(os.path.dirname(cached), mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.link(pin, cached)
        self._paths[file.input, file.name] = pin

    def _check_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise DiskFullError(
                f"The remote files of the dataset need {_shown(needed)} below {self._folder.parent}, which has {_shown(free)} free.",
                cure="Make room, or set BATCHMILL_HOME to a larger disk.",
            )


class _Fetcher:
    def __init__(self, places: Sequence[Input], folder: Path, retry_timeout: float, stopped: Callable[[], bool]) -> None:
        from batchmill.storage.fetch import Source

        self._sources = {
            number: Source(number, {"base": one.base, "location": one.location}, str(folder), retry_timeout, stopped)
            for number, one in enumerate(places)
            if one.location != "local"
        }

    def fetch(self, file: DatasetFile, pin: str) -> None:
        source = self._sources[file.input]
        source.fetch(file)
        os.rename(source.path(file.name), pin)


def _cost(file: DatasetFile) -> int:
    return max(1, -(-file.size // BLOCK)) * BLOCK


def _shown(size: int) -> str:
    """``1.5 GB``; units of 1024, as `BATCHMILL_MOUNT_CACHE` is read."""
    amount, unit = float(size), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.3g} {unit}"


def _make_room(files: Path, room: int) -> None:
    """Forget what was not used for longest, until all that no mount holds takes no more than ``room`` bytes."""
    idle = list(_idle(files))
    total = sum(entry.size for entry in idle)
    for entry in sorted(idle, key=lambda entry: entry.used):
        if total <= room:
            return
        with suppress(FileNotFoundError):
            os.unlink(entry.path)
        total -= entry.size


def _idle(files: Path) -> Iterator[_Entry]:
    for folder in files.iterdir():
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if status.st_nlink == 1:
                        yield _Entry(entry.path, max(1, -(-status.st_size // BLOCK)) * BLOCK, status.st_atime_ns)


# --- locks --------------------------------------------------------------------------------------------------------------------------


def _lock(path: Path) -> int:
    """Create and lock a file that tells that its process lives; closed, or ended, it is free."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # somebody took it for a dead one in the moment before it was locked


def _remove_dead(mounts: Path) -> None:
    """Take away the pins that killed processes left."""
    for lock in mounts.glob("*.lock"):
        with _dead(lock) as dead:
            if dead:
                _remove_links(lock.with_suffix("") / PLACE)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)


def _remove_links(told: Path) -> None:
    """Take away the folder of a mount whose process was killed."""
    try:
        place = json.loads(told.read_text(encoding="utf-8", errors="surrogateescape"))
        if _is_still(Path(place["path"]), place):
            remove(Path(place["path"]), whole=place["made"])
    except (OSError, ValueError):
        return  # it never got that far, or somebody else's rights are needed


def _is_still(path: Path, place: dict[str, Any]) -> bool:
    """Whether what was mounted lies there, and not what somebody put there since (numbers of folders are given again)."""
    if path.is_symlink():
        return bool(os.readlink(path) == place["target"])
    status = path.lstat()
    ours = path.name.startswith(PREFIX) or stat.S_IMODE(status.st_mode) == READ_ONLY_FOLDER
    return ours and [status.st_dev, status.st_ino] == place["inode"]


@contextmanager
def _dead(lock: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        yield free
    finally:
        os.close(descriptor)
