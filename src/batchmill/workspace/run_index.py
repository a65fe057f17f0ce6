"""What the registry knows of the runs of a workspace: an index to find them by; the truth about a run lies in its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.workspace.database import Database

PAGE = 100
REPLACED = ("name", "status", "folder", "ended", "modified")


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """One run as the registry knows it; moments are UTC, ``status`` is a word of `batchmill.records.RunStatus`."""

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

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; moments as ISO 8601."""
        moments = {name: getattr(self, name) for name in ("created", "modified", "started", "ended")}
        words = {name: getattr(self, name) for name in ("id", "name", "status", "folder", "experiment", "compute", "details")}
        return words | {name: moment and moment.isoformat() for name, moment in moments.items()}


class RunIndex:
    """The runs of one workspace."""

    workspace_id: str

    @property
    def database(self) -> Database:
        raise NotImplementedError

    def record_run(
        self,
        id: str,
        *,
        name: str,
        status: str,
        folder: str,
        experiment: str | None = None,
        compute: str | None = None,
        details: dict[str, Any] | None = None,
        started: datetime | None = None,
        ended: datetime | None = None,
    ) -> None:
        """Insert a run, or bring what is known of it up to date.

        ``experiment``, ``compute``, ``details`` and ``started`` stay as they are where None is given; ``ended`` None says it has not ended.
        """
        from batchmill.workspace.schema import insert_or_update, runs

        now = datetime.now(UTC)
        given = {"experiment": experiment, "compute": compute, "details": details, "started": started}
        row: dict[str, Any] = {
            "workspace_id": self.workspace_id,
            "id": id,
            "name": name,
            "status": str(status),
            "folder": folder,
            "ended": ended,
        }
        row |= given | {"details": details or {}, "created": started or now, "modified": now}
        changes = [*REPLACED, *(key for key, value in given.items() if value is not None)]
        with self.database.write() as connection:
            insert_or_update(connection, runs, row, changes)

    def run(self, id: str) -> RegisteredRun | None:
        """One run; None where the workspace knows none of that id."""
        from sqlalchemy import select

        from batchmill.workspace.schema import runs

        columns = [column for column in runs.c if column.name != "workspace_id"]
        with self.database.read() as connection:
            row = connection.execute(select(*columns).where(runs.c.workspace_id == self.workspace_id, runs.c.id == id)).first()
        return None if row is None else RegisteredRun(**row._mapping)

    def runs(
        self,
        *,
        limit: int | None = PAGE,
        after: str | None = None,
        status: str | None = None,
        experiment: str | None = None,
        compute: str | None = None,
    ) -> list[RegisteredRun]:
        """Runs, newest first; ``after`` is the id that the page before ended with."""
        from sqlalchemy import select, tuple_

        from batchmill.workspace.schema import runs

        columns = [column for column in runs.c if column.name != "workspace_id"]
        query = select(*columns).where(runs.c.workspace_id == self.workspace_id)
        for column, wanted in ((runs.c.status, status), (runs.c.experiment, experiment), (runs.c.compute, compute)):
            query = query if wanted is None else query.where(column == str(wanted))
        if after is not None:
            last = select(runs.c.created, runs.c.id).where(runs.c.workspace_id == self.workspace_id, runs.c.id == after).subquery()
            query = query.where(tuple_(runs.c.created, runs.c.id) < select(last.c.created, last.c.id).scalar_subquery())
        query = query.order_by(runs.c.created.desc(), runs.c.id.desc()).limit(limit)
        with self.database.read() as connection:
            return [RegisteredRun(**row._mapping) for row in connection.execute(query)]

    def experiments(self) -> list[str]:
        """The names of the experiments that runs belong to, in order."""
        from sqlalchemy import select

        from batchmill.workspace.schema import runs

        query = select(runs.c.experiment).where(runs.c.workspace_id == self.workspace_id, runs.c.experiment.is_not(None)).distinct()
        with self.database.read() as connection:
            return sorted(connection.execute(query).scalars())

    def remove_run(self, id: str) -> bool:
        """Forget a run; its folder is not touched. True where it was known."""
        from sqlalchemy import delete

        from batchmill.workspace.schema import runs

        with self.database.write() as connection:
            gone = delete(runs).where(runs.c.workspace_id == self.workspace_id, runs.c.id == id)
            return connection.execute(gone).rowcount > 0
