"""Which workspace is meant where none is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.workspace.config_file import find_config, read_config

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

VARIABLE = "BATCHMILL_WORKSPACE"
DEFAULT = "default"


def find_workspace(name: str | None = None, folder: Path | None = None) -> Workspace:
    """The workspace of that name; else the one that the ``config.json`` of a folder or those above it names; else that of
    ``BATCHMILL_WORKSPACE``; else ``default``, which is made when it is first needed.

    Raises:
        WorkspaceException: there is no workspace of that name.
        UserErrorException: the ``config.json`` that was found cannot be used.
    """
    if name:
        return _opened(name)
    found = find_config((folder or Path.cwd()).absolute())
    return _opened(read_config(found)["workspace_name"]) if found is not None else workspace_of_environment()


def workspace_of_environment(auth: Any = None) -> Workspace:
    """The workspace of ``BATCHMILL_WORKSPACE``, else ``default``."""
    return _opened(os.environ.get(VARIABLE) or DEFAULT, auth)


def _opened(name: str, auth: Any = None) -> Workspace:
    from batchmill.workspace.exceptions import WorkspaceException
    from batchmill.workspace.workspace import Workspace

    try:
        return Workspace.get(name, auth)
    except WorkspaceException:
        if name != DEFAULT:
            raise
    return Workspace.create(name, auth, exist_ok=True, show_output=False)
