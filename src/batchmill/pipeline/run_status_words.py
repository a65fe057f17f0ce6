"""The words in which SDK v1 says how a run stands (specification G5), made from ours.

A run whose process has died is ``NotResponding`` in all three vocabularies: nothing more happens until somebody takes it up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchmill.records import RunStatus
from batchmill.workspace.registered_run import NOT_STARTED

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import RegisteredRun

NOT_RESPONDING = "NotResponding"
CANCEL_REQUESTED = "CancelRequested"
_COMMON = {
    NOT_STARTED: "NotStarted",
    RunStatus.RUNNING.value: "Running",
    RunStatus.FAILED.value: "Failed",
    RunStatus.CANCELED.value: "Canceled",
    RunStatus.INTERRUPTED.value: NOT_RESPONDING,
}
PIPELINE_WORDS = _COMMON | {RunStatus.QUEUED.value: "NotStarted", RunStatus.COMPLETED.value: "Finished"}
STEP_WORDS = _COMMON | {RunStatus.QUEUED.value: "Queued", RunStatus.COMPLETED.value: "Finished"}
RUN_WORDS = _COMMON | {RunStatus.QUEUED.value: "Queued", RunStatus.COMPLETED.value: "Completed"}
WAITING = ("NotStarted", "Queued", "Running", "Unknown")
"""Words of pipeline runs and step runs that mean: not ended yet."""


def pipeline_word(status: str) -> str:
    """Of ``PipelineRun.get_status()``.

    >>> pipeline_word("Completed"), pipeline_word("Queued")
    ('Finished', 'NotStarted')
    """
    return PIPELINE_WORDS[status]


def step_word(status: str) -> str:
    """Of ``StepRun.get_status()``.

    >>> step_word("Completed"), step_word("Queued")
    ('Finished', 'Queued')
    """
    return STEP_WORDS[status]


def run_word(run: RegisteredRun) -> str:
    """Of ``Run.get_status()``, ``run.status`` and ``get_details()["status"]``."""
    status = run.live_status
    if run.cancel_requested and status in (NOT_STARTED, RunStatus.QUEUED, RunStatus.RUNNING):
        return CANCEL_REQUESTED
    return RUN_WORDS[status]


def has_ended(run: RegisteredRun) -> bool:
    """Whether waiting for it is over: it has ended, or nobody works at it any more."""
    return run.live_status not in (NOT_STARTED, RunStatus.QUEUED, RunStatus.RUNNING)
