"""An environment as an order: what it named in files is in it, what it installs from is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_order import environment_order
from batchmill.workspace.environment_recipe import recipe_of
from batchmill.workspace.exceptions import UserErrorException


@pytest.fixture(autouse=True)
def _no_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCHMILL_ENVIRONMENTS", "BATCHMILL_DOCKER_IMAGES"):
        monkeypatch.delenv(name, raising=False)


def made(*pip: str) -> Environment:
    environment = Environment("scoring")
    packages = CondaDependencies.create(python_version="3.11")
    packages.set_pip_requirements([*pip])
    environment.python.conda_dependencies = packages
    return environment


def test_files_that_it_names_are_read_now(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("idna==3.4\n")
    wheel = tmp_path / "lib-1.0-py3-none-any.whl"
    wheel.touch()
    environment = made("six", "-r more.txt", f"./{wheel.name}", "--find-links wheels", "--extra-index-url https://u:p@feed/simple")
    told = pickle.loads(pickle.dumps(environment_order(None, environment, None, tmp_path)))
    (tmp_path / "more.txt").unlink()
    there = recipe_of(Environment.from_dict(dict(told.definition)), Path("/"))
    assert set(there.pip.packages) == {"six", "idna==3.4", str(wheel)}
    assert told.paths == (str(wheel), str(tmp_path / "wheels"))
    assert (told.policy, told.images) == ("build", "error")
    assert "u:p" in str(told.definition), "whoever builds it needs the credentials of the index"
    assert "u:p" not in repr(told)


def test_a_conda_file_is_read_now(tmp_path: Path) -> None:
    (tmp_path / "conda.yml").write_text("dependencies: [python=3.11, {pip: [six]}]\n")
    environment = Environment("scoring")
    environment.python.conda_dependencies_file = "conda.yml"
    told = environment_order(None, environment, None, tmp_path)
    (tmp_path / "conda.yml").unlink()
    assert recipe_of(Environment.from_dict(dict(told.definition)), Path("/")).pip.packages == ("six",)


def test_what_is_missing_is_said_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(UserErrorException, match=r"more\.txt cannot be read"):
        environment_order(None, made("-r more.txt"), None, tmp_path)


def test_the_policy_is_decided_where_the_workspace_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_order(None, made("six"), "current", tmp_path).policy == "current"
    monkeypatch.setenv("BATCHMILL_ENVIRONMENTS", "current")
    monkeypatch.setenv("BATCHMILL_DOCKER_IMAGES", "environment")
    environment = made("six")
    environment.docker.base_image = "registry/image"
    told = environment_order(None, environment, None, tmp_path)
    assert (told.policy, told.images) == ("current", "environment")
