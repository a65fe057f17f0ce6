"""Runs with names that meet trouble: what they need is refused, removed or changed while they wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.acceptance.conftest import REFERENCE, Start, shown, until
from tests.conftest import Project


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compute", "gpu"], "Error: ComputeTargetNotFound: Compute Target with name gpu not found in provided workspace\n"),
        (["--environment", "nothing"], "Error: There is no environment 'nothing' in workspace default."),
    ],
)
def test_a_detached_run_is_refused_as_one_in_front(scored: Project, arguments: list[str], message: str) -> None:
    words = ["run", "score.py", "--input", "in", *arguments]
    front, detached = scored.batchmill(*words), scored.batchmill(*words, "--detach")
    assert front.stderr.startswith(message)
    assert (detached.returncode, detached.stdout, detached.stderr) == (front.returncode, "", front.stderr)


CLASSES = """
import batchmill
from azureml.exceptions import ComputeTargetException

try:
    batchmill.run("score.py", inputs="in", compute="gpu")
except ComputeTargetException as error:
    print(error.message)
"""


def test_what_python_catches(scored: Project) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CLASSES],
        cwd=scored.folder,
        env=scored.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("ComputeTargetNotFound: Compute Target with name gpu not found in provided workspace\n", "")


@pytest.mark.parametrize("detach", [True, False])
def test_a_compute_target_that_is_removed_while_a_run_waits(scored: Project, start: Start, *, detach: bool) -> None:
    assert scored.batchmill("compute", "create", "one", "--max-nodes", "1").returncode == 0
    gate = scored.folder / "gate"
    arguments = ["run", "score.py", "--input", "in", "--mini-batch-size", "5", "--workers", "1", "--compute", "one"]
    first = start(*arguments, "--output", "out1", "--name", "first", GATE=str(gate))
    until(lambda: shown(scored, "first").get("status") == "Running")
    second = start(*arguments, "--output", "out2", "--name", "second", *(["--detach"] if detach else []))
    until(lambda: shown(scored, "second").get("status") == "Queued")
    assert scored.batchmill("compute", "remove", "one", "--yes").returncode == 0
    until(lambda: shown(scored, "second")["status"] == "Failed")
    assert shown(scored, "second")["error"] == "ComputeTargetNotFound: Compute Target with name one not found in provided workspace"
    assert second.wait(30) == (0 if detach else 1)
    assert "Traceback" not in scored.batchmill("runs", "logs", "second").stdout + second.communicate()[1]
    gate.touch()
    assert first.wait(60) == 0, "it has its node, and goes on to its end"
    assert scored.batchmill("compute", "create", "one", "--max-nodes", "1").returncode == 0
    ended = scored.batchmill("resume", "second")
    assert ended.returncode == 0, ended.stderr
    assert scored.read("out2/parallel_run_step.txt") == REFERENCE


def test_a_resumed_run_never_takes_another_environment_of_the_same_name(scored: Project, start: Start) -> None:
    """A name that was removed begins anew with version 1."""
    assert scored.batchmill("environment", "create", "own", "--variable", "MODE=first").returncode == 0
    gate = scored.folder / "gate"
    arguments = ["--input", "in", "--mini-batch-size", "5", "--workers", "1", "--environment", "own"]
    first = start("run", "score.py", *arguments, "--output", "out", "--name", "first", GATE=str(gate))
    until(lambda: shown(scored, "first").get("status") == "Running")
    first.kill()
    first.wait(30)
    gate.touch()
    assert scored.batchmill("environment", "remove", "own", "--yes").returncode == 0
    assert scored.batchmill("environment", "create", "own", "--variable", "MODE=second").returncode == 0
    ended = scored.batchmill("resume", "first")
    assert ended.returncode == 2
    assert ended.stderr == (
        "Error: Version 1 of environment 'own', with which the run was begun, has been removed from workspace default. "
        "Begin the run anew with another one.\n"
    )


def test_a_trial_takes_no_more_of_the_machine_than_a_node_may(scored: Project) -> None:
    assert scored.batchmill("compute", "create", "one", "--max-nodes", "1", "--vm-size", "STANDARD_D1_V2").returncode == 0
    words = ["plan", "score.py", "--input", "in", "--mini-batch-size", "5", "--compute", "one"]
    ended = scored.batchmill(*words, "--try", "4")
    assert ended.returncode == 0, ended.stderr
    assert "with 1 of 1 workers" in ended.stdout
    refused = scored.batchmill(*words, "--output", "datastore://nowhere/out")
    assert (refused.returncode, "nowhere" in refused.stderr) == (2, True)
