"""Registering a model: its files are copied at once, and get the next version of the name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model_facts import ModelFacts
from batchmill.workspace.model_files import ModelFile, find_files
from batchmill.workspace.model_framework import Framework
from batchmill.workspace.model_lookup import KIND

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def register_model(
    ws: Workspace,
    model_path: str | os.PathLike[str],
    model_name: str,
    *,
    tags: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    description: str | None = None,
    child_paths: Sequence[str | os.PathLike[str]] | None = None,
    facts: ModelFacts | None = None,
    folder_name: str | None = None,
) -> Asset:
    """Copy a file or folder into the workspace and register it as the next version of a name.

    ``folder_name`` replaces the name that the folder has within the model.

    Raises:
        WebserviceException: the name cannot be used, or there is nothing that could be registered (see `find_files`).
        BatchmillError: a file cannot be read, or the workspace takes no more.
    """
    from batchmill.workspace import model_store

    check_name(model_name)
    files = find_files(model_path, child_paths, folder_name)
    location, kept = model_store.keep(ws, files)
    try:
        return ws.registry.add(
            KIND,
            model_name,
            _definition(location, kept, facts or ModelFacts()),
            description=description,
            tags=tags,
            properties=properties,
        )
    except BaseException:
        model_store.remove(ws, location, kept)
        raise


def check_name(name: str) -> None:
    """Raises WebserviceException when a model cannot be called so."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise WebserviceException(
            f"A model cannot be called {name!r}: a name has 1 to 255 letters, digits, '-', '_' and '.', and begins with a letter or digit."
        )


def _definition(location: str, files: Sequence[ModelFile], facts: ModelFacts) -> dict[str, Any]:
    said = replace(facts, model_framework=facts.model_framework or Framework.CUSTOM)
    return {"location": location, "files": [file.to_dict() for file in files], **said.to_dict()}


def remove_model(ws: Workspace, asset: Asset) -> None:
    """Take one version out of the registry and remove its files; the number of the version is not given again while others are left.

    Raises:
        BatchmillError: its files are in a store that refuses; it is registered no more then.
    """
    from batchmill.workspace import model_store
    from batchmill.workspace.model_files import content_of

    assert asset.name is not None
    if ws.registry.remove(KIND, asset.name, asset.version):
        model_store.remove(ws, asset.definition["location"], content_of(asset.definition))
