"""Copies of source folders in a workspace, by their content: what a step runs is what was there when it was submitted or published."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.errors import SnapshotError

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

FOLDER = "snapshots"
EXECUTABLE = 0o111
NEW, OLD = ".new-", 24 * 3600.0
"""How copies that are being made are called, and after how many seconds nobody makes them any more."""


def keep_snapshot(workspace: Workspace, source: Path, script: str | None = None) -> str:
    """Copy a source folder into the workspace unless it has it; returns the SHA-256 of names, contents and permissions to execute.

    ``.amlignore`` and ``.gitignore`` are honoured; the folders of local datastores are no part of the source. ``script`` is, whatever
    they say.

    Raises:
        SnapshotError: the folder does not exist, or is too large to copy.
    """
    from batchmill.parallel_run.snapshot import copy_source
    from batchmill.storage.files import fsync_folder, fsync_tree

    if not source.is_dir():
        raise SnapshotError(f"The source folder '{source}' does not exist.", cure="Nothing was started.")
    kept = Path(workspace.folder, FOLDER)
    kept.mkdir(exist_ok=True)
    _remove_old(kept)
    with tempfile.TemporaryDirectory(prefix=NEW, dir=kept) as scratch:
        copy = Path(scratch, "copy")
        copy.mkdir()
        files = copy_source(source, None if script is None else source / script, copy, _local_places(workspace))
        digest = _digest(copy, files)
        target = kept / digest
        if not target.exists():
            fsync_tree(copy)
            try:
                copy.rename(target)
            except OSError:
                if not target.exists():  # somebody else was quicker
                    raise
            fsync_folder(kept)
    return digest


def snapshot_folder(workspace: Workspace, digest: str) -> Path:
    """The folder of a snapshot; it must not be written to.

    Raises:
        SnapshotError: the workspace does not have it.
    """
    folder = Path(workspace.folder, FOLDER, digest)
    if not folder.is_dir():
        raise SnapshotError(
            f"Snapshot {digest[:12]} is not in workspace '{workspace.name}' on this machine ({folder.parent}).",
            cure="Submit or publish the pipeline here again.",
        )
    return folder


def copy_snapshot(workspace: Workspace, digest: str, target: Path) -> Path:
    """A working copy of a snapshot, at a place that does not exist yet."""
    return Path(shutil.copytree(snapshot_folder(workspace, digest), target))


def _remove_old(kept: Path) -> None:
    """Copies whose process was killed."""
    for path in kept.glob(f"{NEW}*"):
        with suppress(OSError):  # it has gone meanwhile
            if time.time() - path.stat().st_mtime > OLD:
                shutil.rmtree(path)


def _local_places(workspace: Workspace) -> list[Path]:
    paths = [asset.definition.get("path") for asset in workspace.registry.list("datastore", limit=None)]
    return [Path(path) for path in paths if isinstance(path, str) and os.path.isabs(path)]


def _digest(root: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        executable = "x" if path.stat().st_mode & EXECUTABLE else "-"
        total.update(f"{path.relative_to(root).as_posix()}\0{executable}{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()
