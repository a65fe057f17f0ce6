"""What an environment's wishes mean on this machine: build them, or take what is there and say what differs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, cast

from batchmill.errors import SettingError

if TYPE_CHECKING:
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.environment_recipe import Recipe
    from batchmill.workspace.workspace import Workspace

Policy = Literal["build", "current"]
Images = Literal["error", "environment"]
POLICIES = ("build", "current")
IMAGES = ("error", "environment")
SETTING, VARIABLE = "environments", "BATCHMILL_ENVIRONMENTS"
IMAGES_SETTING, IMAGES_VARIABLE = "docker_images", "BATCHMILL_DOCKER_IMAGES"


def environment_policy(asked: str | None, workspace: Workspace | None, environment: Environment, recipe: Recipe) -> Policy:
    """The policy that counts: the run's, else the variable's, else the workspace's, else by what the environment names.

    By default an environment that names nothing beyond the defaults runs in the current interpreter, any other is built.

    Raises:
        SettingError: one of them is neither build nor current.
    """
    found = _first(asked, VARIABLE, workspace, SETTING, POLICIES)
    if found is not None:
        return cast(Policy, found)
    if not recipe.empty:
        return "build"
    return "current" if environment.docker.own_image is None or image_policy(workspace) == "environment" else "build"


def image_policy(workspace: Workspace | None) -> Images:
    """What happens to an environment that wants a Docker image: ``error`` (default), or ``environment``: its packages without the image.

    Raises:
        SettingError: it is neither.
    """
    return cast(Images, _first(None, IMAGES_VARIABLE, workspace, IMAGES_SETTING, IMAGES) or "error")


def _first(asked: str | None, variable: str, workspace: Workspace | None, setting: str, words: tuple[str, ...]) -> str | None:
    places = [("The run's setting 'environments'", asked), (f"The variable {variable}", os.environ.get(variable))]
    for where, value in places:
        if value:
            return _checked(value, where, words)
    if workspace is None:
        return None
    value = workspace.registry.setting(setting)
    return _checked(str(value), f"Setting '{setting}' of workspace {workspace.name}", words) if value else None


def _checked(value: str, where: str, words: tuple[str, ...]) -> str:
    if value.lower() not in words:
        raise SettingError(f"{where} is {value!r}; it is one of {', '.join(words)}.")
    return value.lower()
