"""What the registry knows of the runs of a workspace.

Of a parallel run this is an index to find it by, the truth lies in its folder. Of the runs of pipelines, their steps and single scripts
it is the truth: what they are, how they stand, and which process works at them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchmill.records import RunStatus
from batchmill.workspace.holder import Holder
from batchmill.workspace.registered_run import NOT_STARTED, NewRun
from batchmill.workspace.registered_run import RegisteredRun as RegisteredRun

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from batchmill.workspace.database import Database
    from batchmill.workspace.run_rows import RunRows

PAGE = 100
REPLACED = ("name", "status", "folder", "ended", "modified")
OPEN = (NOT_STARTED, RunStatus.QUEUED, RunStatus.RUNNING)
HELD_BY_NOBODY = {"host": None, "pid": None, "process_start": None, "heartbeat": None}
Words = str | Collection[str] | None


class RunIndex:
    """The runs of one workspace."""

    workspace_id: str

    @property
    def database(self) -> Database:
        raise NotImplementedError

    @cached_property
    def _runs(self) -> RunRows:
        from batchmill.workspace.run_rows import RunRows

        return RunRows(self.workspace_id)

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

    def add_run(
        self,
        id: str,
        *,
        kind: str,
        name: str,
        status: str = RunStatus.QUEUED,
        experiment: str | None = None,
        parent: str | None = None,
        compute: str | None = None,
        folder: str = "",
        details: dict[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> RegisteredRun:
        """Add a run that nobody works at yet; ``kind`` is one of `batchmill.workspace.registered_run`.

        Raises:
            RegistryError: there is a run of that id.
        """
        new = NewRun(
            id, kind, name, str(status), experiment, parent, compute, folder, details or {}, _texts(tags or {}), _texts(properties or {})
        )
        return self.add_runs([new])[0]

    def add_runs(self, new: Iterable[NewRun]) -> list[RegisteredRun]:
        """Add several runs: all of them or none.

        Raises:
            RegistryError: there is a run of one of the ids.
        """
        rows = [asdict(one) for one in new]
        with self.database.write() as connection:
            if rows:
                self._runs.add(connection, rows)
            found = [self._runs.one(connection, row["id"]) for row in rows]
        return [run for run in found if run is not None]

    def change_run(
        self,
        id: str,
        *,
        status: str | None = None,
        error: str | None = None,
        details: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        started: datetime | None = None,
        ended: datetime | None = None,
        reuse_key: str | None = None,
        compute: str | None = None,
        folder: str | None = None,
        name: str | None = None,
        drop_tags: Collection[str] = (),
        if_status: Collection[str] | None = None,
    ) -> RegisteredRun | None:
        """Change what is given, keep the rest; returns the run as it is now.

        None where nothing was changed: it is unknown, or its status is none of ``if_status``. The keys of ``details``, ``tags`` and
        ``properties`` are merged into those that are there, which nobody else changes meanwhile. A status that ends the run gives it the
        moment of its end, Running that of its start, unless they are given or there; one that does not end it takes end and error away.
        """
        error = None if error is None else _storable(error)
        columns = {"error": error, "started": started, "ended": ended, "reuse_key": reuse_key, "compute": compute, "folder": folder}
        given: dict[str, Any] = {key: value for key, value in (columns | {"name": name}).items() if value is not None}
        merged = {"details": dict(details or {}), "tags": _texts(tags or {}), "properties": _texts(properties or {})}
        with self.database.write() as connection:
            old = self._runs.one(connection, id, lock=True)
            if old is None or (if_status is not None and old.status not in [str(word) for word in if_status]):
                return None
            values: dict[str, Any] = {key: getattr(old, key) | added for key, added in merged.items() if added}
            if drop_tags:
                kept = values.get("tags", old.tags)
                values["tags"] = {key: value for key, value in kept.items() if key not in drop_tags}
            self._runs.change(connection, id, values | _of_status(old, status) | given)
            return self._runs.one(connection, id)

    def run(self, id: str) -> RegisteredRun | None:
        """One run; None where the workspace knows none of that id."""
        with self.database.read() as connection:
            return self._runs.one(connection, id)

    def runs(
        self,
        *,
        limit: int | None = PAGE,
        after: str | None = None,
        status: Words = None,
        experiment: str | None = None,
        compute: str | None = None,
        kind: Words = None,
        parent: str | None = None,
        name: str | None = None,
        reuse_key: str | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> list[RegisteredRun]:
        """Runs, newest first; ``after`` is the id that the page before ended with, ``limit`` None gives all.

        ``status`` and ``kind`` are one word or several; ``tags`` and ``properties`` must be there with these values (None: with any).
        """
        wanted = {"status": status, "experiment": experiment, "compute": compute, "kind": kind}
        wanted |= {"parent": parent, "name": name, "reuse_key": reuse_key}
        labels = {"tags": tags or {}, "properties": properties or {}}
        with self.database.read() as connection:
            return self._runs.page(connection, wanted, labels, limit=limit, after=after)

    def remove_run(self, id: str) -> bool:
        """Forget a run, the runs whose parent it is, and what they logged; folders are not touched. True where it was known."""
        from sqlalchemy import delete, or_, select

        from batchmill.workspace.schema import run_metrics, runs

        here = (runs.c.workspace_id == self.workspace_id, or_(runs.c.id == id, runs.c.parent == id))
        with self.database.write() as connection:
            logged = (run_metrics.c.workspace_id == self.workspace_id, run_metrics.c.run_id.in_(select(runs.c.id).where(*here)))
            connection.execute(delete(run_metrics).where(*logged))
            return connection.execute(delete(runs).where(*here)).rowcount > 0

    # --- who works at it -----------------------------------------------------------------------------------------------------------

    def claim_run(self, id: str) -> bool:
        """Make this process the one that works at a run, unless another one that lives does; counts as one attempt.

        False also where the run is unknown.
        """
        from batchmill.workspace.run_rows import now_of

        with self.database.write() as connection:
            run, now = self._runs.one(connection, id, lock=True), now_of(connection)
            if run is None or _held_by_another(run, now):
                return False
            self._runs.change(connection, id, _held(Holder.me(), now) | {"attempts": run.attempts + 1})
            return True

    def hand_run_over(self, id: str, holder: Holder) -> bool:
        """Say which process is about to claim a run, so that its death before that is seen as well; False where one works at it already."""
        from batchmill.workspace.run_rows import now_of

        with self.database.write() as connection:
            run, now = self._runs.one(connection, id, lock=True), now_of(connection)
            if run is None or run.status not in OPEN or _held_by_another(run, now):
                return False
            self._runs.change(connection, id, _held(holder, now))
            return True

    def beat(self, id: str) -> bool:
        """Say that this process still works at a run; False where it does not any more: another one took the run over."""
        from batchmill.workspace.run_rows import now_of

        with self.database.write() as connection:
            run = self._runs.one(connection, id, lock=True)
            if run is None or run.holder != Holder.me():
                return False
            self._runs.change(connection, id, {"heartbeat": now_of(connection), "modified": run.modified})
            return True

    def release_run(self, id: str) -> None:
        """Say that this process does not work at a run any more."""
        with self.database.write() as connection:
            run = self._runs.one(connection, id, lock=True)
            if run is not None and run.holder == Holder.me():
                self._runs.change(connection, id, HELD_BY_NOBODY)

    def request_cancel(self, id: str) -> RegisteredRun | None:
        """Ask whoever works at a run to end it. Where nobody does, it is Canceled at once, and with it the runs whose parent it is.

        Returns the run as it is now; one that has ended stays as it is, None where it is unknown.
        """
        with self.database.write() as connection:
            run = self._runs.one(connection, id, lock=True)
            if run is None or run.status not in OPEN:
                return run
            self._runs.change(connection, id, {"cancel_requested": True})
            if not run.held:
                for one in [*self._runs.children(connection, id), run]:
                    self._cancel(connection, one)
            return self._runs.one(connection, id)

    def cancels(self, id: str) -> set[str]:
        """Which of a run and the runs whose parent it is are to be canceled."""
        from sqlalchemy import or_, select

        from batchmill.workspace.schema import runs

        family = or_(runs.c.id == id, runs.c.parent == id)
        query = select(runs.c.id).where(runs.c.workspace_id == self.workspace_id, family, runs.c.cancel_requested)
        with self.database.read() as connection:
            return set(connection.execute(query).scalars())

    def _cancel(self, connection: Connection, run: RegisteredRun) -> None:
        if run.status in OPEN:
            self._runs.change(connection, run.id, _of_status(run, RunStatus.CANCELED))


def _held(holder: Holder, now: datetime) -> dict[str, Any]:
    return {"host": holder.host, "pid": holder.pid, "process_start": holder.start, "heartbeat": now}


def _held_by_another(run: RegisteredRun, now: datetime) -> bool:
    holder = run.holder
    return holder is not None and holder != Holder.me() and run.heartbeat is not None and holder.alive(run.heartbeat, now)


def _of_status(old: RegisteredRun, status: str | None) -> dict[str, Any]:
    """What goes with a new status."""
    if status is None:
        return {}
    now = datetime.now(UTC)
    if status in OPEN:
        begun: dict[str, Any] = {"started": old.started or now} if status == RunStatus.RUNNING else {}
        again: dict[str, Any] = {} if old.status in OPEN else {"cancel_requested": False}
        return {"status": str(status), "ended": None, "error": None} | begun | again
    return {"status": str(status), "ended": old.ended or now}


def _storable(text: str) -> str:
    """A text as every database takes it: what scripts print may hold NUL, and names of files bytes that are no text."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "backslashreplace").decode("utf-8")


def _texts(labels: Mapping[str, Any]) -> dict[str, str]:
    """Tags and properties are texts (Azure ML: other values are turned into one)."""
    return {str(key): str(value) for key, value in labels.items()}
