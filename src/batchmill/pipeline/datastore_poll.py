"""Looking at the folders of datastore schedules: what is new since the last look starts runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from batchmill.errors import BatchmillError, RegistryError
from batchmill.pipeline.schedule_due import change_decisions, changes_between
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, Fire, Outcome, ScheduleRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from batchmill.workspace.workspace import Workspace

MINUTES = 5
"""Between two looks, where a schedule says nothing else (Azure ML)."""


def marks_of(workspace: Workspace, datastore: str, folder: str | None) -> dict[str, str]:
    """The files of the folder of a datastore as they are now, with their marks.

    Raises:
        BatchmillError: the datastore is not there, unreachable or refuses.
    """
    from typing import Any

    from batchmill.workspace.datastore import Datastore
    from batchmill.workspace.folder_marks import folder_marks

    store: Any = Datastore.get(workspace, datastore)
    return folder_marks(store, folder)


def keep_look(connection: Connection, schedule_id: str, polled: datetime, marks: dict[str, str]) -> None:
    """Write down what a look saw: files that are there now start nothing."""
    from batchmill.workspace.schema import insert_or_update, schedule_polls

    row = {"schedule_id": schedule_id, "polled": polled, "marks": marks}
    insert_or_update(connection, schedule_polls, row, ["polled", "marks"])


def last_look(workspace: Workspace, schedule_id: str) -> tuple[datetime, dict[str, str]] | None:
    """When a schedule last looked at its folder, and what it saw."""
    from sqlalchemy import select

    from batchmill.workspace.schema import schedule_polls

    query = select(schedule_polls.c.polled, schedule_polls.c.marks).where(schedule_polls.c.schedule_id == schedule_id)
    with workspace.registry.database.read() as connection:
        found = connection.execute(query).first()
    return None if found is None else (found.polled, found.marks)


def poll(workspace: Workspace, record: ScheduleRecord, now: datetime, warn: Callable[[str], None]) -> list[Fire]:
    """Look at the folder of a datastore schedule if it is time; returns the fires that were written down."""
    from batchmill.pipeline.schedule_turn import make_room

    seen = last_look(workspace, record.id) if record.status == ACTIVE and record.datastore is not None else None
    if seen is None or now - seen[0] < timedelta(minutes=record.polling_interval or MINUTES):
        return []
    fires = ScheduleFires(workspace)
    try:
        marks = marks_of(workspace, str(record.datastore), record.path_on_datastore)
    except RegistryError:
        raise
    except BatchmillError as error:
        warn(f"Schedule {record.name} ({record.id}) cannot look at {record.watched}: {error.line}")
        fires.take_poll(record, seen[0], now, None, [])
        return []
    changes = changes_between(seen[1], marks, record.path_on_datastore or "")
    waiting = bool(changes) and bool(fires.list(record.id, 1, Outcome.QUEUED))
    decisions = change_decisions(record, now, changes, fires.active_runs(record.id) if changes else (), waiting)
    taken = fires.take_poll(record, seen[0], now, marks, decisions)
    if taken:
        make_room(workspace, decisions)
    return taken or []
