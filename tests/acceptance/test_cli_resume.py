"""Interrupted runs: how they end, and that resuming them gives what they would have given."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import NAMES, REFERENCE, Start, shown, until, until_half_done
from tests.conftest import Project

RUN = ("run", "score.py", "--input", "in", "--mini-batch-size", "3", "--workers", "2", "--output", "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_does(scored: Project, start: Start, number: int) -> None:
    process = start(*RUN, GATE=str(scored.folder / "gate"))
    until_half_done(scored, process)
    os.killpg(process.pid, number)  # as a terminal does
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    run = shown(scored)
    assert run["status"] == "Interrupted"
    assert re.search(rf"resume +batchmill resume {run['id']}$", told, re.M)
    assert run["counts"]["items"]["failed"] == 0  # what was in flight is not charged
    assert not (scored.folder / "out" / "parallel_run_step.txt").exists()
    resumed = scored.batchmill("resume", run["id"])
    assert resumed.returncode == 0, resumed.stderr
    assert "done before" in resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_a_killed_run_is_interrupted_and_can_be_resumed(scored: Project, start: Start) -> None:
    process = start(*RUN, GATE=str(scored.folder / "gate"))
    until_half_done(scored, process)
    process.kill()
    process.communicate(timeout=60)
    assert shown(scored)["status"] == "Interrupted"
    assert scored.batchmill("resume", "last", "--quiet").returncode == 0
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_interrupted_while_planning(scored: Project, start: Start) -> None:
    pipe = scored.folder / "list.txt"
    os.mkfifo(pipe)  # a list that never comes: planning stands still
    process = start("run", "score.py", "--input", "@list.txt", "--output", "out")
    until(lambda: list(scored.home.glob("runs/*/snapshot/.complete")))
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "batchmill resume" in told
    assert shown(scored)["status"] == "Interrupted"
    pipe.unlink()
    scored.write({"list.txt": "".join(f"in/{name}\n" for name in NAMES)})
    resumed = scored.batchmill("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_a_completed_run_says_so(scored: Project) -> None:
    assert scored.batchmill(*RUN).returncode == 0
    written = Path(scored.folder, "out", "parallel_run_step.txt").stat()
    again = scored.batchmill("resume", "score")
    assert again.returncode == 0
    assert "already completed" in again.stderr
    assert Path(scored.folder, "out", "parallel_run_step.txt").stat() == written
    assert scored.batchmill("resume", "score", "--quiet").stderr == ""


def test_a_living_run_is_followed_to_its_end(scored: Project, start: Start) -> None:
    gate = scored.folder / "gate"
    run = scored.batchmill(*RUN, "--detach", env={"GATE": str(gate)}).stdout.strip()
    until_half_done(scored)
    follower = start("resume", run)
    leaver = start("resume", run)
    for process in (follower, leaver):
        assert process.stderr is not None
        assert "60 items in 20 mini-batches" in process.stderr.readline()
    os.killpg(leaver.pid, signal.SIGINT)
    _, left = leaver.communicate(timeout=60)
    assert leaver.returncode == 130
    assert f"Run {run} goes on." in left
    gate.touch()
    _, told = follower.communicate(timeout=60)
    assert follower.returncode == 0, told
    assert re.search(r"items +60 = 60 succeeded \+ 0 failed \+ 0 not run$", told, re.M)
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_a_second_run_into_the_same_folder_is_refused_by_name(scored: Project, start: Start) -> None:
    gate = scored.folder / "gate"
    start(*RUN, "--name", "first", GATE=str(gate))
    until_half_done(scored)
    second = scored.batchmill("run", "score.py", "--input", "in", "--output", "out")
    assert second.returncode == 2
    assert "is being written by run" in second.stderr
    assert "(first)" in second.stderr
    assert len(list((scored.home / "runs").iterdir())) == 1
    gate.touch()
    until(lambda: shown(scored)["status"] == "Completed")
