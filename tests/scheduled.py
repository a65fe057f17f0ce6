"""What tests of published pipelines and schedules share: a pipeline of one small step, and runs that nobody carries out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.pipeline import Pipeline
from batchmill.pipeline.published_pipeline import PublishedPipeline
from batchmill.pipeline.python_script_step import PythonScriptStep
from batchmill.pipeline.serve import Server
from batchmill.workspace.workspace import Workspace

SCRIPT = "import sys\nprint(*sys.argv[1:])\n"


def small_pipeline(ws: Workspace, folder: Path, name: str = "show.py", **step: Any) -> Pipeline:
    """A pipeline of one script that prints its arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(SCRIPT)
    return Pipeline(ws, [PythonScriptStep(name, source_directory=str(folder), compute_target="local", **step)])


def small_published(ws: Workspace, folder: Path, **step: Any) -> PublishedPipeline:
    """The same, published."""
    return small_pipeline(ws, folder, **step).publish(name="small", description="one step")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **span: float) -> None:
        self.now += timedelta(**span)


class ServedWorkspace:
    """A server with a clock of its own, and what it said."""

    def __init__(self, ws: Workspace, clock: Clock | None = None) -> None:
        self.clock, self.said = clock or Clock(), list[str]()
        self.server = Server(ws, self.said.append, self.clock)

    def turn(self, **span: float) -> None:
        """Let the clock go on, then look once."""
        self.clock.go_on(**span)
        self.server.turn()


def without_runners(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on runs are registered, and no process carries them out; returns the list of their ids."""
    started: list[str] = []
    monkeypatch.setattr("batchmill.pipeline.runner.start_runner", lambda workspace, run_id: started.append(run_id))
    return started


def end_runs(ws: Workspace, status: str = "Completed") -> None:
    """Let all runs be over."""
    for run in ws.registry.runs(status=["Queued", "Running"], limit=None):
        ws.registry.change_run(run.id, status=status)
