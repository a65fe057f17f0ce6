"""The folder of a workspace in the batchmill home: its local datastores and other files."""

from __future__ import annotations

import shutil
from pathlib import Path

from batchmill.workspace.abstract_datastore import FIRST_STORES
from batchmill.workspace.exceptions import WorkspaceException


def make_folder(folder: Path) -> None:
    """Make it, with the folders of the first datastores, where it is not there.

    Raises:
        WorkspaceException: it cannot be made.
    """
    try:
        for store in FIRST_STORES:
            (folder / store).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cure = "Set BATCHMILL_HOME to a folder that can be written."
        raise WorkspaceException(f"The folder of workspace '{folder.name}', {folder}, cannot be made: {error.strerror}. {cure}") from None


def remove_folder(folder: Path) -> None:
    """Remove it, or the link that stands for it.

    Raises:
        WorkspaceException: it cannot be removed.
    """
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        why = f"its folder {folder} cannot be: {error.strerror}. Remove it by hand."
        raise WorkspaceException(f"Workspace '{folder.name}' has been removed, but {why}") from None
