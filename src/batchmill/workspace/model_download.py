"""A copy of a model's files that is the user's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model_cache import bring_files, damaged
from batchmill.workspace.model_files import content_of, measure

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace


def download_model(ws: Workspace, asset: Asset, target: Path, *, exist_ok: bool) -> str:
    """Copy the files of a model into a folder; returns the common path of them there.

    Raises:
        WebserviceException: a file of that name is there, and not ``exist_ok``; or the content is not what was registered.
        BatchmillError: the store cannot be reached, the folder cannot be written to, or there is no space.
    """
    files = content_of(asset.definition)
    there = [file.name for file in files if os.path.lexists(target / file.name)]
    if there and not exist_ok:
        raise WebserviceException(f"File already exists. To overwrite, set exist_ok to True. {target / there[0]}")
    bring_files(ws, asset, target)
    found = {file.name: file for file in measure(str(target), (file.name for file in files))}
    for file in files:
        if (found[file.name].size, found[file.name].sha256) != (file.size, file.sha256):
            for bad in files:
                (target / bad.name).unlink(missing_ok=True)
            raise damaged(asset)
        if file.executable:
            path = target / file.name
            path.chmod(path.stat().st_mode | 0o111)
    return os.path.commonpath([target / file.name for file in files])
