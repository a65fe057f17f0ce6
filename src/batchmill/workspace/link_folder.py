"""A read-only folder of real folders and links to files: what a mount shows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

READ_ONLY, WRITABLE = 0o555, 0o755
PREFIX = "batchmill-mount-"
MEMORY = "/dev/shm"
MOST_IN_MEMORY = 200_000
"""A link takes about a kilobyte of the kernel's memory; on disk it takes ten times as long to make."""


def new_folder(count: int) -> Path:
    """A new folder for ``count`` links: in memory where there is room, else in the folder for temporary files."""
    with suppress(OSError):
        state = os.statvfs(MEMORY)
        if count <= MOST_IN_MEMORY and state.f_favail > 4 * count:
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def fill(top: Path, links: Iterable[tuple[str, str]]) -> None:
    """Make links below ``top``, each a relative path and what it leads to, and close the folders to changes."""
    folders: set[str] = set()
    for path, target in links:
        link = os.path.join(top, path)
        folder = os.path.dirname(link)
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)
            folders.add(folder)
        os.symlink(target, link)
    for here, _, _ in os.walk(top, topdown=False):
        os.chmod(here, READ_ONLY)


def remove(top: Path, *, whole: bool) -> None:
    """Take away the links and folders below ``top``, and with ``whole`` the folder itself; or the one link that ``top`` is.

    Nothing that a link leads to is touched, and no file that is no link.
    """
    if top.is_symlink():
        top.unlink()
    elif top.is_dir():
        _empty(str(top))
        if whole:
            with suppress(OSError):  # somebody put a file there
                top.rmdir()


def _empty(folder: str) -> None:
    os.chmod(folder, WRITABLE)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                os.unlink(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                _empty(entry.path)
                with suppress(OSError):
                    os.rmdir(entry.path)
