"""Environments that are not built by uv alone: as they are, current, with conda, in an image; and those of the registry."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.container_registry import ContainerRegistry
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_preparation import prepare_environment
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.python_versions import installed
from batchmill.workspace.workspace import Workspace
from tests import used_secrets
from tests.packages import make_wheel

CONDA = """#!{python}
import json, os, subprocess, sys
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(words) + "\\n")
if words[:2] == ["env", "export"]:
    if "missing" in words:
        sys.exit("EnvironmentLocationNotFound: Not a conda environment: missing")
    print("name: x\\nprefix: /opt/x\\nchannels: [conda-forge]\\ndependencies: [python=3.12.4, numpy=1.26.4, {{pip: [six==1.16.0]}}]")
    sys.exit()
prefix = words[words.index("--prefix") + 1]
packages = [word for word in words if word[0] != "-" and word not in ("create", prefix, "anaconda", "conda-forge")]
if "nosuch=1" in packages:
    sys.exit("PackagesNotFoundError: not available from current channels:\\n\\n  - nosuch=1\\n")
subprocess.run([{uv!r}, "venv", "--quiet", "--no-project", "--python", {python!r}, prefix], check=True)
os.mkdir(prefix + "/conda-meta")
for package in packages:
    name, _, version = package.partition("=")
    with open(prefix + "/conda-meta/" + name + ".json", "w") as record:
        json.dump({{"name": name, "version": version or "1", "build": "0"}}, record)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    for name in ("BATCHMILL_ENVIRONMENTS", "BATCHMILL_DOCKER_IMAGES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, but for the system's."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "uname").symlink_to("/bin/uname")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return file


# --- as it is -------------------------------------------------------------------------------------------------------------------------


def own(interpreter: str) -> Environment:
    environment = Environment("own")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = interpreter
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["tensorflow==1.13.1"])
    return environment


@pytest.mark.parametrize("policy", [None, "build", "current"])
def test_a_users_own_interpreter_is_used_as_it_is(policy: str | None) -> None:
    found = prepare_environment(None, own("python"), policy)
    assert (found.python, found.warnings) == (str(Path(sys.executable).with_name("python")), [])
    assert found.variables == {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}
    assert found.description["policy"] == "user_managed"
    assert prepare_environment(None, own("python"), needs_tables=True).python == found.python


def test_paths_of_interpreters(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    for text in ("./bin/python", f"{tmp_path}", "bin/../bin/python"):
        assert Path(prepare_environment(None, own(text), folder=tmp_path).python).samefile(sys.executable)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/no/such/python", "The interpreter /no/such/python of environment 'own' does not exist"),
        ("no-such-python", "The interpreter 'no-such-python' of environment 'own' is not on PATH"),
        ("/bin/true", "does not answer as a Python: exit code 0"),
        ("/bin/ls", "does not answer as a Python: "),
        ("/etc/passwd", "cannot be started: Permission denied"),
    ],
)
def test_interpreters_that_are_none(text: str, said: str) -> None:
    with pytest.raises(EnvironmentBuildError) as error:
        prepare_environment(None, own(text))
    assert said in error.value.message
    assert "interpreter_path" in str(error.value.cure)


def test_an_interpreter_that_is_too_old(tmp_path: Path) -> None:
    old = put(tmp_path, "python", '#!/bin/sh\necho \'{"version": "3.8.1"}\'\n')
    with pytest.raises(EnvironmentBuildError, match=r"is Python 3\.8\.1; scripts run on Python 3\.9 to 3\.14 here"):
        prepare_environment(None, own(str(old)))


def test_an_interpreter_without_pandas_reads_no_tables() -> None:
    other = next((found for version in ((3, 12), (3, 10), (3, 13), (3, 9)) if (found := installed(version)) is not None), None)
    if other is None or other.path == Path(sys.executable):
        pytest.skip("NOT TESTED: there is no second Python on this machine")
    prepare_environment(None, own(str(other.path)))
    with pytest.raises(EnvironmentBuildError, match=r"has no pandas and no pyarrow. Install it: .* -m pip install pandas pyarrow"):
        prepare_environment(None, own(str(other.path)), needs_tables=True)


# --- current --------------------------------------------------------------------------------------------------------------------------


def seed() -> Environment:
    environment = Environment(name="batch_environment")
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["tensorflow==1.13.1", "pillow", "packaging==0.1"])
    return environment


def test_current_lists_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    import packaging

    monkeypatch.setenv("BATCHMILL_ENVIRONMENTS", "current")
    found = prepare_environment(None, seed(), needs_tables=True)
    assert found.python == sys.executable
    assert found.description["differences"] == [
        "tensorflow==1.13.1 wanted, not installed",
        f"packaging==0.1 wanted, {packaging.__version__} present",
    ]
    assert found.warnings[0] == (
        "Environment 'batch_environment' is not built, this interpreter is used: tensorflow==1.13.1 wanted, not installed."
    )


def test_nothing_beyond_the_defaults_is_current() -> None:
    found = prepare_environment(None, Environment("plain"))
    assert (found.python, found.warnings, found.description["policy"]) == (sys.executable, [], "current")
    assert found.description["provided"] == ["azureml-defaults"]


# --- conda ----------------------------------------------------------------------------------------------------------------------------


def with_conda(*packages: str, pip: tuple[str, ...] = ()) -> Environment:
    environment = Environment("mixed")
    environment.python.conda_dependencies = CondaDependencies.create(
        conda_packages=list(packages), pip_packages=["azureml-defaults", *pip], python_version="3.12"
    )
    return environment


def test_without_conda_the_packages_and_cures_are_named(path: Path) -> None:
    with pytest.raises(EnvironmentBuildError) as error:
        prepare_environment(None, with_conda("numpy=1.26", "scipy"))
    assert (
        error.value.message
        == "Environment 'mixed' names conda packages (numpy=1.26, scipy), and none of micromamba, mamba, conda is on PATH."
    )
    assert "--environments current" in str(error.value.cure)


@pytest.fixture
def conda(path: Path, tmp_path: Path) -> Path:
    """A stand-in for micromamba that makes environments with uv; returns the list of how it was called."""
    from batchmill.workspace.uv_command import uv_path

    log = tmp_path / "calls.jsonl"
    put(path, "micromamba", CONDA.format(python=sys.executable, log=str(log), uv=uv_path()))
    return log


def test_conda_makes_the_environment_and_uv_adds_to_it(conda: Path, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels", "alpha", "1.0")
    found = prepare_environment(None, with_conda("numpy=1.26", pip=("--no-index", str(wheel))))
    (call,) = [json.loads(line) for line in conda.read_text().splitlines()]
    prefix = found.description["folder"]
    assert call == ["create", "--yes", "--prefix", prefix, "--channel", "anaconda", "--channel", "conda-forge", "python=3.12", "numpy=1.26"]
    assert ["alpha", "1.0"] in found.description["packages"]
    assert (found.variables["CONDA_PREFIX"], found.variables["VIRTUAL_ENV"]) == (prefix, "")
    assert ["numpy", "1.26", "0"] in found.description["conda"]


def test_what_conda_could_not_do_is_said_in_one_line(conda: Path) -> None:
    with pytest.raises(
        EnvironmentBuildError, match="cannot be built: PackagesNotFoundError: not available from current channels: nosuch=1"
    ):
        prepare_environment(None, with_conda("nosuch=1"))


def test_from_existing_conda_environment(path: Path, conda: Path) -> None:
    (path / "conda").symlink_to(path / "micromamba")
    packages = Environment.from_existing_conda_environment("mine", "x").python.conda_dependencies
    assert packages is not None
    assert (packages.get_python_version(), list(packages.conda_packages)) == ("3.12.4", ["numpy=1.26.4"])
    assert list(packages.pip_packages) == ["six==1.16.0"]
    with pytest.raises(UserErrorException, match="cannot be read: EnvironmentLocationNotFound"):
        Environment.from_existing_conda_environment("mine", "missing")


def test_from_existing_conda_environment_without_conda(path: Path) -> None:
    with pytest.raises(UserErrorException, match="conda is not on PATH"):
        Environment.from_existing_conda_environment("mine", "x")


def test_a_base_conda_environment_is_refused() -> None:
    environment = with_conda()
    environment.python.base_conda_environment = "base"
    with pytest.raises(EnvironmentBuildError, match="builds upon the conda environment 'base'"):
        prepare_environment(None, environment)


# --- images ---------------------------------------------------------------------------------------------------------------------------

ENGINES = {
    "none": (None, "no Docker engine: docker is not on PATH"),
    "silent": ("#!/bin/sh\necho 'Cannot connect. Is the docker daemon running?' >&2\nexit 1\n", "no Docker engine: Cannot connect"),
    "answering": ("#!/bin/sh\necho 24.0.7\n", "a Docker engine (24.0.7) answers here, but scripts do not run in containers"),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_images_are_refused_or_left_out_as_the_policy_says(path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, said = ENGINES[engine]
    if script is not None:
        put(path, "docker", script)
    ws = Workspace.create("team", show_output=False)
    environment = Environment.from_docker_image("imaged", "mine/image:1")
    with pytest.raises(EnvironmentBuildError) as error:
        prepare_environment(ws, environment)
    assert error.value.message.startswith("Environment 'imaged' wants image mine/image:1: ")
    assert said in error.value.message
    assert "BATCHMILL_DOCKER_IMAGES=environment" in str(error.value.cure)
    ws.registry.set_setting("docker_images", "environment")
    found = prepare_environment(ws, environment)
    assert found.warnings == [f"Environment 'imaged' wants image mine/image:1; its packages are used without it ({_engine(said)})."]
    monkeypatch.setenv("BATCHMILL_DOCKER_IMAGES", "error")
    with pytest.raises(EnvironmentBuildError):
        prepare_environment(ws, environment)


def _engine(said: str) -> str:
    return said if "connect" not in said else "no Docker engine: Cannot connect. Is the docker daemon running"


def test_an_image_is_a_difference_of_the_current_interpreter() -> None:
    environment = Environment("imaged")
    environment.docker.base_image = "mine/image:1"
    assert prepare_environment(None, environment, "current").description["differences"] == ["image mine/image:1 wanted, not used"]


# --- registered -----------------------------------------------------------------------------------------------------------------------


def test_register_get_list(tmp_path: Path) -> None:
    ws = Workspace.create("team", show_output=False)
    environment = seed()
    assert environment.register(ws).version == "1"
    assert environment.version is None
    assert environment.register(ws).version == "1"
    environment.environment_variables["A"] = "b"
    assert environment.register(ws).version == "2"
    first, newest = Environment.get(ws, "batch_environment", version="1"), Environment.get(ws, "batch_environment")
    assert (first.version, newest.version) == ("1", "2")
    assert "A" not in first.environment_variables
    assert Environment.get(ws, "batch_environment", label="latest").version == "2"
    assert Environment.get(ws, "batch_environment", 1).version == "1"
    assert {name: one.version for name, one in Environment.list(ws).items()} == {"batch_environment": "2"}
    assert ws.environments["batch_environment"].version == "2"
    assert str(newest) == "Environment(Name: batch_environment,\nVersion: 2)"
    reread = Environment.get(ws, "batch_environment").to_dict() | {"assetId": None, "version": None}
    assert reread == environment.to_dict()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "batch_environment", "version": "1", "label": "latest"}, "Only one of version or label can be specified"),
        ({"name": "batch_environment", "version": "7"}, "Environment 'batch_environment' has no version 7 in workspace team"),
        ({"name": "batch_environment", "version": "x"}, "Environment 'batch_environment' has no version x in workspace team"),
        ({"name": "batch_environment", "label": "stable"}, "Environment 'batch_environment' has no label 'stable'"),
        ({"name": "batch_enviroment"}, "There is no environment 'batch_enviroment' in workspace team. Did you mean 'batch_environment'?"),
    ],
)
def test_what_is_not_registered(arguments: dict[str, Any], said: str) -> None:
    ws = Workspace.create("team", show_output=False)
    seed().register(ws)
    with pytest.raises(UserErrorException) as error:
        Environment.get(ws, **arguments)
    assert said in error.value.message


@pytest.mark.parametrize("name", ["", "a:b", "a b", "ä", "a/b"])
def test_names_that_no_environment_may_have(name: str) -> None:
    with pytest.raises(UserErrorException, match="An environment cannot be called"):
        Environment(name).register(Workspace.create("team", show_output=False))


def test_a_registered_environment_is_complete_in_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = Workspace.create("team", show_output=False)
    (tmp_path / "requirements.txt").write_text("six\n./lib\n")
    (tmp_path / "env.yml").write_text("dependencies: [python=3.12, {pip: [-r requirements.txt]}]")
    monkeypatch.chdir(tmp_path)
    environment = Environment("mine")
    environment.python.conda_dependencies_file = "env.yml"
    environment.register(ws)
    monkeypatch.chdir("/")
    (tmp_path / "env.yml").unlink()
    packages = Environment.get(ws, "mine").python.conda_dependencies
    assert packages is not None
    assert (list(packages.pip_packages), packages.get_python_version()) == (["six", f"{tmp_path}/lib"], "3.12")


def test_passwords_are_sealed(tmp_path: Path) -> None:
    ws = Workspace.create("team", show_output=False)
    environment = Environment("mine")
    environment.docker.base_image_registry = ContainerRegistry("registry", "user", used_secrets.CLIENT_SECRET)
    versions = [environment.register(ws).version for _ in range(2)]
    assert versions == ["1", "1"]
    assert Environment.get(ws, "mine").docker.base_image_registry.password == used_secrets.CLIENT_SECRET
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [path for path in files if used_secrets.CLIENT_SECRET.encode() in path.read_bytes()] == []


def test_build_now(tmp_path: Path) -> None:
    ws = Workspace.create("team", show_output=False)
    wheel = make_wheel(tmp_path / "wheels", "alpha", "1.0")
    environment = Environment("mine")
    environment.python.conda_dependencies = CondaDependencies.create(
        pip_packages=[str(wheel)], python_version=f"3.{sys.version_info.minor}"
    )
    built = environment.build(ws)
    assert built.wait_for_completion(show_output=False).status == "Succeeded"
    assert environment.build_local(ws).description["python"] == built.description["python"]
    assert environment.get_image_details(ws)["pythonEnvironment"]["builtAt"] == built.description["folder"]
    assert os.path.exists(built.description["python"])
