"""The ``config.json`` that says which workspace a folder belongs to (Azure ML: ``Workspace.from_config``, ``write_config``)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchmill.workspace.exceptions import UserErrorException

FILE = "config.json"
FOLDERS = (".azureml", "aml_config")
KEYS = ("subscription_id", "resource_group", "workspace_name")


def find_config(start: Path, file_name: str = FILE) -> Path | None:
    """The file in ``.azureml``, ``aml_config`` or the folder itself, of this folder or the nearest one above; None where there is none.

    A ``config.json`` beside other files may belong to anything: it counts when it names a workspace.
    """
    for folder in (start, *start.parents):
        for name in FOLDERS:
            if (folder / name / file_name).is_file():
                return folder / name / file_name
        plain = folder / file_name
        if plain.is_file() and (file_name != FILE or _names_a_workspace(plain)):
            return plain
    return None


def read_config(path: Path) -> dict[str, str]:
    """The three values; subscription and resource group may be missing or empty.

    Raises:
        UserErrorException: it is no JSON object, or names no workspace.
    """
    cure = "Batchmill writes a good one: batchmill workspace create NAME --write-config"
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UserErrorException(f"The workspace configuration file {path} cannot be read: {cause}. {cure}") from None
    if not isinstance(value, dict) or not isinstance(value.get("workspace_name"), str) or not value["workspace_name"]:
        raise UserErrorException(f"The workspace configuration file {path} does not name a workspace (key workspace_name). {cure}")
    return {key: str(value.get(key) or "") for key in KEYS}


def write_config(path: Path, values: Mapping[str, str]) -> None:
    """Write the file as a whole, its folder made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}.{os.getpid()}")
    own.write_text(json.dumps({key: values[key] for key in KEYS}, indent=4) + "\n", encoding="utf-8")
    own.replace(path)


def _names_a_workspace(path: Path) -> bool:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and "workspace_name" in value
