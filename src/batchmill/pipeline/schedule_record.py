"""A schedule and its fires as plain values, as the registry keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.workspace.holder import Holder

ACTIVE, DISABLED = "Active", "Disabled"


class Overlap(StrEnum):
    """What happens to a fire while a run of its schedule is not over yet."""

    SKIP = "skip"
    """There is no run for it."""
    QUEUE = "queue"
    """Its run waits until the others are over."""
    REPLACE = "replace"
    """The others are canceled, and its run begins when they are over."""


class Outcome(StrEnum):
    """What came of a fire."""

    STARTING = "Starting"
    STARTED = "Started"
    QUEUED = "Queued"
    SKIPPED = "Skipped"
    MISSED = "Missed"
    FAILED = "Failed"


class Reason(StrEnum):
    """Why a schedule fires."""

    FIRST = "first run"
    RECURRENCE = "recurrence"
    NEW_FILE = "new file"
    CHANGED_FILE = "changed file"


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """What is kept of a schedule; moments are UTC, ``polling_interval`` counts minutes, ``parameters`` are values of a run as JSON.

    The grid of its recurrence begins at ``anchor`` unless that has a start; up to ``considered`` it has been decided what to do.
    """

    id: str
    name: str
    description: str | None
    status: str
    pipeline_id: str | None
    pipeline_endpoint_id: str | None
    experiment: str
    recurrence: dict[str, Any] | None
    parameters: dict[str, Any]
    datastore: str | None
    path_on_datastore: str | None
    polling_interval: float | None
    data_path_parameter_name: str | None
    continue_on_step_failure: bool | None
    overlap: str
    anchor: datetime
    considered: datetime
    created: datetime
    modified: datetime

    @property
    def rule(self) -> ScheduleRecurrence | None:
        """Its recurrence; None where it looks at a datastore."""
        return None if self.recurrence is None else ScheduleRecurrence.from_dict(self.recurrence)

    @property
    def watched(self) -> str:
        """The folder that a datastore schedule looks at: ``NAME/PATH``."""
        return "/".join(part for part in (self.datastore, self.path_on_datastore) if part)


@dataclass(frozen=True, slots=True)
class Fire:
    """One fire. ``planned``: when it was due; ``fired``: when it was decided what to do; ``path``: of the file that it is for, on its
    datastore; ``run_id``: of its run, decided before that is made; ``holder``: who is about to start the run."""

    id: str
    schedule_id: str
    planned: datetime
    fired: datetime | None
    reason: str
    path: str
    outcome: str
    run_id: str | None
    note: str | None
    holder: Holder | None = None
    heartbeat: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; moments as ISO 8601."""
        words = {name: getattr(self, name) for name in ("id", "schedule_id", "reason", "path", "outcome", "run_id", "note")}
        return words | {name: moment and moment.isoformat() for name, moment in (("planned", self.planned), ("fired", self.fired))}
