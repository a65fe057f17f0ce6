"""Which Python an environment gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace import python_versions
from batchmill.workspace.python_versions import SUPPORTED, ask, installed, python_for, this_python, wanted_versions

THIS = sys.version_info[:2]
OTHER = (3, 12) if THIS != (3, 12) else (3, 13)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing but the Python of the tests; returns a folder on PATH for more."""
    for name in ("PYENV_ROOT", "XDG_DATA_HOME", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, version: str, *, says: str | None = None) -> Path:
    """A stand-in for an interpreter, which answers with its version; with ``says``, with that."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"python{'.'.join(version.split('.')[:2])}"
    words = says if says is not None else f"batchmill {version.replace('.', ' ')}"
    path.write_text(f"#!/bin/sh\necho {words}\n")
    path.chmod(0o755)
    return path


def text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def test_nothing_asked_is_this_python(machine: Path) -> None:
    assert python_for(None, "Environment 'x'") == this_python()
    assert python_for("3.10.18", "Environment 'x'").minor in (THIS, (3, 10))
    assert python_for("3.6.2", "Environment 'x'") == this_python()


@pytest.mark.skipif(THIS == (3, 10), reason="the default is this Python")
def test_the_default_of_the_sdk_is_taken_where_it_is(machine: Path) -> None:
    path = put(machine, "3.10.4")
    assert python_for("3.10.18", "x").path == path


def test_found_on_path_and_below_pyenv_and_uv(machine: Path, tmp_path: Path) -> None:
    assert installed(OTHER) is None
    managed = put(tmp_path / "UV_PYTHON_INSTALL_DIR" / f"cpython-{text(OTHER)}.9-linux" / "bin", f"{text(OTHER)}.9")
    found = installed(OTHER)
    assert found is not None
    assert found.path == managed
    pyenv = put(tmp_path / "PYENV_ROOT" / "versions" / f"{text(OTHER)}.4" / "bin", f"{text(OTHER)}.4")
    assert python_for(f"{text(OTHER)}.1", "x").path == pyenv
    on_path = put(machine, f"{text(OTHER)}.1")
    assert python_for(text(OTHER), "x").path == on_path


def test_shims_that_do_not_answer_are_passed_over(machine: Path, tmp_path: Path) -> None:
    put(machine, text(OTHER), says="no such version")
    real = put(tmp_path / "PYENV_ROOT" / "versions" / f"{text(OTHER)}.4" / "bin", f"{text(OTHER)}.4")
    assert python_for(text(OTHER), "x").path == real


@pytest.mark.parametrize("request_", ["3.6", "2.7", "3.15", "3.99.1", "4", "<3.9", ">3.20"])
def test_what_workers_do_not_run_on(machine: Path, request_: str) -> None:
    with pytest.raises(EnvironmentBuildError) as error:
        python_for(request_, "Environment 'x'")
    assert error.value.message == f"Environment 'x' asks for Python {request_}; scripts run on Python 3.9 to 3.14 here."
    assert error.value.cure is not None
    assert error.value.cure.startswith(f"The nearest one here is {this_python()}: ask for {text(THIS)}")


def test_what_is_not_installed_names_the_nearest(machine: Path) -> None:
    missing = next(version for version in SUPPORTED if version not in (THIS, (3, 10)))
    with pytest.raises(EnvironmentBuildError) as error:
        python_for(text(missing), "Environment 'x'")
    assert error.value.message == f"Environment 'x' asks for Python {text(missing)}, which is not installed here."
    cure = f"or install Python {text(missing)} so that python{text(missing)} is on PATH, or run in this interpreter as it is: "
    assert f"{cure}BATCHMILL_ENVIRONMENTS=current." in str(error.value)


def test_what_is_no_version(machine: Path) -> None:
    with pytest.raises(EnvironmentBuildError, match="which is no version"):
        python_for("newest", "Environment 'x'")


def test_rules_prefer_this_python_then_the_newest() -> None:
    assert wanted_versions(">=3.9", "x")[0] == THIS
    assert [version for version in wanted_versions(">=3.9,<3.13", "x") if version != THIS] == sorted(
        (version for version in SUPPORTED if (3, 9) <= version < (3, 13) and version != THIS), reverse=True
    )
    assert wanted_versions("3", "x")[0] == THIS
    assert wanted_versions("3.12.*", "x") == [(3, 12)]
    assert wanted_versions("3.12.1=h1_0", "x") == [(3, 12)]
    assert wanted_versions("~=3.12.0", "x") == [(3, 12)]


def test_answers_are_asked_for_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(machine, "3.12.1")
    assert ask(path) == python_versions.Python(path, (3, 12, 1))
    monkeypatch.setattr(python_versions.subprocess, "run", lambda *a, **k: pytest.fail("asked again"))
    assert ask(path) == python_versions.Python(path, (3, 12, 1))
    assert ask(machine / "missing") is None
    assert os.access(path, os.X_OK)
