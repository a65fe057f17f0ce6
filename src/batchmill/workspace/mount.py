"""A dataset as a read-only folder: links to the files of local stores, and to copies in a bounded cache for those of remote ones."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.link_folder import READ_ONLY, fill, new_folder, remove
from batchmill.workspace.mount_cache import Pins

if TYPE_CHECKING:
    from batchmill.workspace.file_dataset import FileDataset


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
        top, made = self._make_place(len(listed), single=files.single is not None)
        pins: Pins | None = None
        try:
            pins = Pins.of(files.places, listed)
            point = top
            if files.single is None:
                pins.note(top, made=made)
                fill(top, ((file.path, pins.path_of(file)) for file in listed))
            elif listed:
                point = self._link(top, files.single, pins.path_of(listed[0]), pins)
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

    def _link(self, top: Path, name: str, target: str, pins: Pins) -> Path:
        """The mount of one file: at the place that was asked for, or in a new folder under its own name."""
        if self._wanted is not None:
            pins.note(top, made=True, target=target)
            top.symlink_to(target)
            return top
        pins.note(top, made=True)
        (top / name).symlink_to(target)
        top.chmod(READ_ONLY)
        return top / name

    def _make_place(self, count: int, *, single: bool) -> tuple[Path, bool]:
        """Where links go (of a single file at a given place: the link itself), and whether the folder is ours to remove."""
        place = self._wanted
        if place is None:
            return new_folder(count), True
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


def _end_in(process: int, top: Path, made: bool, pins: Pins) -> None:
    """End a mount, but not in a fork of the process that made it."""
    if os.getpid() == process:
        _end(top, made, pins)


def _end(top: Path, made: bool, pins: Pins | None) -> None:
    """Take away what a mount has made, and nothing that links lead to."""
    remove(top, whole=made)
    if pins is not None:
        pins.release()
