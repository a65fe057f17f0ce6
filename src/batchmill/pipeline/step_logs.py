"""The logs of runs in the default datastore of the workspace, where they stay when the folder of the run is gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

PLACE = "azureml/ExperimentRun/dcid."


def keep_logs(workspace: Workspace, run_id: str, folder: Path) -> int:
    """Copy all files below the folder ``logs`` of a run to ``azureml/ExperimentRun/dcid.<run id>/``; returns how many.

    Raises:
        BatchmillError: the datastore cannot be reached, or refuses.
    """
    from batchmill.workspace.store_files import folder_to_upload

    if not folder.is_dir():
        return 0
    files = list(folder_to_upload(folder))
    workspace.get_default_datastore().send(files, f"{PLACE}{run_id}", True, False)
    return len(files)


def keep_log(workspace: Workspace, run_id: str, path: Path, name: str) -> None:
    """Copy one file there, under that name.

    Raises:
        BatchmillError: the datastore cannot be reached, or refuses.
    """
    from batchmill.storage.transfer import StoreFile

    if path.is_file():
        file = StoreFile(name, str(path), path.stat().st_size)
        workspace.get_default_datastore().send([file], f"{PLACE}{run_id}", True, False)
