"""Runs that name what they need: dataset, model, environment, compute target, datastore, by name and as objects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import REFERENCE, Start, shown, until
from tests.conftest import Project
from tests.packages import make_wheel

FACTOR = """
import os
from azureml.core.model import Model
import thrice

def init():
    global factor
    with open(Model.get_model_path("factor")) as file:
        factor = int(file.read())

def run(mini_batch):
    return [f"{os.path.basename(path)}: {thrice.VERSION} {os.path.getsize(path) * factor}" for path in mini_batch]
"""


@pytest.fixture
def stocked(project: Project) -> Project:
    """A workspace with a dataset, a model, an environment and a compute target."""
    project.write({"step/factor.py": FACTOR, "factor.txt": "7", **{f"in/{name}": "x" * size for size, name in enumerate("abcde", 1)}})
    (project.folder / "results").mkdir()
    make_wheel(project.folder / "wheels", "thrice", "3.0")
    project.write({"requirements.txt": f"--no-index\n--find-links {project.folder / 'wheels'}\nthrice==3.0\n"})
    for command in (
        "dataset create letters --path in",
        "model create factor factor.txt",
        "environment create batch-env --requirements requirements.txt",
        "compute create cpu-cluster --max-nodes 2 --vm-size STANDARD_D2_V2",
        "datastore create results --local results",
    ):
        ended = project.batchmill(*command.split())
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
    return project


def test_everything_by_name(stocked: Project) -> None:
    ended = stocked.batchmill(
        *("run", "step/factor.py", "--input", "dataset:letters", "--model", "factor", "--environment", "batch-env"),
        *("--compute", "cpu-cluster", "--nodes", "2", "--mini-batch-size", "2", "--output", "datastore://results/monday"),
    )
    assert ended.returncode == 0, ended.stderr
    assert stocked.read("results/monday/parallel_run_step.txt") == "".join(
        f"{name}: 3.0 {7 * size}\n" for size, name in enumerate("abcde", 1)
    )
    assert "Model factor:1" in ended.stderr
    told = stocked.batchmill("runs", "show", "last").stdout
    for line in ("dataset       letters:1", "model         factor:1", "environment   batch-env:1"):
        assert line in told
    pool = json.loads(stocked.batchmill("compute", "show", "cpu-cluster", "--json").stdout)
    assert pool["status"]["nodeStateCounts"]["runningNodeCount"] == 0


REFUSED = [
    ("--input dataset:letters --separator ;", "Setting 'separator' says how files are read, but dataset:letters says that itself."),
    ("--input dataset:leters", 'Cannot find dataset registered with name "leters"'),
    ("--input dataset:letters:9", 'Cannot find dataset registered with name "letters" (version: 9) in the workspace.'),
    ("--input datastore://nowhere/in", "nowhere"),
    ("--input in --output datastore://nowhere/out", "nowhere"),
    ("--input in --model nothing", "Model/Version nothing/None not found in workspace."),
    ("--input in --model factor:2", "Model/Version factor/2 not found in workspace."),
    ("--input in --environment bach-env", "Did you mean 'batch-env'?"),
    ("--input in --compute gpu", "ComputeTargetNotFound: Compute Target with name gpu not found in provided workspace"),
    ("--input in --compute cpu-cluster --nodes 3", "node_count '3' is not between 1 and max_nodes 2."),
    ("--input in --workspace elsewhere", "elsewhere"),
]


def test_unknown_names_are_refused_before_anything_starts(stocked: Project) -> None:
    for arguments, message in REFUSED:
        output = [] if "--output" in arguments else ["--output", "out"]
        ended = stocked.batchmill("run", "step/factor.py", *arguments.split(), *output)
        assert ended.returncode == 2, ended.stderr
        assert message in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert not (stocked.folder / "out").exists()
    assert json.loads(stocked.batchmill("runs", "list", "--json").stdout) == []


def test_runs_share_the_nodes_of_a_compute_target(scored: Project, start: Start) -> None:
    assert scored.batchmill("compute", "create", "one", "--max-nodes", "1").returncode == 0
    gate = scored.folder / "gate"
    arguments = ["--input", "in", "--mini-batch-size", "5", "--workers", "1", "--compute", "one"]
    first = start("run", "score.py", *arguments, "--output", "out1", "--name", "first", GATE=str(gate))
    until(lambda: shown(scored, "first").get("status") == "Running")
    second = start("run", "score.py", *arguments, "--output", "out2", "--name", "second")
    third = start("run", "score.py", *arguments, "--output", "out3", "--name", "third")
    until(lambda: shown(scored, "second").get("status") == "Queued" and shown(scored, "third").get("status") == "Queued")
    assert scored.batchmill("runs", "cancel", "third").returncode == 0
    assert third.wait(30) == 1
    assert shown(scored, "third")["status"] == "Canceled"
    gate.touch()
    assert first.wait(60) == 0
    assert second.wait(60) == 0
    assert "Waiting for a node of compute target one: 1 of 1 are busy with 1 run" in second.communicate()[1]
    assert scored.read("out1/parallel_run_step.txt") == scored.read("out2/parallel_run_step.txt") == REFERENCE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nodes_of_a_run_that_ends_by_a_signal_are_free_at_once(scored: Project, start: Start, number: signal.Signals) -> None:
    assert scored.batchmill("compute", "create", "one", "--max-nodes", "1").returncode == 0
    gate = scored.folder / "gate"
    arguments = ["run", "score.py", "--input", "in", "--mini-batch-size", "5", "--workers", "1", "--compute", "one"]
    first = start(*arguments, "--output", "out1", "--name", "first", GATE=str(gate))
    until(lambda: shown(scored, "first").get("status") == "Running")
    os.kill(first.pid, number)
    first.wait(30)
    ended = scored.batchmill(*arguments, "--output", "out2")
    assert ended.returncode == 0, ended.stderr
    gate.touch()
    ended = scored.batchmill("resume", "first")
    assert ended.returncode == 0, ended.stderr
    assert scored.read("out1/parallel_run_step.txt") == REFERENCE


OBJECTS = """
import batchmill
from azureml.core import ComputeTarget, Dataset, Environment, Model, Workspace

ws = Workspace.from_config()
run = batchmill.run(
    "step/factor.py",
    inputs=Dataset.File.from_files("in").take(3),
    models=[Model(ws, "factor")],
    environment=Environment.get(ws, "batch-env"),
    compute=ComputeTarget(ws, "cpu-cluster"),
    output="out",
)
print(run.wait().status)
print(*run.names())
assert "<table>" in run._repr_html_()
"""


def test_objects_stand_for_names(stocked: Project) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OBJECTS],
        cwd=stocked.folder,
        env=stocked.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == "Completed"
    assert "('model', 'factor:1') ('environment', 'batch-env:1')" in ended.stdout
    assert len(stocked.read("out/parallel_run_step.txt").splitlines()) == 3


def test_replay_uses_the_environment_and_the_models_of_its_run(stocked: Project) -> None:
    broken = FACTOR.replace(
        "def run(mini_batch):\n", "def run(mini_batch):\n    assert not any(path.endswith('c') for path in mini_batch)\n"
    )
    stocked.write({"step/factor.py": broken})
    names = ("--input", "dataset:letters", "--model", "factor", "--environment", "batch-env")
    ended = stocked.batchmill("run", "step/factor.py", *names, "--error-threshold", "-1", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    stocked.write({"step/factor.py": FACTOR, "factor.txt": "8"})
    assert stocked.batchmill("model", "create", "factor", "factor.txt").returncode == 0
    ended = stocked.batchmill("runs", "replay", "last")
    assert ended.returncode == 0, ended.stderr
    assert stocked.read("out/parallel_run_step.txt").splitlines()[2] == "c: 3.0 21"


def test_nothing_of_the_workspace_is_loaded_for_a_run_that_names_nothing_of_it(scored: Project) -> None:
    ended = scored.batchmill("run", "score.py", "--input", "in", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert not Path(scored.home, "workspace.sqlite").exists()
