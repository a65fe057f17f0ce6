"""The rows of runs in the database, within a transaction of the registry. Loaded when the registry is used first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select, tuple_

from batchmill.workspace.holder import Holder
from batchmill.workspace.registered_run import STEP_RUN, RegisteredRun
from batchmill.workspace.schema import runs

HELD = ("host", "pid", "process_start", "heartbeat")
OWN = [column for column in runs.c if column.name not in ("workspace_id", *HELD)]
CHUNK = 500  # ids in one query

parents = runs.alias("parents")
above = and_(parents.c.workspace_id == runs.c.workspace_id, parents.c.id == runs.c.parent, runs.c.kind == STEP_RUN)
WHOLE = select(*OWN, *(func.coalesce(runs.c[name], parents.c[name]).label(name) for name in HELD)).select_from(
    runs.outerjoin(parents, above)
)

Wanted = str | Collection[str] | None


def now_of(connection: Connection) -> datetime:
    """The time of the database, which is one for all machines of a team."""
    if connection.dialect.name == "postgresql":
        moment: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


class RunRows:
    """The runs of one workspace."""

    def __init__(self, workspace_id: str) -> None:
        self._workspace = workspace_id

    def one(self, connection: Connection, id: str, *, lock: bool = False) -> RegisteredRun | None:
        """A run; with ``lock`` nobody else changes it until the transaction ends."""
        if lock and connection.dialect.name == "postgresql":
            connection.execute(select(runs.c.id).where(*self._here(id)).with_for_update()).first()
        row = connection.execute(WHOLE.where(*self._here(id))).first()
        return None if row is None else _run(row)

    def add(self, connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
        now = now_of(connection)
        fixed = {"workspace_id": self._workspace, "created": now, "modified": now, "cancel_requested": False, "attempts": 0}
        connection.execute(runs.insert(), [row | fixed for row in rows])

    def change(self, connection: Connection, id: str, values: Mapping[str, Any]) -> None:
        changed = {"modified": now_of(connection)} | dict(values)
        connection.execute(runs.update().where(*self._here(id)).values(changed))

    def page(
        self,
        connection: Connection,
        wanted: Mapping[str, Wanted],
        labels: Mapping[str, Mapping[str, Any]],
        *,
        limit: int | None,
        after: str | None,
    ) -> list[RegisteredRun]:
        """Runs, newest first, whose columns have the values ``wanted`` (one, or one of several); ``labels`` of tags and properties must be
        there, a value of None: with any."""
        here = [runs.c.workspace_id == self._workspace, *_conditions(wanted)]
        if after is not None:
            last = select(runs.c.created, runs.c.id).where(*self._here(after)).subquery()
            here.append(tuple_(runs.c.created, runs.c.id) < select(last.c.created, last.c.id).scalar_subquery())
        asked = {column: given for column, given in labels.items() if given}
        if not asked:
            return _runs(connection, _newest_first(WHOLE.where(*here)).limit(limit))
        # Labels are compared here, row by row, but of the rows that lack them nothing else is read.
        labelled = connection.execute(_newest_first(select(runs.c.id, *(runs.c[column] for column in asked)).where(*here)))
        ids = [row.id for row in islice(_labelled(labelled, asked), limit)]
        parts = [[runs.c.workspace_id == self._workspace, runs.c.id.in_(ids[at : at + CHUNK])] for at in range(0, len(ids), CHUNK)]
        return [run for part in parts for run in _runs(connection, _newest_first(WHOLE.where(*part)))]

    def children(self, connection: Connection, id: str) -> list[RegisteredRun]:
        """The runs of the steps whose parent it is, oldest first."""
        here = [runs.c.workspace_id == self._workspace, runs.c.parent == id, runs.c.kind == STEP_RUN]
        return _runs(connection, WHOLE.where(*here).order_by(runs.c.created, runs.c.id))

    def _here(self, id: str) -> list[ColumnElement[bool]]:
        return [runs.c.workspace_id == self._workspace, runs.c.id == id]


def _conditions(wanted: Mapping[str, Wanted]) -> Iterator[ColumnElement[bool]]:
    for name, value in wanted.items():
        if isinstance(value, str):
            yield runs.c[name] == str(value)
        elif value is not None:
            yield runs.c[name].in_([str(one) for one in value])


def _newest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(runs.c.created.desc(), runs.c.id.desc())


def _runs(connection: Connection, query: Select[Any]) -> list[RegisteredRun]:
    return [_run(row) for row in connection.execute(query)]


def _run(row: Row[Any]) -> RegisteredRun:
    values = {name: value for name, value in row._mapping.items() if name not in HELD}
    held = row._mapping
    holder = None if held["host"] is None else Holder(held["host"], held["pid"], held["process_start"])
    return RegisteredRun(**values, holder=holder, heartbeat=held["heartbeat"])


def _labelled(rows: Iterable[Row[Any]], labels: Mapping[str, Mapping[str, Any]]) -> Iterator[Row[Any]]:
    for row in rows:
        if all(_holds(getattr(row, column), wanted) for column, wanted in labels.items()):
            yield row


def _holds(labels: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in labels and (value is None or labels[key] == value) for key, value in wanted.items())
