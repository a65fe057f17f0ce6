"""What of a workspace the settings of a run name: recognised in their texts, and made of objects that stand for texts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from batchmill.errors import SettingError
from batchmill.settings.ray_address import ray_address

if TYPE_CHECKING:
    from batchmill.settings import RunSettings

OF_READING = (
    "format",
    "include_hidden",
    "partition_format",
    "separator",
    "header",
    "encoding",
    "infer_column_types",
    "support_multi_line",
    "empty_as_string",
    "include_path",
    "unparsable",
)
DATASET, DATASTORE = "dataset:", "datastore://"


def names_things(settings: RunSettings) -> bool:
    """Whether the settings name anything of a workspace."""
    places = [*settings.inputs, settings.output or ""]
    compute = None if ray_address(settings.compute) else settings.compute
    named = settings.workspace or settings.models or settings.environment or compute
    return bool(named) or any(is_name(text) for text in places)


def check_reading(settings: RunSettings) -> None:
    """Refuse settings that say how files are read where all inputs are datasets, which say that themselves.

    Raises:
        SettingError: there is one.
    """
    if not settings.inputs or not all(text.startswith(DATASET) for text in settings.inputs):
        return
    given: dict[str, Any] = {"script": settings.script}
    plain = type(settings)(**given)
    for name in OF_READING:
        if getattr(settings, name) != getattr(plain, name):
            raise SettingError(
                f"Setting '{name}' says how files are read, but {settings.inputs[0]} says that itself.",
                cure="Leave it out, or register the dataset with it; nothing was started.",
            )


def is_name(text: str) -> bool:
    """``dataset:...``, ``datastore://...``, or the URL of a container of Azure, which may be registered."""
    if text.startswith((DATASET, DATASTORE)) or "://" not in text:
        return text.startswith((DATASET, DATASTORE))
    from batchmill.storage.blob_url import parse_blob_url

    return parse_blob_url(text) is not None


def as_text(value: Any, workspace: Any = None) -> Any:
    """What a setting says of an object of a workspace: a dataset becomes ``dataset:id:ID``, a model or environment ``NAME:VERSION``, a
    compute target or workspace its name. Lists are taken apart; anything else is a path or left to the settings to judge."""
    if isinstance(value, (list, tuple)):
        return [as_text(one, workspace) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str) or not type(value).__module__.startswith("batchmill.workspace."):
        return value
    if hasattr(value, "save") and hasattr(value, "definition"):
        return f"{DATASET}id:{value.id or value.save(_workspace(workspace))}"
    version = getattr(value, "version", None)
    return str(value.name) if version is None else f"{value.name}:{version}"


def _workspace(given: Any) -> Any:
    from batchmill.workspace.current import find_workspace

    return given if given is not None and not isinstance(given, str) else find_workspace(given)
