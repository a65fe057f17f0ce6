"""An environment as an order to other machines: complete in itself, so that each builds it without a workspace, into its own cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.workspace.built_environment import Announce
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_policy import environment_policy, image_policy
from batchmill.workspace.environment_preparation import Interpreter, prepare_environment
from batchmill.workspace.environment_recipe import recipe_of

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

LINKS = "--find-links"


@dataclass(frozen=True, slots=True)
class EnvironmentOrder:
    """Plain data that travels, with the secrets of the environment.

    ``definition`` is that of `Environment.to_dict`; files that it named are read. ``policy`` and ``images`` are what was decided about it
    (`environment_policy`). ``paths``: files and folders that it installs from, which every machine has to see.
    """

    definition: Mapping[str, Any] = field(repr=False)
    policy: str
    images: str
    needs_tables: bool = False
    paths: tuple[str, ...] = ()

    def interpreter(self, announce: Announce | None = None) -> Interpreter:
        """Have it on this machine; the others who want the same here wait for whoever builds it.

        Raises:
            EnvironmentBuildError: it cannot be built or used here.
        """
        environment = Environment.from_dict(dict(self.definition))
        return prepare_environment(
            None, environment, self.policy, needs_tables=self.needs_tables, announce=announce, folder=Path("/"), images=self.images
        )


def environment_order(
    workspace: Workspace | None, environment: Environment, policy: str | None, folder: Path, *, needs_tables: bool = False
) -> EnvironmentOrder:
    """The order for an environment whose relative paths are meant from ``folder``; ``policy`` is the run's own, if it has one.

    Raises:
        UserErrorException: a file that it names is missing, or something in it is not understood.
        SettingError: a policy is none.
    """
    from batchmill.workspace.environment import conda_file
    from batchmill.workspace.pip_requirements import flattened

    complete = Environment.from_dict(environment.to_dict(secrets=True))
    python = complete.python
    if python.conda_dependencies_file:
        python.conda_dependencies = conda_file(folder / python.conda_dependencies_file)
        python.conda_dependencies_file = None
    elif python.conda_dependencies is not None:
        lines = [*python.conda_dependencies.pip_options, *python.conda_dependencies.pip_packages]
        if lines:
            python.conda_dependencies.set_pip_requirements(flattened(lines, folder))
    recipe = recipe_of(complete, folder)
    return EnvironmentOrder(
        complete.to_dict(secrets=True),
        environment_policy(policy, workspace, complete, recipe),
        "error" if complete.docker.own_image is None else image_policy(workspace),
        needs_tables,
        (*map(str, recipe.pip.local_paths()), *(value for name, value in recipe.pip.options if name == LINKS and "://" not in value)),
    )
