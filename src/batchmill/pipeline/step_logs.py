"""The logs of runs, and what their scripts leave in ``outputs``, in the default datastore of the workspace, where they stay."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.workspace import Workspace

PLACE = "azureml/ExperimentRun/dcid."
KEPT = ("outputs", "logs")
"""The folders of a working directory whose files belong to the run (Azure ML: they are uploaded by themselves)."""


def keep_logs(workspace: Workspace, run_id: str, folder: Path, below: str = "") -> int:
    """Copy all files below a folder of logs to ``azureml/ExperimentRun/dcid.<run id>/``, there into the folder ``below``; returns how many.

    Raises:
        BatchmillError: the datastore cannot be reached, or refuses.
    """
    from batchmill.workspace.store_files import folder_to_upload

    if not folder.is_dir():
        return 0
    files = list(folder_to_upload(folder))
    _store(workspace).send(files, f"{PLACE}{run_id}/{below}".rstrip("/"), True, False)
    return len(files)


def keep_log(workspace: Workspace, run_id: str, path: Path, name: str) -> None:
    """Copy one file there, under that name.

    Raises:
        BatchmillError: the datastore cannot be reached, or refuses.
    """
    from batchmill.storage.transfer import StoreFile

    if path.is_file():
        file = StoreFile(name, str(path), path.stat().st_size)
        _store(workspace).send([file], f"{PLACE}{run_id}", True, False)


def keep_own_files(workspace: Workspace, run_id: str, cwd: Path, source: Path | None) -> int:
    """Copy there, under their names, what a script has left in ``outputs`` and ``logs`` of its working directory; returns how many files.

    ``source``: what that directory is a copy of: files that are the same there are not the script's own.

    Raises:
        BatchmillError: the datastore cannot be reached, or refuses.
    """
    from dataclasses import replace

    from batchmill.workspace.store_files import folder_to_upload

    found = [
        replace(file, name=f"{name}/{file.name}")
        for name in KEPT
        if (cwd / name).is_dir() and not (cwd / name).is_symlink()
        for file in folder_to_upload(cwd / name)
        if source is None or not _same(Path(file.path), source / name / file.name)
    ]
    if found:
        _store(workspace).send(found, f"{PLACE}{run_id}", True, False)
    return len(found)


def _same(path: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(path, other, shallow=False)


def _store(workspace: Workspace) -> StorageDatastore:
    from batchmill.workspace.exceptions import UserErrorException
    from batchmill.workspace.storage_datastore import StorageDatastore

    found = workspace.get_default_datastore()
    if not isinstance(found, StorageDatastore):
        raise UserErrorException(f"Datastore '{workspace.default_datastore_name}', the default, is a database and holds no logs.")
    return found
