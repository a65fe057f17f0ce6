"""From a run as the registry knows it to the object of its kind: of a pipeline, a step, a script, or any other."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batchmill.records import RunStatus
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.registered_run import PIPELINE_RUN, SCRIPT_RUN, STEP_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.experiment_run import ExperimentRun
    from batchmill.workspace.workspace import Workspace

Labels = str | Mapping[str, Any] | Iterable[str] | None
KINDS = {
    PIPELINE_RUN: ("batchmill.pipeline.pipeline_run", "PipelineRun"),
    STEP_RUN: ("batchmill.pipeline.step_run", "StepRun"),
    SCRIPT_RUN: ("batchmill.pipeline.script_run", "ScriptRun"),
}
NO_RUN = "RunNotFound: there is no run {} in workspace {}. batchmill runs list shows the runs."
ANY = ("batchmill.pipeline.experiment_run", "ExperimentRun")


def run_of(workspace: Workspace, run_id: str) -> ExperimentRun:
    """The run of that id, as the class of its kind.

    Raises:
        UserErrorException: the workspace has none.
    """
    row = workspace.registry.run(run_id)
    if row is None:
        raise UserErrorException(NO_RUN.format(run_id, workspace.name))
    from batchmill.pipeline.experiment import Experiment

    return wrapped(Experiment.named(workspace, row.experiment or Experiment.DEFAULT), row)


def wrapped(experiment: Experiment, row: RegisteredRun) -> ExperimentRun:
    """A run of the registry as the class of its kind."""
    module, name = KINDS.get(row.kind, ANY)
    kind: type[ExperimentRun] = getattr(importlib.import_module(module), name)
    run = kind.__new__(kind)
    run._experiment, run._id, run._kind = experiment, row.id, row.kind
    return run


def started_here(experiment: Experiment, name: str, *, id: str | None = None, parent: str | None = None) -> ExperimentRun:
    """A new run that this process carries out itself, Running."""
    registry = experiment.workspace.registry
    row = registry.add_run(id or str(uuid.uuid4()), kind=SCRIPT_RUN, name=name, experiment=experiment.name, parent=parent)
    registry.claim_run(row.id)
    registry.change_run(row.id, status=RunStatus.RUNNING)
    return wrapped(experiment, row)


def labels(asked: Labels) -> dict[str, Any] | None:
    """Tags as they are asked for: a name, several, or names with values; None stands for any value."""
    if asked is None or isinstance(asked, Mapping):
        return None if asked is None else dict(asked)
    return dict.fromkeys([asked] if isinstance(asked, str) else asked)


def with_status_of_folder(row: RegisteredRun) -> RegisteredRun:
    """A run of ``batchmill run``: the truth about it lies in its folder."""
    from dataclasses import replace
    from pathlib import Path

    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import RunFolder

    folder = RunFolder(Path(row.folder))
    if not folder.settings.exists():
        return row
    record = Run(folder).record()
    ended = None if record.ended is None else datetime.fromisoformat(record.ended)
    return replace(row, status=record.status.value, error=record.error, ended=ended)
