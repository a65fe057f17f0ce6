"""Readers that leave before everything was said: ``batchmill ... | head -1``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import REFERENCE, SCORE, Start, shown, until, until_half_done
from tests.conftest import BATCHMILL, Project

SIGPIPE_AS_SHELLS_SAY_IT = 141


@pytest.fixture
def nobody() -> Iterator[int]:
    """The end to write to of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one run, of which two items failed."""
    folder = tmp_path_factory.mktemp("pipes")
    (folder / "project").mkdir()
    project = Project(folder / "project", folder / "home").write({"score.py": SCORE, "in/bad1.txt": "", "in/bad2.txt": "", "in/a.txt": ""})
    run = project.batchmill("run", "score.py", "--input", "in", "--error-threshold", "-1", "--mini-batch-size", "1", "--name", "first")
    assert run.returncode == 0, run.stderr
    return project


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "run --help",
        "run score.py --input in --error-threshold -1 --output again --json",
        "run score.py --input in --error-threshold -1 --output detached --detach --quiet",
        "plan score.py --input in",
        "plan score.py --input in --json",
        "plan score.py --input in --try 1",
        "resume first --json",
        "runs list",
        "runs list --json",
        "runs show first",
        "runs show first --json",
        "runs errors first",
        "runs errors first --traceback",
        "runs errors first --json",
        "runs logs first",
        "runs logs first --follow",
        "runs logs first --mini-batch 0",
        "runs replay first --mini-batch 0",
        "runs replay first --json",
    ],
)
def test_a_closed_pipe_ends_a_command_quietly(ended: Project, nobody: int, command: str) -> None:
    done = subprocess.run(
        [str(BATCHMILL), *command.split()],
        cwd=ended.folder,
        env=ended.environment(),
        stdout=nobody,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == SIGPIPE_AS_SHELLS_SAY_IT, done.stderr
    assert "Broken" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_script_that_prints_to_nobody_is_no_failure(ended: Project, nobody: int) -> None:
    ended.write({"chatty/score.py": "def run(files):\n    print('x' * 100_000, flush=True)\n    return files\n"})
    run = ended.batchmill("run", "chatty/score.py", "--input", "in", "--output", "chatty-out", "--name", "chatty")
    assert run.returncode == 0, run.stderr
    command = [str(BATCHMILL), "runs", "replay", "chatty", "--mini-batch", "0"]
    done = subprocess.run(
        command, cwd=ended.folder, env=ended.environment(), stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == SIGPIPE_AS_SHELLS_SAY_IT, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run score.py --input in --output out", "resume last"])
def test_a_run_does_not_end_because_nobody_reads_its_progress(scored: Project, nobody: int, command: str) -> None:
    if command.startswith("resume"):
        detached = scored.batchmill("run", "score.py", "--input", "in", "--output", "out", "--detach")
        assert detached.returncode == 0, detached.stderr
    done = subprocess.run(
        [str(BATCHMILL), *command.split()],
        cwd=scored.folder,
        env=scored.environment(),
        stdout=nobody,
        stderr=nobody,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert shown(scored)["status"] == "Completed"
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_following_ends_with_the_reader(scored: Project, start: Start) -> None:
    running = start("run", "score.py", "--input", "in", "--mini-batch-size", "1", "--quiet", GATE=str(scored.folder / "gate"))
    until_half_done(scored, running)
    following = start("runs", "logs", "last", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline().startswith("==>")
    following.stdout.close()
    until(lambda: following.poll() is not None)
    assert following.returncode == SIGPIPE_AS_SHELLS_SAY_IT
    assert following.stderr is not None
    assert following.stderr.read() == ""
    following.stderr.close()
    scored.write({"gate": ""})
    assert running.wait(60) == 0


def test_a_pipeline_under_pipefail(ended: Project) -> None:
    """The status is that of any program: 0 where all fitted into the pipe, else that of SIGPIPE."""
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; batchmill runs logs first | head -1"],
        cwd=ended.folder,
        env=ended.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("==> user/stdout/")
    assert done.stderr == ""
    assert done.returncode in (0, SIGPIPE_AS_SHELLS_SAY_IT)
