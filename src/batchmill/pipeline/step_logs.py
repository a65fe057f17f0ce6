"""The logs of runs in the default datastore of the workspace, where they stay when the folder of the run is gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.workspace import Workspace

PLACE = "azureml/ExperimentRun/dcid."


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


def _store(workspace: Workspace) -> StorageDatastore:
    from batchmill.workspace.exceptions import UserErrorException
    from batchmill.workspace.storage_datastore import StorageDatastore

    found = workspace.get_default_datastore()
    if not isinstance(found, StorageDatastore):
        raise UserErrorException(f"Datastore '{workspace.default_datastore_name}', the default, is a database and holds no logs.")
    return found
