"""One turn of looking after schedules: decisions are written down, queues move on. The edge around `schedule_due`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from batchmill.pipeline.kept_rows import KeptRows
from batchmill.pipeline.schedule_due import Decision, due_decisions
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, Fire, Outcome, Overlap, ScheduleRecord

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

TABLE = "schedules"
DISABLED_MEANWHILE = "the schedule was disabled while it waited"


def schedule_rows(workspace: Workspace) -> KeptRows[ScheduleRecord]:
    """The schedules of a workspace."""
    return KeptRows(workspace, TABLE, ScheduleRecord)


def take_due(workspace: Workspace, record: ScheduleRecord, now: datetime) -> list[Fire]:
    """Take what has become due of the recurrence of a schedule; returns all fires that were written down, whatever their outcome."""
    if not due_decisions(record, now):
        return []
    fires = ScheduleFires(workspace)
    waiting = record.id in fires.waiting()  # asked first: a fire that begins in this very moment is then seen waiting, or active
    decisions = due_decisions(record, now, fires.active_runs(record.id), waiting)
    taken = fires.take(record, decisions)
    if taken:
        make_room(workspace, decisions)
    return taken


def make_room(workspace: Workspace, decisions: list[Decision]) -> None:
    """Cancel the runs that are replaced; fires that they would have followed are skipped."""
    for run_id in dict.fromkeys(run for decision in decisions for run in decision.cancel):
        workspace.registry.request_cancel(run_id)


def take_queued(workspace: Workspace) -> list[Fire]:
    """Take the oldest waiting fire of each schedule whose runs are over; those of a replaced or disabled schedule are skipped."""
    fires, schedules = ScheduleFires(workspace), schedule_rows(workspace)
    taken = []
    for schedule_id in sorted(fires.waiting()):
        record = schedules.get(schedule_id)
        if record is None or record.status != ACTIVE:
            for fire in fires.list(schedule_id, outcome=Outcome.QUEUED):
                fires.settle(fire, Outcome.SKIPPED, DISABLED_MEANWHILE, was=Outcome.QUEUED)
            continue
        active = fires.active_runs(schedule_id)
        if record.overlap == Overlap.REPLACE:
            for fire in fires.list(schedule_id, outcome=Outcome.QUEUED)[1:]:
                fires.settle(fire, Outcome.SKIPPED, "a later fire took its place", was=Outcome.QUEUED)
            _replace(workspace, active)
        first = None if active else fires.oldest_waiting(schedule_id)
        if first is not None and fires.settle(first, Outcome.STARTING, was=Outcome.QUEUED):
            taken.append(first)
    return taken


def _replace(workspace: Workspace, active: list[str]) -> None:
    """Cancel what is in the way, where whoever decided so died before, or the run had not begun."""
    for run_id in active:
        run = workspace.registry.run(run_id)
        if run is not None and not run.cancel_requested:
            workspace.registry.request_cancel(run_id)
