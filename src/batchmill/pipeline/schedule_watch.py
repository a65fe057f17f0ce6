"""Which schedules are due, told without reading thousands of them every second: the next moment of each is remembered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from batchmill.errors import BatchmillError
from batchmill.pipeline.firing_times import next_time
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, ScheduleRecord
from batchmill.pipeline.schedule_turn import schedule_rows

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

FRESH = 20.0
"""Seconds after which all schedules are read again; a change of one is seen at once, unless a clock elsewhere is slow."""
AHEAD = timedelta(minutes=2)
"""A schedule that was decided up to a moment further ahead was looked after by a clock that was wrong."""


class ScheduleWatch:
    """The schedules of a workspace with a recurrence, and when each is due next."""

    def __init__(self, workspace: Workspace, warn: Callable[[str], None]) -> None:
        self._workspace, self._warn = workspace, warn
        self._next: dict[str, datetime] = {}
        self._state: object = None
        self._read = float("-inf")
        self._troubled: set[str] = set()

    def due(self, now: datetime) -> list[ScheduleRecord]:
        """The schedules that have something due, as they are now."""
        rows, state = schedule_rows(self._workspace), self._changes()
        if state != self._state or monotonic() - self._read > FRESH:
            found = [one for one in rows.list(status=ACTIVE) if one.recurrence is not None]
            self._next = {}
            for record in found:
                self.remember(self._righted(record, now))
            self._state, self._read = state, monotonic()
        ready = {key for key, moment in self._next.items() if moment <= now}
        records = [one for one in map(rows.get, sorted(ready)) if one is not None and one.status == ACTIVE]
        for key in ready - {record.id for record in records}:
            del self._next[key]
        return records

    def remember(self, record: ScheduleRecord) -> None:
        """Note when a schedule, as it is now, is due next."""
        self._next.pop(record.id, None)
        rule = record.rule
        try:
            moment = None if rule is None else next_time(rule, record.anchor, record.considered)
        except BatchmillError as error:  # this machine does not know the time zone; the others go on
            if record.id not in self._troubled:
                self._troubled.add(record.id)
                self._warn(f"Schedule {record.name} ({record.id}) cannot fire here: {error.line}")
            return
        self._troubled.discard(record.id)
        if moment is not None:
            self._next[record.id] = moment

    def _changes(self) -> object:
        """What is another value after schedules were made, changed or removed."""
        from sqlalchemy import func, select

        from batchmill.workspace.schema import schedules

        here = schedules.c.workspace_id == self._workspace.registry.workspace_id
        query = select(func.count(), func.max(schedules.c.modified)).where(here)
        with self._workspace.registry.database.read() as connection:
            return tuple(connection.execute(query).one())

    def _righted(self, record: ScheduleRecord, now: datetime) -> ScheduleRecord:
        """The record, decided up to now where a clock that was ahead has decided further. What has fired does not fire again."""
        from batchmill.workspace.schema import schedules

        if record.considered - now <= AHEAD:
            return record
        here = (schedules.c.id == record.id, schedules.c.considered == record.considered)
        with self._workspace.registry.database.write() as connection:
            connection.execute(schedules.update().where(*here).values(considered=now))
        ScheduleFires(self._workspace).forget_missed(record.id, now)
        return schedule_rows(self._workspace).get(record.id) or record
