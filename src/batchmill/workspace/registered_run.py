"""One run as the registry knows it, and whether somebody still works at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from batchmill.records import RunStatus
from batchmill.workspace.holder import SILENCE, Holder

PARALLEL_RUN, PIPELINE_RUN, STEP_RUN, SCRIPT_RUN = "parallel_run", "azureml.PipelineRun", "azureml.StepRun", "azureml.scriptrun"
NOT_STARTED = "NotStarted"
"""The status of the run of a step that nobody has begun; `RunStatus` has no such word."""
WORDS = ("id", "name", "folder", "experiment", "compute", "details", "kind", "parent", "tags", "properties", "error", "attempts")
MOMENTS = ("created", "modified", "started", "ended")


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """One run; moments are UTC, ``status`` is a word of `batchmill.records.RunStatus`, or `NOT_STARTED`.

    ``kind``: one of this module. ``parent``: the pipeline run of a step run. ``reuse_key``: what a later run with the same key may take the
    outputs for. ``attempts``: how often a process took it up. ``holder``: the process that works at it, of a step run that of its pipeline
    run; ``heartbeat``: when it was last heard of.
    """

    id: str
    name: str
    status: str
    folder: str
    created: datetime
    modified: datetime
    experiment: str | None = None
    compute: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    kind: str = PARALLEL_RUN
    parent: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    cancel_requested: bool = False
    reuse_key: str | None = None
    attempts: int = 0
    holder: Holder | None = None
    heartbeat: datetime | None = None

    @property
    def held(self) -> bool:
        """Whether the process that works at it lives."""
        return self.holder is not None and self.heartbeat is not None and self.holder.alive(self.heartbeat, datetime.now(UTC))

    @property
    def live_status(self) -> str:
        """The status; Interrupted where it says that somebody works at the run, and nobody does.

        A run that nobody has taken up yet has a minute for it. What a parallel run says of itself lies in its folder.
        """
        if self.kind == PARALLEL_RUN or self.status not in (RunStatus.QUEUED, RunStatus.RUNNING) or self.held:
            return self.status
        waits = self.holder is None and self.status == RunStatus.QUEUED and datetime.now(UTC) - self.modified < SILENCE
        return self.status if waits else RunStatus.INTERRUPTED.value

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; moments as ISO 8601."""
        moments = {name: getattr(self, name) for name in MOMENTS}
        words = {name: getattr(self, name) for name in WORDS} | {"status": self.live_status}
        return words | {name: moment and moment.isoformat() for name, moment in moments.items()}


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is to be added."""

    id: str
    kind: str
    name: str
    status: str = RunStatus.QUEUED.value
    experiment: str | None = None
    parent: str | None = None
    compute: str | None = None
    folder: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that a run has logged. ``kind``: value, list, row, table, image, text ...; ``value``: any JSON value, NaN among them."""

    name: str
    kind: str
    value: Any
    moment: datetime


@dataclass(frozen=True, slots=True)
class RegisteredExperiment:
    """An experiment: a name for runs that belong together."""

    id: str
    name: str
    tags: dict[str, str]
    created: datetime
