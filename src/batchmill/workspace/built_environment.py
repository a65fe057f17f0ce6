"""Built environments below the batchmill home: where one lies, when it counts, who uses it.

::

    environments/KEY/built.json        names the generation that counts; written last, so a half-built one never does
    environments/KEY/GENERATION/       the environment itself, and requirements.lock
    environments/KEY/build.log         what the tools said at the last try
    environments/KEY/failed.json       why the last try failed
    environments/.locks/KEY.build      locked while it is being built
    environments/.locks/KEY.use        locked, shared, by every process that uses it

Both locks end with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batchmill.storage.files import atomic_write
from batchmill.storage.home import home

Announce = Callable[[str], None]
_IN_USE: dict[Path, int] = {}
_ONE_AT_A_TIME = threading.Lock()


def environments_folder() -> Path:
    """Where the built environments of this home lie."""
    return home() / "environments"


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build, as its ``built.json`` tells."""

    name: str
    generation: str
    python: str
    python_version: str
    tool: str
    summary: str
    packages: list[list[str]]
    added: list[str]
    created: str
    seconds: float
    key: str = ""
    conda: list[list[str]] = field(default_factory=list)
    """Name, version and build of its conda packages, where conda made it."""

    @property
    def folder(self) -> Path:
        """The environment itself (``sys.prefix`` of its interpreter)."""
        return Path(self.python).parents[1]

    def holds(self, *names: str) -> bool:
        """Are packages of these names installed?"""
        there = {package[0].lower().replace("_", "-") for package in (*self.packages, *self.conda)}
        return there.issuperset(names)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class BuildFolder:
    """Paths, locks and marker of the build of one key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.path = environments_folder() / key
        self.marker = self.path / "built.json"
        self.failure = self.path / "failed.json"
        self.log = self.path / "build.log"
        self._locks = environments_folder() / ".locks"

    def built(self) -> Built | None:
        """The build that counts; None where there is none, or the Python behind it is gone."""
        try:
            values = json.loads(self.marker.read_text(encoding="utf-8"))
            built = Built(**values | {"key": self.key})
        except (OSError, ValueError, TypeError):
            return None
        return built if os.access(built.python, os.X_OK) else None

    def use(self) -> Built | None:
        """The build that counts, kept from being pruned until this process ends; None where there is none."""
        if self.built() is None:
            return None
        with _ONE_AT_A_TIME:
            if self.path not in _IN_USE:
                descriptor = self._open("use")
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                _IN_USE[self.path] = descriptor
            built = self.built()  # looked at again: it may have been pruned before it was locked
            if built is None:
                os.close(_IN_USE.pop(self.path))
            else:
                os.utime(self.marker)
        return built

    @contextmanager
    def building(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the right to build; ``waiting`` is called where another process has it."""
        descriptor = self._open("build")
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.path.mkdir(parents=True, exist_ok=True)
            yield
        finally:
            os.close(descriptor)

    def last_failure(self) -> dict[str, Any]:
        """What the last failed try left; empty where there was none since it was built."""
        try:
            found: dict[str, Any] = json.loads(self.failure.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def publish(self, built: Built) -> None:
        """From now on the build counts."""
        self.failure.unlink(missing_ok=True)
        values = built.as_dict()
        del values["key"]
        atomic_write(self.marker, json.dumps(values, indent=2))

    def sweep(self) -> None:
        """Remove generations that do not count: what killed builders have left. Only while `building`."""
        counts = self.built()
        for entry in self.path.iterdir():
            if entry.is_dir() and (counts is None or entry.name != counts.generation):
                shutil.rmtree(entry, ignore_errors=True)

    def remove(self) -> bool:
        """Remove it, unless a process uses or builds it; says whether it is gone."""
        with self._alone() as alone:
            if alone:
                self.marker.unlink(missing_ok=True)
                shutil.rmtree(self.path, ignore_errors=True)
            return alone and not self.path.exists()

    def busy(self) -> bool:
        """Does a process use or build it?"""
        with self._alone() as alone:
            return not alone

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold both locks, if nobody else has one."""
        locks = [self._open(name) for name in ("use", "build")]
        try:
            for descriptor in locks:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            for descriptor in locks:
                os.close(descriptor)

    def last_used(self) -> float:
        """When it was last used or tried to be built, in seconds since 1970."""
        for path in (self.marker, self.path):
            try:
                return path.stat().st_mtime
            except FileNotFoundError:
                continue
        return 0.0

    def size(self) -> int:
        """Bytes of its files; those that it shares with the cache of uv are counted too."""
        return sum(entry.lstat().st_size for entry in self.path.rglob("*") if not entry.is_dir())

    def _open(self, name: str) -> int:
        self._locks.mkdir(parents=True, exist_ok=True)
        return os.open(self._locks / f"{self.key}.{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def build_of(key: str) -> Built | None:
    """The finished build of a recipe's key, if there is one."""
    return BuildFolder(key).built()


def all_builds() -> list[BuildFolder]:
    """The folders of this home, finished or not, by key."""
    try:
        names = sorted(entry.name for entry in os.scandir(environments_folder()) if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [BuildFolder(name) for name in names]
