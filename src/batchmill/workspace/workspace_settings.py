"""The settings of a workspace, declared once: key, form, meaning."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchmill.errors import SettingError
from batchmill.workspace.environment_policy import IMAGES, POLICIES

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class WorkspaceSetting:
    """One key. ``is_json`` says that its value is given as JSON; ``check`` raises SettingError for a value it may not have."""

    key: str
    meaning: str
    check: Callable[[Workspace, Any], None]
    is_json: bool = False


def parse_setting(workspace: Workspace, key: str, text: str) -> Any:
    """The value of a setting as it is kept; None for an empty text, which takes the setting away.

    Raises:
        SettingError: there is no such setting, or it may not have that value.
    """
    setting = KNOWN.get(key)
    if setting is None:
        near = difflib.get_close_matches(key, KNOWN, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(KNOWN)}."
        raise SettingError(f"A workspace has no setting '{key}'.", cure=hint)
    if not text.strip():
        return None
    value: Any = text.strip()
    if setting.is_json:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise SettingError(f"Setting '{key}' is no JSON: {error}.") from None
        if not isinstance(value, dict):
            raise SettingError(f"Setting '{key}' must be a JSON object.")
    setting.check(workspace, value)
    return value


def _check_datastore(workspace: Workspace, value: str) -> None:
    if workspace.registry.get("datastore", value) is None:
        raise SettingError(f"There is no datastore '{value}' in workspace {workspace.name}.", cure="batchmill datastore list shows them.")


def _check_compute(workspace: Workspace, value: str) -> None:
    if workspace.registry.get("compute", value) is None:
        raise SettingError(
            f"There is no compute target '{value}' in workspace {workspace.name}.", cure="batchmill compute list shows them."
        )


def _check_policy(_workspace: Workspace, value: str) -> None:
    if value not in POLICIES:
        raise SettingError(f"Setting 'environments' has the value '{value}': it must be {' or '.join(POLICIES)}.")


def _check_images(_workspace: Workspace, value: str) -> None:
    if value not in IMAGES:
        raise SettingError(f"Setting 'docker_images' has the value '{value}': it must be {' or '.join(IMAGES)}.")


def _check_mirrors(_workspace: Workspace, value: dict[str, Any]) -> None:
    from batchmill.storage.mirrors import Mirrors

    if not all(isinstance(target, str) for target in value.values()):
        raise SettingError("Setting 'mirrors' must be a JSON object of texts: prefix to folder or URL.")
    Mirrors(value, "Setting 'mirrors'")


def _check_provider(_workspace: Workspace, value: str) -> None:
    from batchmill.workspace.compute_provider import check_provider

    check_provider(value)


def _check_sizes(_workspace: Workspace, value: dict[str, Any]) -> None:
    from batchmill.workspace.vm_sizes import parse_sizes

    list(parse_sizes(value))


KNOWN = {
    setting.key: setting
    for setting in (
        WorkspaceSetting("default_datastore", "The datastore that is meant where none is named.", _check_datastore),
        WorkspaceSetting("default_cpu_compute", "The compute target that get_default_compute_target('CPU') gives.", _check_compute),
        WorkspaceSetting("default_gpu_compute", "The compute target that get_default_compute_target('GPU') gives.", _check_compute),
        WorkspaceSetting("environments", "build or current: how runs come to the environment that they name.", _check_policy),
        WorkspaceSetting("compute_provider", "local or ray:ADDRESS: where the nodes of compute targets are.", _check_provider),
        WorkspaceSetting(
            "docker_images", "error or environment: refuse an environment with an image of its own, or use its packages.", _check_images
        ),
        WorkspaceSetting("mirrors", "Where public URLs and containers are read from instead.", _check_mirrors, is_json=True),
        WorkspaceSetting("vm_sizes", "Sizes of nodes beside the usual ones of Azure.", _check_sizes, is_json=True),
    )
}
