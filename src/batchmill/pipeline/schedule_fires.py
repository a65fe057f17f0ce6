"""The fires of schedules in the registry: taken once, however many processes look, and settled.

A fire is taken in the transaction that moves its schedule on; it has its run's id from then on. Whoever takes a fire holds it until its
run is there; where that process dies, another one goes on with the same id.
"""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.schedule_due import Decision
from batchmill.pipeline.schedule_record import ACTIVE, Fire, Outcome, ScheduleRecord
from batchmill.records import RunStatus
from batchmill.workspace.holder import Holder
from batchmill.workspace.registered_run import NOT_STARTED

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from batchmill.workspace.workspace import Workspace

OPEN = (NOT_STARTED, RunStatus.QUEUED.value, RunStatus.RUNNING.value)
HELD = ("host", "pid", "process_start")
WITH_RUN = (Outcome.STARTING, Outcome.QUEUED)
FORGOTTEN = timedelta(minutes=2)
"""A fire that its holder has not spoken of for so long is taken over, though the process may live: it has lost sight of it."""
AT_ONCE = 500
"""So many ids in one statement; databases limit their number."""


class ScheduleFires:
    """The fires of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._registry = workspace.registry

    def take(self, record: ScheduleRecord, decisions: Sequence[Decision]) -> builtins.list[Fire]:
        """Write down what was decided for a recurrence; empty where another process was faster, or the schedule was changed meanwhile."""
        from batchmill.workspace.schema import schedules

        upto = max(decision.planned for decision in decisions)
        here = (schedules.c.id == record.id, schedules.c.considered == record.considered, schedules.c.status == ACTIVE)
        with self._registry.database.write() as connection:
            moved = connection.execute(schedules.update().where(*here).values(considered=upto))
            return self._insert(connection, record, decisions) if moved.rowcount else []

    def take_poll(
        self, record: ScheduleRecord, seen: datetime, now: datetime, marks: dict[str, str] | None, decisions: Sequence[Decision]
    ) -> builtins.list[Fire] | None:
        """Write down what a look at a datastore found; None where another process was faster, or the schedule is disabled or gone.

        ``marks`` None: they are as they were, or could not be looked at.
        """
        from sqlalchemy import select

        from batchmill.workspace.schema import schedule_polls, schedules

        active = select(schedules.c.id).where(schedules.c.id == record.id, schedules.c.status == ACTIVE).exists()
        here = (schedule_polls.c.schedule_id == record.id, schedule_polls.c.polled == seen, active)
        values: dict[str, Any] = {"polled": now} | ({} if marks is None else {"marks": marks})
        with self._registry.database.write() as connection:
            moved = connection.execute(schedule_polls.update().where(*here).values(values))
            return self._insert(connection, record, decisions) if moved.rowcount else None

    def _insert(self, connection: Connection, record: ScheduleRecord, decisions: Sequence[Decision]) -> builtins.list[Fire]:
        from batchmill.workspace.schema import insert_unless_there, schedule_fires

        taken = []
        for decision in decisions:
            row: dict[str, Any] = {
                "id": str(uuid.uuid4()),
                "workspace_id": self._registry.workspace_id,
                "schedule_id": record.id,
                "planned": decision.planned,
                "fired": None if decision.outcome is Outcome.MISSED else datetime.now(UTC),
                "reason": decision.reason.value,
                "path": decision.path,
                "outcome": decision.outcome.value,
                "run_id": str(uuid.uuid4()) if decision.outcome in WITH_RUN else None,
                "note": decision.note,
                **_held(decision.outcome is Outcome.STARTING),
            }
            insert_unless_there(connection, schedule_fires, row)
            taken.append(row["id"])
        parts = [taken[begin : begin + AT_ONCE] for begin in range(0, len(taken), AT_ONCE)]
        written = [fire for part in parts for fire in self._found(connection, schedule_fires.c.id.in_(part))]
        return sorted(written, key=lambda fire: (fire.planned, fire.path))

    def settle(self, fire: Fire, outcome: Outcome, note: str | None = None, *, was: Outcome | None = None) -> bool:
        """Say what came of a fire; False where it is not ``was`` any more."""
        from batchmill.workspace.schema import schedule_fires

        here = [schedule_fires.c.id == fire.id] + ([] if was is None else [schedule_fires.c.outcome == was.value])
        values: dict[str, Any] = {"outcome": outcome.value, **_held(outcome is Outcome.STARTING)}
        values |= {} if note is None else {"note": note}
        with self._registry.database.write() as connection:
            return connection.execute(schedule_fires.update().where(*here).values(values)).rowcount > 0

    def orphans(self) -> builtins.list[Fire]:
        """The fires whose run has not been started and whose holder has died or forgotten them, now held by this process."""
        from batchmill.workspace.schema import schedule_fires

        starting = schedule_fires.c.outcome == Outcome.STARTING.value
        with self._registry.database.read() as connection:
            now = datetime.now(UTC)
            found = [fire for fire in self._found(connection, starting) if _abandoned(fire, now)]
        return [fire for fire in found if self._take_over(fire)]

    def _take_over(self, fire: Fire) -> bool:
        from batchmill.workspace.schema import schedule_fires

        here = [schedule_fires.c.id == fire.id, schedule_fires.c.outcome == Outcome.STARTING.value]
        if fire.holder is not None:
            here += [schedule_fires.c.pid == fire.holder.pid, schedule_fires.c.process_start == fire.holder.start]
            here += [schedule_fires.c.heartbeat == fire.heartbeat]
        with self._registry.database.write() as connection:
            return connection.execute(schedule_fires.update().where(*here).values(**_held(True))).rowcount > 0

    def beat(self, ids: Collection[str]) -> None:
        """Say that this process still works at these fires, which it has taken."""
        from batchmill.workspace.schema import schedule_fires

        me, kept = Holder.me(), sorted(ids)
        mine = (schedule_fires.c.outcome == Outcome.STARTING.value, schedule_fires.c.host == me.host, schedule_fires.c.pid == me.pid)
        with self._registry.database.write() as connection:
            for begin in range(0, len(kept), AT_ONCE):
                part = schedule_fires.c.id.in_(kept[begin : begin + AT_ONCE])
                connection.execute(schedule_fires.update().where(*mine, part).values(heartbeat=datetime.now(UTC)))

    def let_go(self, fire: Fire) -> None:
        """Hold a fire no more that this process took and could not start: whoever serves goes on with it."""
        from batchmill.workspace.schema import schedule_fires

        here = (schedule_fires.c.id == fire.id, schedule_fires.c.outcome == Outcome.STARTING.value)
        with self._registry.database.write() as connection:
            connection.execute(schedule_fires.update().where(*here).values(**_held(False)))

    def waiting(self) -> set[str]:
        """The schedules that have fires which wait."""
        from sqlalchemy import select

        from batchmill.workspace.schema import schedule_fires

        table = schedule_fires
        here = (table.c.workspace_id == self._registry.workspace_id, table.c.outcome == Outcome.QUEUED.value)
        with self._registry.database.read() as connection:
            return set(connection.execute(select(table.c.schedule_id).where(*here).distinct()).scalars())

    def oldest_waiting(self, schedule_id: str) -> Fire | None:
        """The fire of a schedule that has waited longest."""
        from batchmill.workspace.schema import schedule_fires

        table = schedule_fires
        here = (table.c.schedule_id == schedule_id, table.c.outcome == Outcome.QUEUED.value)
        with self._registry.database.read() as connection:
            return next(iter(self._found(connection, *here, limit=1, oldest=True)), None)

    def forget_missed(self, schedule_id: str, after: datetime) -> None:
        """Take back that moments were missed which lie ahead: the clock was wrong when that was written down."""
        from batchmill.workspace.schema import schedule_fires

        table = schedule_fires
        here = (table.c.schedule_id == schedule_id, table.c.outcome == Outcome.MISSED.value, table.c.planned > after)
        with self._registry.database.write() as connection:
            connection.execute(table.delete().where(*here))

    def active_runs(self, schedule_id: str) -> builtins.list[str]:
        """The runs of a schedule that are not over, or about to begin; newest first."""
        from sqlalchemy import and_, or_, select

        from batchmill.workspace.schema import runs, schedule_fires

        table = schedule_fires
        joined = table.outerjoin(runs, and_(runs.c.workspace_id == table.c.workspace_id, runs.c.id == table.c.run_id))
        open_run = and_(table.c.outcome == Outcome.STARTED.value, runs.c.status.in_(OPEN))
        here = (table.c.schedule_id == schedule_id, or_(table.c.outcome == Outcome.STARTING.value, open_run))
        query = select(table.c.run_id).select_from(joined).where(*here).order_by(table.c.planned.desc())
        with self._registry.database.read() as connection:
            return [str(found) for found in connection.execute(query).scalars()]

    def list(self, schedule_id: str, limit: int | None = None, outcome: Outcome | None = None) -> builtins.list[Fire]:
        """The fires of a schedule, newest first."""
        from batchmill.workspace.schema import schedule_fires

        here = [schedule_fires.c.schedule_id == schedule_id] + ([] if outcome is None else [schedule_fires.c.outcome == outcome.value])
        with self._registry.database.read() as connection:
            return self._found(connection, *here, limit=limit)

    def counts(self) -> dict[str, dict[str, int]]:
        """Schedule -> outcome -> how many fires."""
        from sqlalchemy import func, select

        from batchmill.workspace.schema import schedule_fires

        table = schedule_fires
        query = select(table.c.schedule_id, table.c.outcome, func.count()).where(table.c.workspace_id == self._registry.workspace_id)
        found: dict[str, dict[str, int]] = {}
        with self._registry.database.read() as connection:
            for schedule, outcome, number in connection.execute(query.group_by(table.c.schedule_id, table.c.outcome)):
                found.setdefault(schedule, {})[outcome] = number
        return found

    def last_of_each(self) -> dict[str, Fire]:
        """Schedule -> its newest fire."""
        from sqlalchemy import and_, func, select

        from batchmill.workspace.schema import schedule_fires

        table = schedule_fires
        last = select(table.c.schedule_id, func.max(table.c.planned).label("planned")).where(
            table.c.workspace_id == self._registry.workspace_id
        )
        newest = last.group_by(table.c.schedule_id).subquery()
        joined = table.join(newest, and_(table.c.schedule_id == newest.c.schedule_id, table.c.planned == newest.c.planned))
        with self._registry.database.read() as connection:
            query = select(table).select_from(joined).order_by(table.c.path)
            return {fire.schedule_id: fire for fire in map(_fire, connection.execute(query))}

    def _found(
        self, connection: Connection, *here: ColumnElement[bool], limit: int | None = None, oldest: bool = False
    ) -> builtins.list[Fire]:
        from sqlalchemy import select

        from batchmill.workspace.schema import schedule_fires

        table = schedule_fires
        query = select(table).where(table.c.workspace_id == self._registry.workspace_id, *here)
        order = (table.c.planned, table.c.path) if oldest else (table.c.planned.desc(), table.c.path.desc())
        return [_fire(row) for row in connection.execute(query.order_by(*order).limit(limit))]


def _fire(row: Row[Any]) -> Fire:
    values = {name: value for name, value in row._mapping.items() if name not in (*HELD, "workspace_id")}
    held = row._mapping
    return Fire(**values, holder=None if held["host"] is None else Holder(held["host"], held["pid"], held["process_start"]))


def _held(by_me: bool) -> dict[str, Any]:
    if not by_me:
        return {"host": None, "pid": None, "process_start": None, "heartbeat": None}
    me = Holder.me()
    return {"host": me.host, "pid": me.pid, "process_start": me.start, "heartbeat": datetime.now(UTC)}


def _abandoned(fire: Fire, now: datetime) -> bool:
    if fire.holder is None or fire.heartbeat is None:
        return True
    return now - fire.heartbeat > FORGOTTEN or not fire.holder.alive(fire.heartbeat, now)
