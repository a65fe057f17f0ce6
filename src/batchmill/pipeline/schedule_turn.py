"""One turn of looking after schedules: decisions are written down, queues move on. The edge around `schedule_due`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from batchmill.pipeline.kept_rows import KeptRows
from batchmill.pipeline.schedule_due import Decision, due_decisions
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, Fire, Outcome, ScheduleRecord

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

TABLE = "schedules"


def schedule_rows(workspace: Workspace) -> KeptRows[ScheduleRecord]:
    """The schedules of a workspace."""
    return KeptRows(workspace, TABLE, ScheduleRecord)


def take_due(workspace: Workspace, record: ScheduleRecord, now: datetime) -> list[Fire]:
    """Take what has become due of the recurrence of a schedule; returns all fires that were written down, whatever their outcome."""
    if not due_decisions(record, now):
        return []
    fires = ScheduleFires(workspace)
    decisions = due_decisions(record, now, fires.active_runs(record.id), bool(fires.list(record.id, 1, Outcome.QUEUED)))
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
    waiting: dict[str, list[Fire]] = {}
    for fire in fires.queued():
        waiting.setdefault(fire.schedule_id, []).append(fire)
    taken = []
    for schedule_id, queue in waiting.items():
        record = schedules.get(schedule_id)
        if record is None or record.status != ACTIVE:
            for fire in queue:
                fires.settle(fire, Outcome.SKIPPED, "the schedule was disabled while it waited", was=Outcome.QUEUED)
            continue
        if record.overlap == "replace":
            for fire in queue[:-1]:
                fires.settle(fire, Outcome.SKIPPED, "a later fire took its place", was=Outcome.QUEUED)
            queue = queue[-1:]
        if not fires.active_runs(schedule_id) and fires.settle(queue[0], Outcome.STARTING, was=Outcome.QUEUED):
            taken.append(queue[0])
    return taken
