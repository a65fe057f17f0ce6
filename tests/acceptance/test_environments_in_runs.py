"""Runs whose scripts run in an environment of their own: other Pythons, packages of their own, tables, current, as it is."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

import pytest

from batchmill.workspace.python_versions import installed
from tests.acceptance.conftest import REFERENCE, Start, shown, until
from tests.conftest import Project
from tests.packages import Gate, make_wheel

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
FILES = """
import os, sys
from importlib.util import find_spec
from azureml_user.parallel_run import EntryScript
import alpha

def init():
    assert os.path.isdir(EntryScript().log_dir)
    there = [name for name in ("pandas", "pyarrow", "typer", "leaked") if find_spec(name) is not None]
    assert there == [], there
    assert "PYTHONPATH" not in os.environ
    assert os.environ["MODE"] == "fast"

def run(mini_batch):
    return [f"{os.path.basename(path)} {alpha.VERSION} {sys.version_info[0]}.{sys.version_info[1]}" for path in mini_batch]
"""
TABLE = """
import alpha

def run(mini_batch):
    return [f"{name} {size * 2} {alpha.VERSION}" for name, size in zip(mini_batch["name"], mini_batch["size"])]
"""


@pytest.fixture
def wheels(project: Project) -> Path:
    folder = project.folder / "wheels"
    make_wheel(folder, "alpha", "1.0")
    project.write({"requirements.txt": "--no-index\n--find-links wheels\nalpha\nazureml-core\n"})
    return folder


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_files_in_other_pythons(project: Project, wheels: Path, version: str) -> None:
    if installed((3, int(version[2:]))) is None:
        pytest.skip(f"NOT TESTED: Python {version} is not on this machine")
    project.write({"score.py": FILES, "leak/leaked.py": "", **{f"in/{name}.txt": name for name in "abcd"}})
    project.batchmill(
        "environment", "create", "own", "--requirements", "requirements.txt", "--python-version", version, "--variable", "MODE=fast"
    )
    how = ["--input", "in", "--environment", "own", "--mini-batch-size", "1", "--workers", "2", "--output", "out"]
    leaks = {"PYTHONPATH": str(project.folder / "leak"), "VIRTUAL_ENV": "/elsewhere"}
    ended = project.batchmill("run", "score.py", *how, env=leaks)
    assert ended.returncode == 0, ended.stderr
    assert project.read("out/parallel_run_step.txt") == "".join(f"{name}.txt 1.0 {version}\n" for name in "abcd")
    assert "Building environment 'own': alpha." in ended.stderr
    again = project.batchmill("run", "score.py", *how)
    assert again.returncode == 0, again.stderr
    assert "Building" not in again.stderr


def test_tables_get_pandas_and_pyarrow(project: Project, wheels: Path) -> None:
    """The wheels stand for the real ones: they let this interpreter's packages be found, so that no index is asked for 200 MB."""
    site = sysconfig.get_path("platlib")
    make_wheel(wheels, "pandas", "2.9", {"pandas-of-tests.pth": f"{site}\n"})
    make_wheel(wheels, "pyarrow", "29", {})
    project.write({"score.py": TABLE, "in/a.csv": "name,size\na,1\nb,2\n", "in/b.csv": "name,size\nc,3\n"})
    project.batchmill("environment", "create", "own", "--requirements", "requirements.txt", "--python-version", THIS)
    ended = project.batchmill("run", "score.py", "--input", "in", "--environment", "own", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert project.read("out/parallel_run_step.txt") == "a 2 1.0\nb 4 1.0\nc 6 1.0\n"
    assert "Environment 'own' names no pandas and no pyarrow, which reading tables needs: added." in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_tables_in_other_pythons(project: Project, version: str) -> None:
    """With the real pandas and pyarrow, from the package index of this machine."""
    if installed((3, int(version[2:]))) is None:
        pytest.skip(f"NOT TESTED: Python {version} is not on this machine")
    script = "import pandas, sys\ndef run(mini_batch):\n    return [f'{size * 2} {sys.version_info[1]}' for size in mini_batch['size']]\n"
    project.write({"score.py": script, "in/a.csv": "size\n1\n2\n", "in.jsonl": '{"size": 5}\n'})
    project.batchmill("environment", "create", "own", "--pip", "six", "--python-version", version)
    ended = project.batchmill("run", "score.py", "--input", "in", "--environment", "own", "--output", "out", timeout=600)
    if "Failed to fetch" in ended.stderr:
        pytest.skip("NOT TESTED: there is no package index in reach")
    assert ended.returncode == 0, ended.stderr
    assert project.read("out/parallel_run_step.txt") == f"2 {version[2:]}\n4 {version[2:]}\n"


def test_the_seeds_environment_runs_in_the_current_interpreter(project: Project) -> None:
    """Azure ML's how-to asks for tensorflow==1.13.1 and pillow: it runs with what is here, and says what differs."""
    project.write({"score.py": "def run(mini_batch):\n    return ['x' for _ in mini_batch]\n", "in/1.png": "1"})
    create = ["environment", "create", "batch_environment", "--pip", "tensorflow==1.13.1", "--pip", "pillow"]
    project.batchmill(*create)
    how = ["run", "score.py", "--input", "in", "--environment", "batch_environment", "--output", "out"]
    for more, env in ((["--environments", "current"], {}), ([], {"BATCHMILL_ENVIRONMENTS": "current"})):
        ended = project.batchmill(*how, *more, env=env)
        assert ended.returncode == 0, ended.stderr
        assert (
            "Environment 'batch_environment' is not built, this interpreter is used: tensorflow==1.13.1 wanted, not installed."
            in ended.stderr
        )
        assert "pillow" not in ended.stderr
    project.batchmill("workspace", "update", "default", "--set", "environments=current")
    assert project.batchmill(*how).returncode == 0


def test_a_build_that_fails_starts_nothing(project: Project, wheels: Path) -> None:
    project.write({"score.py": "def run(mini_batch):\n    return mini_batch\n", "in/1.txt": "1"})
    project.batchmill("environment", "create", "bad", "--requirements", "requirements.txt", "--pip", "alpha==7")
    ended = project.batchmill("run", "score.py", "--input", "in", "--environment", "bad", "--output", "out")
    assert ended.returncode == 2
    assert "Error: Environment 'bad' cannot be built: " in ended.stderr
    assert not (project.folder / "out").exists()
    assert json.loads(project.batchmill("runs", "list", "--json").stdout) == []
    unknown = project.batchmill("run", "score.py", "--input", "in", "--environment", "nosuch", "--output", "out")
    assert (unknown.returncode, "There is no environment 'nosuch'" in unknown.stderr) == (2, True)


def test_an_interpreter_as_it_is(project: Project) -> None:
    project.write({"score.py": "import sys\ndef run(mini_batch):\n    return [sys.executable]\n", "in/1.txt": "1"})
    project.batchmill("environment", "create", "own", "--interpreter", sys.executable)
    ended = project.batchmill("run", "score.py", "--input", "in", "--environment", "own", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert project.read("out/parallel_run_step.txt") == f"{sys.executable}\n"


def test_a_live_runs_environment_is_not_pruned(project: Project, wheels: Path) -> None:
    """The run looks by itself: what prune says while it lives."""
    script = (
        "import subprocess, alpha\n"
        "def run(mini_batch):\n"
        f"    command = [{sys.executable!r}, '-m', 'batchmill', 'environment', 'prune', '--days', '0', '--json']\n"
        "    return [subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace('\\n', '')]\n"
    )
    project.write({"score.py": script, "in/1.txt": "1"})
    project.batchmill("environment", "create", "own", "--requirements", "requirements.txt", "--python-version", THIS)
    ended = project.batchmill("run", "score.py", "--input", "in", "--environment", "own", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert [one["removed"] for one in json.loads(project.read("out/parallel_run_step.txt"))] == [False]
    pruned = json.loads(project.batchmill("environment", "prune", "--days", "0", "--json").stdout)
    assert [one["removed"] for one in pruned] == [True]


def test_a_run_is_canceled_while_its_environment_is_built_and_resumed(scored: Project, start: Start, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    scored.batchmill("environment", "create", "own", "--pip", str(gate.project), "--python-version", THIS)
    run = start("run", "score.py", "--input", "in", "--environment", "own", "--output", "out")
    until(lambda: gate.builds)
    assert scored.batchmill("runs", "cancel", "last").returncode == 0
    _, said = run.communicate(timeout=60)
    assert run.returncode == 1, said
    assert shown(scored)["status"] == "Canceled"
    gate.open.write_text("succeed")
    resumed = scored.batchmill("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert gate.builds == 2
