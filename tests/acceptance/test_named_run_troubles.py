"""Runs with names that meet trouble: what they need is refused, removed or changed while they wait."""

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
from tests.packages import Gate


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


def test_a_replay_waits_for_nodes_as_its_run_did(scored: Project, start: Start) -> None:
    assert scored.batchmill("compute", "create", "one", "--max-nodes", "1").returncode == 0
    scored.write({"in/bad.txt": "bad"})
    arguments = ["--input", "in", "--mini-batch-size", "5", "--workers", "1", "--compute", "one"]
    ended = scored.batchmill("run", "score.py", *arguments, "--error-threshold", "10", "--output", "out1", "--name", "first")
    assert ended.returncode == 0, ended.stderr
    gate = scored.folder / "gate"
    second = start("run", "score.py", *arguments, "--output", "out2", "--name", "second", GATE=str(gate))
    until(lambda: shown(scored, "second").get("status") == "Running")
    scored.write({"score.py": scored.read("score.py").replace('startswith("bad")', 'startswith("worse")')})
    replay = start("runs", "replay", "first")
    assert replay.stderr is not None
    assert "Waiting for a node of compute target one: 1 of 1 are busy with 1 run" in replay.stderr.readline()
    assert replay.poll() is None
    gate.touch()
    assert second.wait(60) == 1, "its snapshot has the script that fails"
    assert replay.wait(60) == 0
    assert scored.read("out1/parallel_run_step.txt") == REFERENCE + "bad.txt: 3\n"
    assert json.loads(scored.batchmill("compute", "show", "one", "--json").stdout)["status"]["nodeStateCounts"]["runningNodeCount"] == 0


def test_whoever_leaves_a_detached_run_that_builds_is_told_that_it_goes_on(scored: Project, start: Start, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    scored.batchmill("environment", "create", "own", "--pip", str(gate.project))
    leaving = start("run", "score.py", "--input", "in", "--environment", "own", "--output", "out", "--name", "own", "--detach")
    until(lambda: gate.builds)
    os.kill(leaving.pid, signal.SIGINT)
    printed, said = leaving.communicate(timeout=60)
    run = shown(scored, "own")
    assert (leaving.returncode, printed, said) == (130, "", f"Run {run['id']} goes on. Stop it: batchmill runs cancel {run['id']}\n")
    gate.open.write_text("succeed")
    until(lambda: shown(scored, "own")["status"] == "Completed")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_one_mini_batch_is_replayed_with_the_variables_of_its_environment(scored: Project) -> None:
    assert scored.batchmill("environment", "create", "own", "--variable", "MODE=fast", "--variable", "LEVEL=1").returncode == 0
    scored.write({"mode.py": "import os\n\ndef run(batch):\n    return [os.environ['MODE'] + os.environ['LEVEL'] for _ in batch]\n"})
    arguments = ["--input", "in", "--environment", "own", "--env", "LEVEL=2", "--output", "out"]
    ended = scored.batchmill("run", "mode.py", *arguments)
    assert ended.returncode == 0, ended.stderr
    again = scored.batchmill("runs", "replay", "last", "--mini-batch", "0")
    assert again.returncode == 0, again.stderr
    assert set(again.stdout.split()) == {"fast2"} == set(scored.read("out/parallel_run_step.txt").split())
