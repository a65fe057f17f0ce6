"""From an environment, or its name, to the interpreter that a run starts its workers with."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.built_environment import Announce, BuildFolder, Built
from batchmill.workspace.environment import Environment, from_asset
from batchmill.workspace.environment_differences import differences
from batchmill.workspace.environment_policy import IMAGES_SETTING, IMAGES_VARIABLE, environment_policy, image_policy
from batchmill.workspace.environment_recipe import TABLES, Recipe, recipe_of
from batchmill.workspace.python_versions import is_default

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

EXACT = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What workers are started with: plain data.

    ``python``: path of the interpreter. ``variables``: those of the environment, and those that make the interpreter find its own
    packages; an empty text means that the variable must not be inherited. ``warnings``: one line each, for the report of the run.
    ``description``: what was decided, as JSON values, for the records of the run.
    """

    python: str
    variables: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)


def prepare_environment(
    workspace: Workspace | None,
    environment: str | Environment,
    policy: str | None = None,
    *,
    needs_tables: bool = False,
    announce: Announce | None = None,
    folder: Path | None = None,
    images: str | None = None,
) -> Interpreter:
    """Make sure that an environment is there, and say how workers are started in it.

    ``environment``: the object, or ``NAME`` or ``NAME:VERSION`` of the workspace. ``policy``: the run's own, build or current. A built
    environment is kept from being pruned until this process ends. ``folder``: where relative paths are meant from, default here.
    ``images``: the policy about images where it has been decided already.

    Raises:
        UserErrorException: there is no such environment, or it is not understood.
        EnvironmentBuildError: it cannot be built, or its interpreter cannot be used.
        SettingError: a policy is none.
    """
    if isinstance(environment, str):
        environment = _registered(workspace, environment)
    environment.docker.check()
    tell = announce or _silent
    recipe = recipe_of(environment, folder)
    python = environment.python
    if python.user_managed_dependencies:
        warnings = _image_warning(workspace, environment, recipe, images)
        return _user_managed(environment, recipe, warnings, needs_tables, folder or Path.cwd())
    if environment_policy(policy, workspace, environment, recipe) == "current":
        return _current(environment, recipe, needs_tables)
    if python.base_conda_environment:
        raise EnvironmentBuildError(
            f"{recipe.who} builds upon the conda environment '{python.base_conda_environment}', which is not supported.",
            cure="Use Environment.from_existing_conda_environment, or user_managed_dependencies with its interpreter_path.",
        )
    return _built(environment, recipe, _image_warning(workspace, environment, recipe, images), needs_tables, tell)


def _registered(workspace: Workspace | None, text: str) -> Environment:
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.registered_environment import find_environment, split_name

    workspace = workspace or find_workspace()
    return from_asset(workspace, find_environment(workspace, *split_name(text)))


def _silent(text: str) -> None:
    """Nobody wants to know."""


def _description(environment: Environment, recipe: Recipe, policy: str, python: str, warnings: list[str]) -> dict[str, Any]:
    return {
        "name": environment.name,
        "version": environment.version,
        "policy": policy,
        "key": recipe.key,
        "python": python,
        "provided": list(recipe.pip.provided),
        "warnings": warnings,
    }


def _image_warning(workspace: Workspace | None, environment: Environment, recipe: Recipe, images: str | None) -> list[str]:
    """One line where the environment wants an image of its own and may run without it.

    Raises:
        EnvironmentBuildError: it may not.
    """
    wanted = environment.docker.own_image
    if wanted is None:
        return []
    from batchmill.workspace.docker_engine import docker_engine

    version, why = docker_engine()
    engine = f"a Docker engine ({version}) answers here, but scripts do not run in containers" if version else f"no Docker engine: {why}"
    if (images or image_policy(workspace)) == "environment":
        return [f"{recipe.who} wants {wanted}; its packages are used without it ({engine})."]
    raise EnvironmentBuildError(
        f"{recipe.who} wants {wanted}: {engine}.",
        cure=f"To use its packages without the image, set {IMAGES_VARIABLE}=environment, or the setting {IMAGES_SETTING} of the workspace.",
    )


def _current(environment: Environment, recipe: Recipe, needs_tables: bool) -> Interpreter:
    found = differences(environment, recipe)
    if needs_tables:
        from importlib.util import find_spec

        missing = [name for name in TABLES if find_spec(name) is None]
        if missing:
            raise EnvironmentBuildError(f"This interpreter, {sys.executable}, cannot read tables: it has no {' and no '.join(missing)}.")
    warnings = [f"{recipe.who} is not built, this interpreter is used: {line}." for line in found]
    description = _description(environment, recipe, "current", sys.executable, warnings)
    return Interpreter(sys.executable, dict(environment.environment_variables), warnings, description | {"differences": found})


def _user_managed(environment: Environment, recipe: Recipe, warnings: list[str], needs_tables: bool, folder: Path) -> Interpreter:
    from batchmill.workspace.interpreter_check import check_interpreter

    python = own_interpreter(environment.python.interpreter_path, recipe, folder)
    checked = check_interpreter(python, recipe.who, plain=True)
    missing = [name for name in TABLES if name not in checked.tables] if needs_tables else []
    if missing:
        raise EnvironmentBuildError(
            f"The inputs are tables, and the interpreter {python} of environment '{environment.name}' has no {' and no '.join(missing)}.",
            cure=f"Install it: {python} -m pip install {' '.join(missing)}",
        )
    description = _description(environment, recipe, "user_managed", python, warnings) | {"python_version": checked.version}
    return Interpreter(python, dict(environment.environment_variables), warnings, description)


def own_interpreter(text: str, recipe: Recipe, folder: Path) -> str:
    """A path, meant from ``folder``; or a name, looked up beside the interpreter that runs Batchmill, then on PATH."""
    if os.sep in text or text.startswith("~"):
        path = folder / Path(text).expanduser()
        if path.is_dir():
            path /= Path("bin", "python")
        if not path.exists():
            raise EnvironmentBuildError(
                f"The interpreter {path} of environment '{recipe.name}' does not exist.",
                cure="Give the path of a Python as interpreter_path.",
            )
        return str(path)
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which(text, path=search)
    if found is None:
        raise EnvironmentBuildError(
            f"The interpreter '{text}' of environment '{recipe.name}' is not on PATH.", cure="Give its full path as interpreter_path."
        )
    return found


def _built(environment: Environment, recipe: Recipe, warnings: list[str], needs_tables: bool, tell: Announce) -> Interpreter:
    built, recipe = _build(recipe, needs_tables, tell)
    exact = EXACT.fullmatch(recipe.python or "")
    if exact and not is_default(recipe.python) and exact[0] != built.python_version:
        warnings = [*warnings, f"{recipe.who}: python {recipe.python} wanted, {built.python_version} used."]
    if built.added:
        warnings = [*warnings, f"{recipe.who} names no {' and no '.join(built.added)}, which reading tables needs: added."]
    description = _description(environment, recipe, "build", built.python, warnings) | {
        "folder": str(built.folder),
        "python_version": built.python_version,
        "packages": built.packages,
        "conda": built.conda,
        "added": built.added,
    }
    return Interpreter(built.python, _variables(environment, built), warnings, description)


def _build(recipe: Recipe, needs_tables: bool, tell: Announce) -> tuple[Built, Recipe]:
    from batchmill.workspace.environment_builder import build_environment

    if needs_tables:
        plain = BuildFolder(recipe.key).built()
        if plain is None or not plain.holds(*TABLES):
            recipe = recipe.with_tables()
    return build_environment(recipe, tell), recipe


def _variables(environment: Environment, built: Built) -> dict[str, str]:
    """As an activated environment has them; the launcher's own must not leak in."""
    binaries = str(Path(built.python).parent)
    home = {"CONDA_PREFIX": str(built.folder), "VIRTUAL_ENV": ""} if built.conda else {"VIRTUAL_ENV": str(built.folder), "CONDA_PREFIX": ""}
    own = dict(environment.environment_variables)
    path = own.get("PATH") or os.environ.get("PATH", os.defpath)
    return {"PYTHONPATH": "", "PYTHONHOME": "", "CONDA_DEFAULT_ENV": "", **home, **own, "PATH": os.pathsep.join([binaries, path])}
