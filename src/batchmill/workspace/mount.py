"""A dataset as a read-only folder: links to the files of local stores, and to copies in a bounded cache for those of remote ones."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.dataset_files import DatasetFile, DatasetFiles
    from batchmill.workspace.file_dataset import FileDataset
    from batchmill.workspace.mount_cache import Pins

READ_ONLY, WRITABLE = 0o555, 0o755


class MountContext:
    """A mount of a file dataset, begun by ``start()`` or ``with``, ended by ``stop()``, the end of the block or of the process.

    Folders of the dataset are folders, files are links. Nothing can be put into the folder or taken out of it. Files of remote stores
    are fetched before ``start()`` returns and stay readable until the mount ends, whatever the cache does. A dataset whose one source
    is a file, not a folder or a pattern, is mounted as that file (Azure ML: the same).
    """

    def __init__(self, dataset: FileDataset, mount_point: str | os.PathLike[str] | None = None) -> None:
        self._dataset = dataset
        self._wanted = None if mount_point is None else Path(mount_point).absolute()
        self._point: Path | None = None
        self._finalizer: weakref.finalize[..., MountContext] | None = None

    @property
    def mount_point(self) -> str:
        """The folder, or for a dataset of one file the file.

        Raises:
            UserErrorException: the mount has not begun, and its place was not given.
        """
        point = self._point or self._wanted
        if point is None:
            raise UserErrorException("The dataset is not mounted yet: use start(), or `with dataset.mount() as mounted:`.")
        return str(point)

    def start(self) -> None:
        """Begin; a second time changes nothing.

        Raises:
            UserErrorException: the place is taken, or the remote files are more than the cache may hold.
            InputError: a source of the dataset does not exist or cannot be listed.
            DiskFullError: there is no room for the remote files.
        """
        if self._point is not None:
            return
        files = self._dataset.files()
        listed = files.listed()
        top, made = self._make_place(single=files.single is not None)
        pins: Pins | None = None
        try:
            targets, pins = _targets(files, listed)
            point = top
            if files.single is None:
                _link_all(top, listed, targets)
            elif listed:
                point = top if self._wanted is not None else top / files.single
                point.symlink_to(targets[0])
                if point.parent == top:
                    top.chmod(READ_ONLY)
        except BaseException:
            _end(top, made, pins)
            raise
        self._point = point
        self._finalizer = weakref.finalize(self, _end_in, os.getpid(), top, made, pins)

    def stop(self) -> None:
        """End: the folder goes away, and with it the hold on what was fetched; the sources stay as they are."""
        if self._finalizer is not None:
            self._finalizer()
        self._point, self._finalizer = None, None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"at {self._point}" if self._point is not None else "not mounted"
        return f"<MountContext of {self._dataset.name or 'a dataset'}, {state}>"

    def _make_place(self, *, single: bool) -> tuple[Path, bool]:
        """Where links go (of a single file at a given place: the link itself), and whether the folder is ours to remove."""
        place = self._wanted
        if place is None:
            return Path(tempfile.mkdtemp(prefix="batchmill-mount-")), True
        if single:
            if os.path.lexists(place):
                raise UserErrorException(f"The dataset cannot be mounted as {place}: something is there already.")
            place.parent.mkdir(parents=True, exist_ok=True)
            return place, True
        if not os.path.lexists(place):
            place.mkdir(parents=True)
            return place, True
        if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
            return place, False
        raise UserErrorException(f"The dataset cannot be mounted at {place}: it is there already and is no empty folder.")


def _targets(files: DatasetFiles, listed: list[DatasetFile]) -> tuple[list[str], Pins | None]:
    """What each link leads to, and the hold on those that had to be fetched."""
    remote = [file for file in listed if files.places[file.input].location != "local"]
    pins: Pins | None = None
    if remote:
        from batchmill.workspace.mount_cache import Pins

        pins = Pins.fetch(files.places, remote)
    targets = [f"{files.places[file.input].base}/{file.name}" if pins is None else pins.path_of(file) for file in listed]
    return targets, pins


def _link_all(top: Path, listed: list[DatasetFile], targets: list[str]) -> None:
    folders: set[str] = set()
    for file, target in zip(listed, targets, strict=True):
        path = os.path.join(top, file.path)
        folder = os.path.dirname(path)
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)
            folders.add(folder)
        os.symlink(target, path)
    for here, _, _ in os.walk(top, topdown=False):
        os.chmod(here, READ_ONLY)


def _end_in(process: int, top: Path, made: bool, pins: Pins | None) -> None:
    """As `_end`, but not in a fork: the mount is its parent's."""
    if os.getpid() == process:
        _end(top, made, pins)


def _end(top: Path, made: bool, pins: Pins | None) -> None:
    """Take away what a mount has made, and nothing that links lead to."""
    if top.is_symlink():
        top.unlink()
    elif top.is_dir():
        for here, _, _ in os.walk(top):
            os.chmod(here, WRITABLE)
        for entry in list(top.iterdir()):
            shutil.rmtree(entry) if stat.S_ISDIR(entry.lstat().st_mode) else entry.unlink()
        if made:
            top.rmdir()
    if pins is not None:
        pins.release()
