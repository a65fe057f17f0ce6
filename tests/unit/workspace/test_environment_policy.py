"""Which policy counts: the table of decisions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from batchmill.errors import SettingError
from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_policy import environment_policy, image_policy
from batchmill.workspace.environment_recipe import recipe_of


def workspace(**settings: str) -> Any:
    return SimpleNamespace(name="team", registry=SimpleNamespace(setting=settings.get))


def environment(*pip: str, image: str | None = None, python: str | None = None, conda: str | None = None) -> Environment:
    made = Environment("x")
    made.python.conda_dependencies = CondaDependencies.create(pip_packages=list(pip) or None, conda_packages=[conda] if conda else None)
    if python:
        made.python.conda_dependencies.set_python_version(python)
    if image:
        made.docker.base_image = image
    return made


def policy(made: Environment, asked: str | None = None, **settings: str) -> str:
    return environment_policy(asked, cast(Any, workspace(**settings)), made, recipe_of(made, Path("/")))


@pytest.mark.parametrize(
    ("run", "variable", "setting", "expected"),
    [
        (None, None, None, "build"),
        ("current", None, None, "current"),
        ("current", "build", "build", "current"),
        (None, "current", "build", "current"),
        (None, "", "current", "current"),
        (None, None, "current", "current"),
        ("BUILD", "current", "current", "build"),
    ],
)
def test_run_before_variable_before_workspace(
    monkeypatch: pytest.MonkeyPatch, run: str | None, variable: str | None, setting: str | None, expected: str
) -> None:
    monkeypatch.delenv("BATCHMILL_ENVIRONMENTS", raising=False)
    if variable is not None:
        monkeypatch.setenv("BATCHMILL_ENVIRONMENTS", variable)
    settings = {} if setting is None else {"environments": setting}
    assert policy(environment("six"), run, **settings) == expected


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Environment("x"), "current"),
        (environment("azureml-defaults", "azureml-core"), "current"),
        (environment("six"), "build"),
        (environment("azureml-dataset-runtime[pandas]"), "build"),
        (environment(conda="numpy"), "build"),
        (environment(conda="pip=24"), "current"),
        (environment(python="3.12"), "build"),
        (environment(python="3.6.2"), "current"),
        (environment(image="mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04"), "current"),
        (environment(image="mine/image"), "build"),
    ],
)
def test_by_default_it_depends_on_what_is_named(monkeypatch: pytest.MonkeyPatch, made: Environment, expected: str) -> None:
    monkeypatch.delenv("BATCHMILL_ENVIRONMENTS", raising=False)
    assert policy(made) == expected


def test_an_image_that_may_be_left_out_is_no_reason_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHMILL_ENVIRONMENTS", raising=False)
    assert policy(environment(image="mine/image"), docker_images="environment") == "current"
    assert policy(environment("six", image="mine/image"), docker_images="environment") == "build"


def test_words_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_ENVIRONMENTS", "always")
    with pytest.raises(SettingError, match="The variable BATCHMILL_ENVIRONMENTS is 'always'; it is one of build, current"):
        policy(environment("six"))
    monkeypatch.delenv("BATCHMILL_ENVIRONMENTS")
    with pytest.raises(SettingError, match="Setting 'environments' of workspace team is 'x'"):
        policy(environment("six"), environments="x")


def test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHMILL_DOCKER_IMAGES", raising=False)
    assert image_policy(None) == "error"
    assert image_policy(workspace(docker_images="environment")) == "environment"
    monkeypatch.setenv("BATCHMILL_DOCKER_IMAGES", "error")
    assert image_policy(workspace(docker_images="environment")) == "error"
