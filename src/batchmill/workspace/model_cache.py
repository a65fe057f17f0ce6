"""The models that are on this machine: read-only copies below the batchmill home, shared by all runs, bounded in size.

An entry is a folder with the files of one version; it counts only once its manifest stands beside it, which is written last. The manifest
says what the files looked like when their content was compared with what was registered: while they look the same, they are not read
again. Two locks go with an entry: who fetches or compares holds one, who uses it the other, so that nothing in use is given up for space.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.storage.home import home
from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model_files import ModelFile, content_of, measure
from batchmill.workspace.model_store import place_of

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

LARGEST = 50 << 30
"""Bytes that the cache keeps; a model that is in use is kept beyond that."""
MANIFEST, FETCHING, USING, PARTIAL = ".json", ".fetching", ".using", ".partial-"
TRIES = 2

_in_use: dict[Path, int] = {}
_locks = threading.Lock()


def fetch_model(ws: Workspace, asset: Asset) -> Path:
    """Have the files of a model on this machine; returns the folder they lie in, which this process uses until it ends.

    Whoever comes second, in this process or another one, waits for the first and shares what it fetched.

    Raises:
        WebserviceException: the content in the workspace is gone, or not what was registered.
        BatchmillError: the store cannot be reached, or there is no space.
    """
    entry = ModelEntry(ws, asset)
    entry.use()
    with entry.fetching():
        if not entry.sound():
            entry.fetch()
        entry.touch()
    return entry.folder


def cache_folder() -> Path:
    """Where the cached models lie."""
    return home() / "cache" / "models"


class ModelEntry:
    """The copy of one version of a model."""

    def __init__(self, ws: Workspace, asset: Asset) -> None:
        self._workspace, self._asset = ws, asset
        self._files = content_of(asset.definition)
        self.folder = cache_folder() / ws.name / str(asset.name) / f"{asset.version}-{asset.id[:8]}"
        self._manifest = _beside(self.folder, MANIFEST)

    # --- locks ------------------------------------------------------------------------------------------------------------------------

    def use(self) -> None:
        """Keep the entry from being given up while this process lives; waits while that is just happening."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _locks:
            if self.folder in _in_use:
                return
            descriptor = _open_lock(_beside(self.folder, USING))
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _in_use[self.folder] = descriptor

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Nobody else fetches or compares meanwhile; the lock ends with its process, however that ends."""
        descriptor = _open_lock(_beside(self.folder, FETCHING))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # --- soundness --------------------------------------------------------------------------------------------------------------------

    def sound(self) -> bool:
        """Whether the files are those that were registered. They are read only when something about them is new: a file that was written
        to, or a machine that was started again since."""
        try:
            noted = json.loads(self._manifest.read_text())
        except (OSError, ValueError):
            return False
        looks = _looks(self.folder)
        if noted == {"boot": _boot(), "files": looks}:
            return True
        if set(looks) != {file.name for file in self._files} or not self._as_registered(self.folder):
            return False
        self._note()
        return True

    def _as_registered(self, folder: Path) -> bool:
        try:
            found = measure(str(folder), (file.name for file in self._files))
        except OSError:
            return False
        return [(file.size, file.sha256) for file in found] == [(file.size, file.sha256) for file in sorted(self._files, key=_name)]

    def _note(self) -> None:
        from batchmill.storage.files import atomic_write

        atomic_write(self._manifest, json.dumps({"boot": _boot(), "files": _looks(self.folder)}))

    def touch(self) -> None:
        """Now is when it was used last."""
        os.utime(self._manifest)

    # --- fetching ---------------------------------------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Bring the files here; whatever was here before is replaced."""
        from batchmill.errors import DiskFullError

        self._manifest.unlink(missing_ok=True)
        for left in self.folder.parent.glob(f"{self.folder.name}{PARTIAL}*"):  # of processes that were killed: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        make_room(sum(file.size for file in self._files), LARGEST)
        try:
            self._bring()
        except DiskFullError:
            make_room(LARGEST, LARGEST)
            self._bring()
        self._note()

    def _bring(self) -> None:
        partial = self.folder.with_name(f"{self.folder.name}{PARTIAL}{uuid.uuid4().hex}")
        try:
            for _ in range(TRIES):
                bring_files(self._workspace, self._asset, partial)
                if self._as_registered(partial):
                    break
                shutil.rmtree(partial)
            else:
                raise damaged(self._asset)
            for file in self._files:
                (partial / file.name).chmod(0o555 if file.executable else 0o444)
            if self.folder.exists():
                self.folder.rename(self.folder.with_name(f"{self.folder.name}{PARTIAL}{uuid.uuid4().hex}"))
            partial.rename(self.folder)
        finally:
            for left in self.folder.parent.glob(f"{self.folder.name}{PARTIAL}*"):
                shutil.rmtree(left, ignore_errors=True)


def bring_files(ws: Workspace, asset: Asset, into: Path) -> None:
    """Copy the files of a model into a folder, replacing what is there under their names.

    Raises:
        BatchmillError: the store cannot be reached, a file is gone, or there is no space.
    """
    from batchmill.errors import ReadError
    from batchmill.storage.transfer import StoreFile, Transfer

    place = place_of(ws, asset.definition["location"])
    files = [StoreFile(file.name, str(into / file.name), file.size) for file in content_of(asset.definition)]
    into.mkdir(parents=True, exist_ok=True)
    try:
        Transfer(place, overwrite=True).fetch(files)
    except ReadError as error:
        raise WebserviceException(f"The files of model {asset.name}:{asset.version} are not all in the workspace. {error.line}") from None


def damaged(asset: Asset) -> WebserviceException:
    """What the workspace holds under a model is not what was registered."""
    return WebserviceException(
        f"The files of model {asset.name}:{asset.version} are not those that were registered: somebody has changed them in the store. "
        "Register the model again."
    )


# --- space ------------------------------------------------------------------------------------------------------------------------------


def make_room(wanted: int, largest: int) -> None:
    """Give up what was used longest ago and is not in use, until ``wanted`` more bytes keep the cache within ``largest``."""
    entries = []
    for manifest in cache_folder().glob(f"*/*/*{MANIFEST}"):
        with suppress(OSError, ValueError):
            size = sum(look[0] for look in json.loads(manifest.read_text())["files"].values())
            entries.append((manifest.stat().st_mtime, manifest, size))
    total = wanted + sum(size for _, _, size in entries)
    for _, manifest, size in sorted(entries):
        if total <= largest:
            return
        if _give_up(manifest.with_name(manifest.name.removesuffix(MANIFEST))):
            total -= size


def _give_up(folder: Path) -> bool:
    """Remove an entry, unless somebody uses it."""
    with _locks:
        if folder in _in_use:
            return False
    descriptor = _open_lock(_beside(folder, USING))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        _beside(folder, MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)


# --- files of an entry ------------------------------------------------------------------------------------------------------------------


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _name(file: ModelFile) -> str:
    return file.name


def _looks(folder: Path) -> dict[str, Any]:
    """Size, moment of change and inode of every file below a folder."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(place, name))
            found[os.path.relpath(os.path.join(place, name), folder)] = [status.st_size, status.st_mtime_ns, status.st_ino]
    return found


def _boot() -> str:
    """What changes with every start of the machine: a power cut may have taken the content of a file that was never synced."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(time.time() - time.monotonic()) // 60)
