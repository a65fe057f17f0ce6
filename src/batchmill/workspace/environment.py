"""`Environment`: what a step's processes run in (Azure ML: ``azureml.core.Environment``)."""

from __future__ import annotations

import copy
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.workspace.conda_dependencies import DEFAULT_FILE_NAME, CondaDependencies
from batchmill.workspace.container_registry import ContainerRegistry
from batchmill.workspace.docker_section import DockerSection
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.python_section import PythonSection
from batchmill.workspace.spark_section import SparkSection

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

JSON_FILE_NAME = "azureml_environment.json"
DATABRICKS: dict[str, list[str]] = {"mavenLibraries": [], "pypiLibraries": [], "rcranLibraries": [], "jarLibraries": [], "eggLibraries": []}


class Environment:
    """Python, packages, environment variables and image of a step; nothing is built until a run needs it.

    >>> environment = Environment("scoring")
    >>> environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["pillow"])
    >>> print(environment)
    Environment(Name: scoring,
    Version: None)
    """

    def __init__(self, name: str, **_azure: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"Environment name expected str, {type(name)} found")
        self.name = name
        self._version: str | None = None
        self.python = PythonSection()
        self.docker = DockerSection()
        self.spark = SparkSection()
        self.environment_variables: dict[str, str] = {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}
        self.inferencing_stack_version: str | None = None
        self.databricks: Any = copy.deepcopy(DATABRICKS)
        self.r: Any = None
        self.asset_id: str | None = None

    @property
    def version(self) -> str | None:
        """The version it is registered under, as text; None until then."""
        return self._version

    # --- where environments come from -------------------------------------------------------------------------------------------

    @staticmethod
    def from_conda_specification(name: str, file_path: str | Path) -> Environment:
        """An environment from a conda environment file; ``-r`` lines of its pip section are read from beside it.

        Raises:
            UserErrorException: the file is missing or broken.
        """
        environment = Environment(name)
        environment.python.conda_dependencies = conda_file(file_path)
        return environment

    @staticmethod
    def from_pip_requirements(name: str, file_path: str | Path, pip_version: str | None = None) -> Environment:
        """An environment from a requirements file of pip.

        Raises:
            UserErrorException: the file, or one it names with ``-r``, is missing.
        """
        environment = Environment(name)
        packages = CondaDependencies(_underlying_structure=CondaDependencies().as_dict())
        packages.set_pip_requirements(pip_file(file_path))
        packages.add_conda_package("pip" if pip_version is None else f"pip={pip_version}")
        environment.python.conda_dependencies = packages
        return environment

    @staticmethod
    def from_docker_image(
        name: str,
        image: str,
        container_registry: ContainerRegistry | None = None,
        conda_specification: str | Path | None = None,
        pip_requirements: str | Path | None = None,
    ) -> Environment:
        """An environment in a Docker image; without a file of packages, what the image holds is used as it is."""
        environment = _with_packages(name, conda_specification, pip_requirements)
        environment.docker.base_image = image
        if container_registry is not None:
            environment.docker.base_image_registry = container_registry
        return environment

    @staticmethod
    def from_dockerfile(
        name: str, dockerfile: str | Path, conda_specification: str | Path | None = None, pip_requirements: str | Path | None = None
    ) -> Environment:
        """An environment in the image that a Dockerfile (its path or its text) makes."""
        environment = _with_packages(name, conda_specification, pip_requirements)
        environment.docker.base_image = None
        environment.docker.base_dockerfile = str(dockerfile)
        environment.docker.base_dockerfile = environment.docker.dockerfile_text()
        return environment

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment:
        """An environment that names what a conda environment of this machine holds.

        Raises:
            UserErrorException: conda is not there, or has no such environment.
        """
        tool = next((found for found in map(shutil.which, ("conda", "mamba", "micromamba")) if found), None)
        if tool is None:
            raise UserErrorException(
                f"The conda environment '{conda_environment_name}' cannot be read: conda is not on PATH. "
                "Export it where it is (conda env export) and use Environment.from_conda_specification."
            )
        command = [tool, "env", "export", "--no-builds", "--name", conda_environment_name]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if ended.returncode:
            cause = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()[-1]
            raise UserErrorException(f"The conda environment '{conda_environment_name}' cannot be read: {cause}")
        import yaml

        content = yaml.safe_load(ended.stdout)
        content.pop("prefix", None)
        environment = Environment(name)
        environment.python.conda_dependencies = CondaDependencies(_underlying_structure=content)
        return environment

    # --- registered environments ------------------------------------------------------------------------------------------------

    @staticmethod
    def get(workspace: Workspace, name: str, version: str | int | None = None, label: str | None = None) -> Environment:
        """A registered environment, the newest version by default.

        Raises:
            UserErrorException: there is none of that name, version or label; or both version and label are given.
        """
        from batchmill.workspace.registered_environment import find_environment

        if version is not None and label is not None:
            raise UserErrorException("Only one of version or label can be specified")
        return from_asset(workspace, find_environment(workspace, name, version, label))

    @staticmethod
    def list(workspace: Workspace) -> dict[str, Environment]:
        """All registered environments: name -> newest version."""
        return {str(asset.name): from_asset(workspace, asset) for asset in workspace.registry.list("environment", limit=None)}

    def register(self, workspace: Workspace) -> Environment:
        """Register it under its name; a new version when it differs from the newest one. Returns the registered environment."""
        from batchmill.workspace.registered_environment import register_environment

        return from_asset(workspace, register_environment(workspace, self))

    def build(self, workspace: Workspace, image_build_compute: Any = None) -> EnvironmentBuild:
        """Build it now, on this machine, instead of when a run first needs it.

        Raises:
            EnvironmentBuildError: it cannot be built.
        """
        from batchmill.workspace.environment_preparation import prepare_environment

        return EnvironmentBuild(prepare_environment(workspace, self, "build").description)

    def build_local(self, workspace: Workspace, platform: Any = None, **kwargs: Any) -> EnvironmentBuild:
        """The same as `build` (Azure ML: on this machine, with conda or Docker)."""
        return self.build(workspace)

    def get_image_details(self, workspace: Workspace) -> dict[str, Any]:
        """What a run in this environment uses, as far as an image plays a part in it."""
        from batchmill.workspace.built_environment import build_of
        from batchmill.workspace.environment_recipe import recipe_of

        built = build_of(recipe_of(self).key)
        return {
            "ingredients": {"dockerfile": self.docker.dockerfile_text(), "baseImage": self.docker.base_image},
            "imageExistsInRegistry": False,
            "pythonEnvironment": {"packages": self.to_dict()["python"]["condaDependencies"], "builtAt": built and str(built.folder)},
        }

    # --- copies and files -------------------------------------------------------------------------------------------------------

    def clone(self, new_name: str) -> Environment:
        """A copy under another name, not registered."""
        if not isinstance(new_name, str):
            raise TypeError(f"Environment name expected str, {type(new_name)} found")
        values = self.to_dict(secrets=True) | {"name": new_name, "version": None, "assetId": None}
        return Environment.from_dict(values)

    def save_to_directory(self, path: str | Path, overwrite: bool = False) -> None:
        """Write ``azureml_environment.json`` and ``conda_dependencies.yml`` into a folder; passwords are left out.

        Raises:
            UserErrorException: the folder exists and ``overwrite`` is not set.
        """
        folder = Path(path)
        if folder.exists() and not overwrite:
            raise UserErrorException(f"The folder {folder} exists already. Set overwrite=True to write into it.")
        folder.mkdir(parents=True, exist_ok=True)
        values = self.to_dict()
        packages = values["python"].pop("condaDependencies")
        if packages is not None:
            CondaDependencies(_underlying_structure=packages).save(folder / DEFAULT_FILE_NAME)
            values["python"]["condaDependenciesFile"] = DEFAULT_FILE_NAME
        (folder / JSON_FILE_NAME).write_text(json.dumps(values, indent=4) + "\n", encoding="utf-8")

    @staticmethod
    def load_from_directory(path: str | Path) -> Environment:
        """Read what `save_to_directory` wrote.

        Raises:
            UserErrorException: the folder holds no environment.
        """
        file = Path(path) / JSON_FILE_NAME
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserErrorException(f"The environment in {path} cannot be read: {file}: {error.strerror}.") from None
        except ValueError as error:
            raise UserErrorException(f"The environment in {path} cannot be read: {file} is no JSON: {error}.") from None
        python = values.get("python") or {}
        if python.get("condaDependenciesFile"):
            packages = CondaDependencies(conda_dependencies_file_path=Path(path) / python["condaDependenciesFile"])
            values["python"] = python | {"condaDependenciesFile": None, "condaDependencies": packages.as_dict()}
        return Environment.from_dict(values)

    def to_dict(self, *, secrets: bool = False) -> dict[str, Any]:
        """The camelCase form of files and definitions; passwords and credentials only with ``secrets``."""
        return {
            "name": self.name,
            "version": self.version,
            "assetId": self.asset_id,
            "environmentVariables": dict(self.environment_variables or {}),
            "python": self.python.to_dict(secrets=secrets),
            "docker": self.docker.to_dict(secrets=secrets),
            "spark": self.spark.to_dict(),
            "databricks": copy.deepcopy(self.databricks),
            "r": self.r,
            "inferencingStackVersion": self.inferencing_stack_version,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Environment:
        """Read the camelCase form; what is not in it has its default.

        Raises:
            UserErrorException: it has no name, or is not of that form.
        """
        if not isinstance(values, dict) or not isinstance(values.get("name"), str):
            raise UserErrorException("An environment needs a 'name', a text.")
        for section in ("environmentVariables", "python", "docker", "spark"):
            if not isinstance(values.get(section) or {}, dict):
                raise UserErrorException(f"'{section}' of environment '{values['name']}' is no mapping.")
        environment = Environment(values["name"])
        environment._version = None if values.get("version") is None else str(values["version"])
        environment.asset_id = values.get("assetId")
        if "environmentVariables" in values:
            variables = values["environmentVariables"] or {}
            environment.environment_variables = {str(key): str(value) for key, value in variables.items()}
        environment.python = PythonSection.from_dict(values.get("python"))
        environment.docker = DockerSection.from_dict(values.get("docker"))
        environment.spark = SparkSection.from_dict(values.get("spark"))
        environment.databricks = values.get("databricks") or copy.deepcopy(DATABRICKS)
        environment.r = values.get("r")
        environment.inferencing_stack_version = values.get("inferencingStackVersion")
        return environment

    def __str__(self) -> str:
        return f"Environment(Name: {self.name},\nVersion: {self.version})"

    def __repr__(self) -> str:
        return json.dumps(self.to_dict(), indent=4, sort_keys=True)


class EnvironmentBuild:
    """A build that has ended well (Azure ML: a build that can be waited for)."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.status = "Succeeded"

    def wait_for_completion(self, show_output: bool = True) -> EnvironmentBuild:
        """Returns at once: the build has ended."""
        return self

    def __repr__(self) -> str:
        return f"EnvironmentBuild(environment={self.description['name']!r}, status={self.status!r})"


def from_asset(workspace: Workspace, asset: Asset) -> Environment:
    """The environment that a row of the registry describes."""
    from batchmill.workspace.registered_environment import opened

    environment = Environment.from_dict(opened(asset.definition) | {"name": asset.name, "version": asset.version})
    environment.asset_id = f"azureml://workspaces/{workspace.name}/environments/{asset.name}/versions/{asset.version}"
    return environment


def conda_file(path: str | Path) -> CondaDependencies:
    """The packages of a conda environment file, complete in itself: files that its pip section names are read now."""
    from batchmill.workspace.pip_requirements import flattened

    packages = CondaDependencies(conda_dependencies_file_path=path)
    lines = [*packages.pip_options, *packages.pip_packages]
    if lines:
        packages.set_pip_requirements(flattened(lines, Path(path).absolute().parent))
    return packages


def pip_file(path: str | Path) -> list[str]:
    """The lines of a requirements file and of those it names."""
    from batchmill.workspace.pip_requirements import flattened

    return flattened([f"-r {shlex.quote(str(Path(path).absolute()))}"], Path.cwd())


def _with_packages(name: str, conda_specification: str | Path | None, pip_requirements: str | Path | None) -> Environment:
    if conda_specification is not None and pip_requirements is not None:
        raise UserErrorException("Only one of conda_specification or pip_requirements can be specified")
    if conda_specification is not None:
        return Environment.from_conda_specification(name, conda_specification)
    if pip_requirements is not None:
        return Environment.from_pip_requirements(name, pip_requirements)
    environment = Environment(name)
    environment.python.user_managed_dependencies = True
    return environment
