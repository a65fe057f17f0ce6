"""`Environment` as a value: specification I, and the camelCase form of B2."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.container_registry import ContainerRegistry
from batchmill.workspace.docker_section import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE
from batchmill.workspace.environment import Environment
from batchmill.workspace.exceptions import UserErrorException
from tests import used_secrets


def test_defaults() -> None:
    environment = Environment("scoring")
    python, docker, spark = environment.python, environment.docker, environment.spark
    assert (environment.name, environment.version, environment.inferencing_stack_version) == ("scoring", None, None)
    assert environment.environment_variables == {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}
    assert (python.interpreter_path, python.user_managed_dependencies) == ("python", False)
    assert (python.conda_dependencies_file, python.base_conda_environment) == (None, None)
    assert python.conda_dependencies is not None
    assert python.conda_dependencies.as_dict() == CondaDependencies().as_dict()
    assert (docker.enabled, docker.base_image, docker.base_dockerfile) == (False, DEFAULT_CPU_IMAGE, None)
    assert (docker.shm_size, docker.arguments, docker.shared_volumes) == ("2g", [], True)
    assert (docker.platform.os, docker.platform.architecture) == ("Linux", "amd64")
    assert (spark.precache_packages, spark.packages, spark.repositories) == (True, [], [])


def test_names_are_texts() -> None:
    with pytest.raises(TypeError, match="Environment name expected str, <class 'int'> found"):
        Environment(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Environment name expected str, <class 'NoneType'> found"):
        Environment("a").clone(None)  # type: ignore[arg-type]


def test_str_and_repr() -> None:
    environment = Environment("scoring")
    assert str(environment) == "Environment(Name: scoring,\nVersion: None)"
    assert json.loads(repr(environment))["name"] == "scoring"


def test_everything_that_the_seeds_set(caplog: pytest.LogCaptureFixture) -> None:
    environment = Environment(name="batch_environment")
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["tensorflow==1.13.1", "pillow"])
    with caplog.at_level(logging.WARNING):
        environment.docker.enabled = True
    assert "'enabled' is deprecated" in caplog.text
    environment.docker.base_image = DEFAULT_GPU_IMAGE
    environment.spark.precache_packages = False
    environment.python.user_managed_dependencies = False
    environment.environment_variables = {"A": "b"}
    assert environment.docker.enabled
    assert environment.docker.own_image is None


def test_camel_case_form_has_the_names_of_azure() -> None:
    values = Environment("scoring").to_dict()
    assert set(values) == {
        "name",
        "version",
        "assetId",
        "environmentVariables",
        "python",
        "docker",
        "spark",
        "databricks",
        "r",
        "inferencingStackVersion",
    }
    python = {"userManagedDependencies", "interpreterPath", "condaDependenciesFile", "baseCondaEnvironment", "condaDependencies"}
    docker = {"enabled", "baseImage", "baseDockerfile", "buildContext", "sharedVolumes", "shmSize", "arguments", "baseImageRegistry"}
    assert set(values["python"]) == python
    assert set(values["docker"]) == {*docker, "platform"}
    assert set(values["docker"]["baseImageRegistry"]) == {"address", "username", "password", "registryIdentity"}
    assert set(values["docker"]["platform"]) == {"os", "architecture"}
    assert set(values["spark"]) == {"repositories", "packages", "precachePackages"}


def unusual() -> Environment:
    environment = Environment("unusual")
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["six"], python_version="3.12")
    environment.python.interpreter_path = "/usr/bin/python3"
    environment.docker.base_image = None
    environment.docker.base_dockerfile = "FROM scratch\nRUN true"
    environment.docker.shm_size = "4g"
    environment.docker.arguments = ["--network", "host"]
    environment.docker.platform.architecture = "arm64"
    environment.docker.shared_volumes = False
    environment.docker.base_image_registry = ContainerRegistry("registry.example", "user")
    environment.spark.packages = [{"group": "g", "artifact": "a", "version": "1"}]
    environment.environment_variables = {"A": "b"}
    environment.inferencing_stack_version = "latest"
    return environment


def test_camel_case_form_round_trips() -> None:
    environment = unusual()
    assert Environment.from_dict(environment.to_dict()).to_dict() == environment.to_dict()
    assert Environment.from_dict({"name": "least"}).to_dict() == Environment("least").to_dict()


@pytest.mark.parametrize("wrong", [None, [], {}, {"name": 3}, {"name": "x", "python": "3.9"}, {"name": "x", "docker": ["image"]}])
def test_broken_forms_are_refused(wrong: object) -> None:
    with pytest.raises(UserErrorException, match="environment"):
        Environment.from_dict(wrong)  # type: ignore[arg-type]


def test_directories_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    environment = unusual()
    environment.save_to_directory(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["azureml_environment.json", "conda_dependencies.yml"]
    assert Environment.load_from_directory(folder).to_dict() == environment.to_dict()
    with pytest.raises(UserErrorException, match="overwrite"):
        environment.save_to_directory(folder)
    environment.save_to_directory(folder, overwrite=True)
    with pytest.raises(UserErrorException, match="cannot be read"):
        Environment.load_from_directory(tmp_path / "missing")
    (folder / "azureml_environment.json").write_text("{")
    with pytest.raises(UserErrorException, match="is no JSON"):
        Environment.load_from_directory(folder)


def test_a_clone_is_independent() -> None:
    environment = unusual()
    copy = environment.clone("copy")
    assert copy.python.conda_dependencies is not None
    copy.python.conda_dependencies.add_pip_package("idna")
    copy.environment_variables["B"] = "c"
    assert environment.python.conda_dependencies is not None
    assert list(environment.python.conda_dependencies.pip_packages) == ["six"]
    assert environment.environment_variables == {"A": "b"}
    assert (copy.name, copy.version) == ("copy", None)


def test_secrets_are_in_nothing_that_is_shown_or_saved(tmp_path: Path) -> None:
    secret = used_secrets.CLIENT_SECRET
    environment = Environment("private")
    environment.python.conda_dependencies = CondaDependencies.create(
        pip_indexurl=f"https://user:{secret}@feed/simple", pip_packages=["six"]
    )
    environment.python.conda_dependencies.add_pip_package(f"lib @ https://{secret}@feed/lib.whl")
    environment.python.conda_dependencies.add_channel(f"https://user:{secret}@feed/channel")
    environment.docker.base_image_registry = ContainerRegistry("registry", "user", secret)
    environment.save_to_directory(tmp_path / "saved")
    texts = [path.read_text() for path in (tmp_path / "saved").iterdir()]
    texts += [repr(environment), str(environment), repr(environment.docker.base_image_registry)]
    texts += [environment.python.conda_dependencies.serialize_to_string(), repr(environment.python.conda_dependencies)]
    assert [text for text in texts if secret in text] == []
    assert secret in json.dumps(environment.to_dict(secrets=True))
    assert secret in json.dumps(environment.clone("copy").to_dict(secrets=True))


def test_references_to_variables_are_saved_as_they_are(tmp_path: Path) -> None:
    packages = CondaDependencies.create(pip_indexurl="https://user:${FEED_TOKEN}@feed/simple", pip_packages=["six"])
    assert "https://user:***" not in packages.serialize_to_string()
    packages = CondaDependencies.create(pip_indexurl="https://${FEED_TOKEN}@feed/simple", pip_packages=["six"])
    packages.save(tmp_path / "env.yml")
    assert list(CondaDependencies(conda_dependencies_file_path=tmp_path / "env.yml").pip_options) == [
        "--index-url https://${FEED_TOKEN}@feed/simple"
    ]


def test_from_conda_specification_reads_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "env.yml").write_text("name: x\ndependencies:\n- python=3.12\n- numpy=1.26\n- pip:\n  - -r requirements.txt\n  - idna\n")
    (tmp_path / "requirements.txt").write_text("six==1.16  # why\n./lib\n")
    environment = Environment.from_conda_specification("scoring", tmp_path / "env.yml")
    packages = environment.python.conda_dependencies
    assert packages is not None
    assert list(packages.pip_packages) == ["six==1.16", f"{tmp_path}/lib", "idna"]
    assert (list(packages.conda_packages), packages.get_python_version()) == (["numpy=1.26"], "3.12")


def test_from_pip_requirements(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six\n--extra-index-url https://host/simple\n-r more/more.txt\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "more.txt").write_text("-e .\nidna\n")
    environment = Environment.from_pip_requirements("scoring", tmp_path / "requirements.txt", pip_version="24.0")
    packages = environment.python.conda_dependencies
    assert packages is not None
    assert list(packages.pip_packages) == ["six", "idna"]
    assert list(packages.pip_options) == ["--extra-index-url https://host/simple", f"--editable {tmp_path}/more"]
    assert list(packages.conda_packages) == ["pip=24.0"]
    with pytest.raises(UserErrorException, match=r"missing\.txt cannot be read"):
        Environment.from_pip_requirements("scoring", tmp_path / "missing.txt")


def test_from_docker_image_and_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    image = Environment.from_docker_image("scoring", "mine/image:1", ContainerRegistry("registry"))
    assert (image.docker.base_image, image.docker.base_image_registry.address) == ("mine/image:1", "registry")
    assert image.python.user_managed_dependencies
    assert image.docker.own_image == "image mine/image:1"
    built = Environment.from_dockerfile("scoring", tmp_path / "Dockerfile", pip_requirements=tmp_path / "requirements.txt")
    assert (built.docker.base_image, built.docker.base_dockerfile) == (None, "FROM scratch\n")
    assert not built.python.user_managed_dependencies
    assert Environment.from_dockerfile("scoring", "FROM scratch\nRUN true").docker.base_dockerfile == "FROM scratch\nRUN true"
    with pytest.raises(UserErrorException, match="Only one of conda_specification or pip_requirements"):
        Environment.from_docker_image("scoring", "i", conda_specification="a", pip_requirements="b")


def test_image_and_dockerfile_exclude_each_other() -> None:
    environment = Environment("scoring")
    environment.docker.base_dockerfile = "FROM scratch\nRUN true"
    environment.docker.check()  # the default image is nobody's wish
    assert environment.to_dict()["docker"]["baseImage"] is None
    environment.docker.base_image = "mine/image:1"
    with pytest.raises(UserErrorException, match="mutually exclusive"):
        environment.docker.check()


@pytest.mark.parametrize(
    ("image", "plain"),
    [
        (DEFAULT_CPU_IMAGE, True),
        (DEFAULT_GPU_IMAGE, True),
        ("mcr.microsoft.com/azureml/base:intelmpi2018.3-ubuntu16.04", True),
        ("mcr.microsoft.com/azureml/base-gpu:openmpi3.1.2-cuda10.0-cudnn7-ubuntu16.04", True),
        ("mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04", True),
        ("mcr.microsoft.com/azureml/intelmpi2018.3-ubuntu16.04:20200821.v1@sha256:8cee6f67", True),
        ("mcr.microsoft.com/azureml/curated/sklearn:1", False),
        ("python:3.12", False),
        (None, True),
    ],
)
def test_base_images_of_azure_hold_nothing_of_their_own(image: str | None, plain: bool) -> None:
    environment = Environment("scoring")
    environment.docker.base_image = image
    assert (environment.docker.own_image is None) == plain
