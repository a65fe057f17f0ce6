"""`RunConfiguration`, `ScriptRunConfig` and their sections as values."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.docker_section import DEFAULT_GPU_IMAGE
from batchmill.workspace.environment import Environment
from batchmill.workspace.exceptions import RunConfigurationException, UserErrorException
from batchmill.workspace.run_configuration import RunConfiguration, ScriptRunConfig
from batchmill.workspace.run_sections import DataReferenceConfiguration, DockerConfiguration


def test_defaults() -> None:
    configuration = RunConfiguration()
    assert (configuration.target, configuration.framework, configuration.node_count) == ("local", "Python", 1)
    assert configuration.environment.python.conda_dependencies is not None
    assert (configuration.data, configuration.data_references, configuration.environment_variables) == ({}, {}, {})
    assert not configuration.docker.use_docker
    assert configuration.history.output_collection


def test_what_the_sources_set() -> None:
    configuration = RunConfiguration(conda_dependencies=CondaDependencies.create(pip_packages=["scikit-learn"]))
    configuration.environment.docker.enabled = True
    configuration.environment.docker.base_image = DEFAULT_GPU_IMAGE
    configuration.environment.python.user_managed_dependencies = False
    configuration.environment.python.conda_dependencies = CondaDependencies.create(conda_packages=["numpy"])
    configuration.target = SimpleNamespace(name="cpu-cluster")
    assert configuration.target == "cpu-cluster"
    configuration.target = "other"
    assert configuration.target == "other"


def test_wrong_values_are_refused() -> None:
    configuration = RunConfiguration()
    with pytest.raises(UserErrorException, match="target"):
        configuration.target = None
    with pytest.raises(UserErrorException, match="environment expected Environment"):
        configuration.environment = "mine"  # type: ignore[assignment]
    with pytest.raises(UserErrorException, match="framework 'Julia' is not one of"):
        RunConfiguration(framework="Julia")
    with pytest.raises(UserErrorException, match="Invalid mode 'fax'"):
        DataReferenceConfiguration(mode="fax")


@pytest.mark.parametrize("separate", [False, True])
def test_files_round_trip(tmp_path: Path, separate: bool) -> None:
    configuration = RunConfiguration("train.py", ["--x", 1], framework="python")
    configuration.target = "cpu-cluster"
    configuration.node_count = 2
    configuration.docker = DockerConfiguration(use_docker=True, arguments=["-v"])
    configuration.data_references = {"in": DataReferenceConfiguration("store", "download", "a/b")}
    configuration.environment.environment_variables = {"A": "b"}
    configuration.save(tmp_path, separate_environment_yaml=separate)
    assert (tmp_path / ".azureml" / "cpu-cluster.runconfig").is_file()
    read = RunConfiguration.load(tmp_path, "cpu-cluster")
    assert read.to_dict() == configuration.to_dict()
    assert read.name == "cpu-cluster"
    assert RunConfiguration.load(tmp_path / ".azureml" / "cpu-cluster.runconfig").to_dict() == configuration.to_dict()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunConfigurationException, match="cannot be read"):
        RunConfiguration.load(tmp_path, "missing")
    (tmp_path / "bad.runconfig").write_text("a: [")
    with pytest.raises(RunConfigurationException, match="is no YAML"):
        RunConfiguration.load(tmp_path / "bad.runconfig")
    (tmp_path / "bad.runconfig").write_text("text")
    with pytest.raises(RunConfigurationException, match="is a mapping"):
        RunConfiguration.load(tmp_path / "bad.runconfig")


def test_script_run_config() -> None:
    environment = Environment("mine")
    source = ScriptRunConfig("src", "train.py", ["--x"], compute_target="cpu-cluster", environment=environment)
    assert source.run_config.environment is environment
    assert (source.run_config.target, source.run_config.script, source.run_config.arguments) == ("cpu-cluster", "train.py", ["--x"])
    assert source.max_run_duration_seconds == 2592000
    kept = ScriptRunConfig("src", run_config=RunConfiguration("a.py", ["b"]))
    assert (kept.script, kept.arguments) == ("a.py", ["b"])
    with pytest.raises(UserErrorException, match="parts of run_config"):
        ScriptRunConfig("src", run_config=RunConfiguration(), environment=environment)
    with pytest.raises(UserErrorException, match="Only one of script or command"):
        ScriptRunConfig("src", "a.py", command="b")
