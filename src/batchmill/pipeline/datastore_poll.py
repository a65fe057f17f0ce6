"""Looking at the folders of datastore schedules: what is new since the last look starts runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from batchmill.errors import BatchmillError, RegistryError
from batchmill.pipeline.schedule_due import change_decisions, changes_between
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, Fire, ScheduleRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from batchmill.workspace.workspace import Workspace

MINUTES = 5
"""Between two looks, where a schedule says nothing else (Azure ML)."""


def marks_of(workspace: Workspace, datastore: str, folder: str | None, warn: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """The files of the folder of a datastore as they are now, with their marks.

    Files whose names are no UTF-8 text, which no registry can keep, are left out, and told to ``warn``.

    Raises:
        BatchmillError: the datastore is not there, unreachable or refuses.
    """
    from typing import Any

    from batchmill.pipeline.schedule_rules import BLOB
    from batchmill.workspace.datastore import Datastore
    from batchmill.workspace.exceptions import UserErrorException
    from batchmill.workspace.folder_marks import folder_marks
    from batchmill.workspace.storage_datastore import StorageDatastore

    store: Any = Datastore.get(workspace, datastore)
    if not isinstance(store, StorageDatastore):  # another one has its name now
        raise UserErrorException(f"{BLOB}, and {datastore} is a {type(store).__name__} now.")
    found = folder_marks(store, folder)
    for name in [one for one in found if not one.isprintable() and not _is_text(one)]:
        del found[name]
        warn(f"the name of the file {name!r} is no UTF-8 text: it starts no run. Rename it.")
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def keep_look(connection: Connection, schedule_id: str, polled: datetime, marks: dict[str, str]) -> None:
    """Write down what a look saw: files that are there now start nothing."""
    from batchmill.workspace.schema import insert_or_update, schedule_polls

    row = {"schedule_id": schedule_id, "polled": polled, "marks": marks}
    insert_or_update(connection, schedule_polls, row, ["polled", "marks"])


def to_look_at(workspace: Workspace, now: datetime) -> list[str]:
    """The ids of the active datastore schedules whose time it is: their interval has passed, or their last look lies far ahead, seen by a
    clock that was wrong."""
    from sqlalchemy import select

    from batchmill.workspace.schema import schedule_polls, schedules

    table, polls = schedules, schedule_polls
    joined = table.join(polls, polls.c.schedule_id == table.c.id)
    query = select(table.c.id, table.c.polling_interval, polls.c.polled).select_from(joined).order_by(polls.c.polled)
    here = (table.c.workspace_id == workspace.registry.workspace_id, table.c.status == ACTIVE, table.c.datastore.is_not(None))
    with workspace.registry.database.read() as connection:
        found = connection.execute(query.where(*here)).all()
    return [row.id for row in found if not -_interval(row.polling_interval) < now - row.polled < _interval(row.polling_interval)]


def _interval(minutes: float | None) -> timedelta:
    return timedelta(minutes=minutes or MINUTES)


def last_look(workspace: Workspace, schedule_id: str) -> tuple[datetime, dict[str, str]] | None:
    """When a schedule last looked at its folder, and what it saw."""
    from sqlalchemy import select

    from batchmill.workspace.schema import schedule_polls

    query = select(schedule_polls.c.polled, schedule_polls.c.marks).where(schedule_polls.c.schedule_id == schedule_id)
    with workspace.registry.database.read() as connection:
        found = connection.execute(query).first()
    return None if found is None else (found.polled, found.marks)


def poll(workspace: Workspace, record: ScheduleRecord, now: datetime, warn: Callable[[str], None]) -> list[Fire]:
    """Look at the folder of a datastore schedule; returns the fires that were written down. A look that fails is told to ``warn``."""
    from batchmill.pipeline.schedule_turn import make_room

    seen = last_look(workspace, record.id) if record.status == ACTIVE and record.datastore is not None else None
    if seen is None:
        return []
    fires = ScheduleFires(workspace)
    try:
        about = f"Schedule {record.name} ({record.id}), {record.watched}"
        marks = marks_of(workspace, str(record.datastore), record.path_on_datastore, lambda text: warn(f"{about}: {text}"))
    except RegistryError:
        raise
    except BatchmillError as error:
        warn(f"Schedule {record.name} ({record.id}) cannot look at {record.watched}: {error.line}")
        fires.take_poll(record, seen[0], now, None, [])
        return []
    changes = changes_between(seen[1], marks, record.path_on_datastore or "")
    waiting = bool(changes) and record.id in fires.waiting()
    decisions = change_decisions(record, now, changes, fires.active_runs(record.id) if changes else (), waiting)
    taken = fires.take_poll(record, seen[0], now, None if marks == seen[1] else marks, decisions)
    if taken:
        make_room(workspace, decisions)
    return taken or []
