"""``batchmill serve`` is killed at any moment: nothing fires twice, nothing that was decided is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.schedule import Schedule
from batchmill.records import RunStatus
from batchmill.workspace.workspace import Workspace
from tests.conftest import BATCHMILL
from tests.scheduled import ServedWorkspace, small_published

DIES = """
import importlib, os, signal, sys
from datetime import UTC, datetime, timedelta
module, name, when, minutes = sys.argv[1:5]
way, _, last = name.rpartition(".")
owner = importlib.import_module(module)
owner = getattr(owner, way) if way else owner
original = getattr(owner, last)
def dying(*args, **kwargs):
    if when == "after":
        original(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, last, dying)
from batchmill.pipeline.serve import Server
from batchmill.workspace.workspace import Workspace
Server(Workspace.get("team"), print, lambda: datetime.now(UTC) + timedelta(minutes=float(minutes))).turn()
"""
MOMENTS = [
    ("batchmill.pipeline.schedule_turn", "ScheduleFires.take", "before"),
    ("batchmill.pipeline.schedule_turn", "ScheduleFires.take", "after"),
    ("batchmill.pipeline.serve", "start_scheduled", "before"),
    ("batchmill.pipeline.submission", "check_compute_targets", "after"),
    ("batchmill.workspace.run_index", "RunIndex.add_run", "before"),
    ("batchmill.workspace.run_index", "RunIndex.add_run", "after"),
    ("batchmill.pipeline.runner", "start_runner", "after"),
    ("batchmill.pipeline.scheduled_run", "ScheduleFires.settle", "before"),
    ("batchmill.pipeline.scheduled_run", "ScheduleFires.settle", "after"),
]


@pytest.fixture
def team(database: str) -> Workspace:
    return Workspace.create("team", show_output=False)


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


@pytest.mark.parametrize(("module", "name", "when"), MOMENTS, ids=[f"{when} {name}" for _, name, when in MOMENTS])
def test_a_kill_between_decision_and_run(team: Workspace, tmp_path: Path, module: str, name: str, when: str) -> None:
    published = small_published(team, tmp_path / "script")
    schedule = Schedule.create(team, "hourly", published.id, "e", ScheduleRecurrence("Hour", 1))
    first = schedule.get_last_pipeline_run()
    assert first is not None
    assert first.wait_for_completion(show_output=False) == "Finished"
    died = subprocess.run([sys.executable, "-c", DIES, module, name, when, "60.1"], timeout=60, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    served = ServedWorkspace(team)
    served.turn(minutes=60.2)
    fires = schedule.fires()
    assert [fire.outcome for fire in fires] == ["Started", "Started"]
    run = schedule.get_last_pipeline_run()
    assert run is not None
    assert run.id != first.id
    assert run.wait_for_completion(show_output=False) == "Finished"
    assert len(team.registry.runs(kind="azureml.PipelineRun", limit=None)) == 2


def test_servers_that_are_killed_all_the_time_fire_once(team: Workspace, tmp_path: Path) -> None:
    """Real servers, killed at random moments while ten schedules are due."""
    published = small_published(team, tmp_path / "script")
    later = ScheduleRecurrence("Minute", 30, overlap_start())
    made = [Schedule.create(team, f"s{number}", published.id, "e", later, overlap="queue") for number in range(10)]
    chance = random.Random(4)
    words = [sys.executable, "-c", SERVES, "30.5"]
    for _ in range(6):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.communicate()
    ServedWorkspace(team).turn(minutes=30.5)
    assert [[fire.outcome for fire in one.fires()] for one in made] == [["Started"]] * 10
    assert sorted(run.id for run in team.registry.runs(kind="azureml.PipelineRun", limit=None)) == sorted(
        str(one.fires()[0].run_id) for one in made
    )
    for one in made:
        run = one.get_last_pipeline_run()
        assert run is not None
        assert run.wait_for_completion(show_output=False) == "Finished"


SERVES = """
import sys
from datetime import UTC, datetime, timedelta
from batchmill.pipeline.serve import Server
from batchmill.workspace.workspace import Workspace
server = Server(Workspace.get("team"), print, lambda: datetime.now(UTC) + timedelta(minutes=float(sys.argv[1])))
print("ready", flush=True)
while True:
    server.turn()
"""


def overlap_start() -> Any:
    """A start whose next moment on a grid of half an hour is half an hour away."""
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(tzinfo=None)


def test_serve_takes_up_a_run_whose_runner_died(team: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "gate.py").write_text(f"import os, time\nwhile not os.path.exists({str(tmp_path / 'open')!r}):\n    time.sleep(0.02)\n")
    from batchmill.pipeline.pipeline import Pipeline
    from batchmill.pipeline.python_script_step import PythonScriptStep

    run = Pipeline(team, [PythonScriptStep("gate.py", source_directory=str(folder), compute_target="local")]).submit("e")
    row = until(lambda: (found := team.registry.run(run.id)) and found.status == RunStatus.RUNNING and found)
    os.kill(row.holder.pid, signal.SIGKILL)
    until(lambda: team.registry.run(run.id).live_status == RunStatus.INTERRUPTED)  # type: ignore[union-attr]
    (tmp_path / "open").touch()
    process = subprocess.Popen([str(BATCHMILL), "serve", "--workspace", "team"], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: team.registry.run(run.id).status == RunStatus.COMPLETED)  # type: ignore[union-attr]
    finally:
        process.terminate()
        told = process.communicate(timeout=30)[1]
    assert f"Run {run.id} (e) was interrupted, and goes on." in told
