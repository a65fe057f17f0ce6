"""`RunConfiguration` and `ScriptRunConfig`: how one script is to be run (Azure ML: ``azureml.core.runconfig``). Values only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.exceptions import RunConfigurationException, UserErrorException
from batchmill.workspace.run_sections import DataReferenceConfiguration, DockerConfiguration, HistoryConfiguration

LOCAL = "local"
FRAMEWORKS = ("Python", "PySpark", "TensorFlow", "PyTorch", "CNTK")
COMMUNICATORS = ("None", "ParameterServer", "OpenMpi", "IntelMpi", "Gloo", "Nccl")
DEFAULT_NAME = "default-environment"
FOLDER, SUFFIX = ".azureml", ".runconfig"
LONGEST_RUN = 2592000
"""Seconds: thirty days."""


class RunConfiguration:
    """Script, arguments, environment and target of a run.

    >>> run_config = RunConfiguration(conda_dependencies=CondaDependencies.create(pip_packages=["pillow"]))
    >>> run_config.target, run_config.node_count
    ('local', 1)
    """

    def __init__(
        self,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        framework: str | None = None,
        communicator: str | None = None,
        conda_dependencies: CondaDependencies | None = None,
        _history_enabled: bool | None = None,
        _path: str | None = None,
        _name: str | None = None,
        command: Any = None,
    ) -> None:
        self.script = script
        self.arguments: list[Any] = list(arguments or [])
        self.command = command
        self.framework = _word(framework or "Python", FRAMEWORKS, "framework")
        self.communicator = _word(communicator or "None", COMMUNICATORS, "communicator")
        self._target = LOCAL
        self.node_count = 1
        self.max_run_duration_seconds: int | None = None
        self.priority: int | None = None
        self.auto_prepare_environment = True
        self._environment = Environment(DEFAULT_NAME)
        if conda_dependencies is not None:
            self._environment.python.conda_dependencies = conda_dependencies
        self.docker = DockerConfiguration()
        self.history = HistoryConfiguration(output_collection=_history_enabled is not False)
        self.environment_variables: dict[str, str] = {}
        self.data_references: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.output_data: dict[str, Any] = {}
        self._path, self._name = _path, _name

    @property
    def target(self) -> str:
        """The name of a compute target; ``local`` is this machine. Set it to the name or the object."""
        return self._target

    @target.setter
    def target(self, value: Any) -> None:
        name = value if isinstance(value, str) else getattr(value, "name", None)
        if not isinstance(name, str) or not name:
            raise UserErrorException(f"The target of a run is a compute target or its name, not {value!r}.")
        self._target = name

    @property
    def environment(self) -> Environment:
        return self._environment

    @environment.setter
    def environment(self, value: Environment) -> None:
        if not isinstance(value, Environment):
            raise UserErrorException(f"environment expected Environment, {type(value)} found")
        self._environment = value

    @property
    def name(self) -> str | None:
        """The name it was saved or loaded under."""
        return self._name

    def to_dict(self) -> dict[str, Any]:
        """The camelCase form of ``.runconfig`` files; passwords and credentials are left out."""
        references = {
            name: one.to_dict() if isinstance(one, DataReferenceConfiguration) else one for name, one in self.data_references.items()
        }
        return {
            "script": self.script,
            "arguments": list(self.arguments),
            "command": self.command,
            "framework": self.framework,
            "communicator": self.communicator,
            "target": self.target,
            "nodeCount": self.node_count,
            "maxRunDurationSeconds": self.max_run_duration_seconds,
            "priority": self.priority,
            "autoPrepareEnvironment": self.auto_prepare_environment,
            "environment": self.environment.to_dict(),
            "docker": self.docker.to_dict(),
            "history": self.history.to_dict(),
            "environmentVariables": dict(self.environment_variables),
            "dataReferences": references,
            "data": dict(self.data),
            "outputData": dict(self.output_data),
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> RunConfiguration:
        """Read the camelCase form; what is not in it has its default.

        Raises:
            RunConfigurationException: it is not of that form.
        """
        if not isinstance(values, dict):
            raise RunConfigurationException("A run configuration is a mapping.")
        read = RunConfiguration(values.get("script"), values.get("arguments"), values.get("framework"), values.get("communicator"))
        read.command = values.get("command")
        read.target = values.get("target") or LOCAL
        read.node_count = int(values.get("nodeCount") or 1)
        read.max_run_duration_seconds = values.get("maxRunDurationSeconds")
        read.priority = values.get("priority")
        read.auto_prepare_environment = bool(values.get("autoPrepareEnvironment", True))
        if values.get("environment"):
            read.environment = Environment.from_dict({"name": DEFAULT_NAME} | values["environment"])
        read.docker = DockerConfiguration.from_dict(values.get("docker"))
        read.history = HistoryConfiguration.from_dict(values.get("history"))
        read.environment_variables = dict(values.get("environmentVariables") or {})
        references = values.get("dataReferences") or {}
        read.data_references = {name: DataReferenceConfiguration.from_dict(one) for name, one in references.items()}
        read.data = dict(values.get("data") or {})
        read.output_data = dict(values.get("outputData") or {})
        return read

    def save(self, path: str | Path | None = None, name: str | None = None, separate_environment_yaml: bool = False) -> None:
        """Write ``<path>/.azureml/<name>.runconfig`` as YAML (default: this folder, the name of the target), or the file ``path``.

        ``separate_environment_yaml``: the environment goes into ``environment.yml`` beside it.
        """
        import yaml

        file = _file(Path(path or self._path or "."), name or self._name or self.target)
        file.parent.mkdir(parents=True, exist_ok=True)
        values = self.to_dict()
        if separate_environment_yaml:
            beside = file.with_name("environment.yml")
            beside.write_text(yaml.safe_dump(values["environment"], sort_keys=False), encoding="utf-8")
            values["environment"] = beside.name
        file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    @staticmethod
    def load(path: str | Path, name: str | None = None) -> RunConfiguration:
        """Read what `save` wrote: a file, or the one of that name below a folder.

        Raises:
            RunConfigurationException: there is none, or it is not understood.
        """
        file = Path(path) if Path(path).is_file() else _file(Path(path), name or LOCAL)
        values = _yaml(file)
        if isinstance(values, dict) and isinstance(values.get("environment"), str):
            values["environment"] = _yaml(file.with_name(values["environment"]))
        read = RunConfiguration.from_dict(values)
        read._path, read._name = str(path), name or file.name.removesuffix(SUFFIX)
        return read

    def __repr__(self) -> str:
        import json

        return json.dumps(self.to_dict(), indent=4, default=str)


class ScriptRunConfig:
    """A script with all that is needed to run it once."""

    def __init__(
        self,
        source_directory: str | Path,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        run_config: RunConfiguration | None = None,
        compute_target: Any = None,
        environment: Environment | None = None,
        distributed_job_config: Any = None,
        resume_from: Any = None,
        max_run_duration_seconds: int | None = LONGEST_RUN,
        command: Any = None,
        docker_runtime_config: DockerConfiguration | None = None,
    ) -> None:
        if run_config is not None and (compute_target is not None or environment is not None):
            raise UserErrorException("compute_target and environment are parts of run_config: give the one or the other.")
        if script is not None and command is not None:
            raise UserErrorException("Only one of script or command can be specified")
        self.source_directory = str(source_directory)
        self.run_config = run_config or RunConfiguration()
        self.script = script if script is not None else self.run_config.script
        self.arguments: list[Any] = list(arguments if arguments is not None else self.run_config.arguments)
        self.command = command if command is not None else self.run_config.command
        self.run_config.script, self.run_config.arguments, self.run_config.command = self.script, self.arguments, self.command
        if compute_target is not None:
            self.run_config.target = compute_target
        if environment is not None:
            self.run_config.environment = environment
        if docker_runtime_config is not None:
            self.run_config.docker = docker_runtime_config
        self.run_config.max_run_duration_seconds = max_run_duration_seconds
        self.distributed_job_config = distributed_job_config
        self.resume_from = resume_from
        self.max_run_duration_seconds = max_run_duration_seconds


def _word(value: str, known: Sequence[str], what: str) -> str:
    found = next((word for word in known if word.lower() == str(value).lower()), None)
    if found is None:
        raise UserErrorException(f"{what} '{value}' is not one of {', '.join(known)}.")
    return found


def _file(path: Path, name: str) -> Path:
    return path if path.suffix in (SUFFIX, ".yml", ".yaml") else path / FOLDER / f"{name}{SUFFIX}"


def _yaml(file: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunConfigurationException(f"The run configuration {file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunConfigurationException(f"The run configuration {file} is no YAML: {' '.join(str(error).split())}") from None
