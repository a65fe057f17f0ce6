"""Which processes serve a workspace: rows with a heartbeat, so that everybody can tell whether schedules fire."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batchmill.workspace.holder import Holder

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace


class Serving:
    """The processes that serve one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._registry = workspace.registry
        self._id = str(uuid.uuid4())

    def begin(self) -> None:
        """Say that this process serves the workspace; those that have died are forgotten."""
        from batchmill.workspace.schema import serving

        me, now = Holder.me(), datetime.now(UTC)
        row = {"id": self._id, "workspace_id": self._registry.workspace_id, "host": me.host, "pid": me.pid, "process_start": me.start}
        with self._registry.database.write() as connection:
            for old in connection.execute(serving.select().where(serving.c.workspace_id == self._registry.workspace_id)).all():
                if not Holder(old.host, old.pid, old.process_start).alive(old.heartbeat, now):
                    connection.execute(serving.delete().where(serving.c.id == old.id))
            connection.execute(serving.insert(), row | {"started": now, "heartbeat": now})

    def beat(self) -> None:
        """Say that this process lives."""
        from batchmill.workspace.schema import serving

        with self._registry.database.write() as connection:
            connection.execute(serving.update().where(serving.c.id == self._id).values(heartbeat=datetime.now(UTC)))

    def end(self) -> None:
        """Say that this process serves the workspace no more."""
        from batchmill.workspace.schema import serving

        with self._registry.database.write() as connection:
            connection.execute(serving.delete().where(serving.c.id == self._id))

    def living(self) -> list[Holder]:
        """The processes that serve it now."""
        from batchmill.workspace.schema import serving

        now = datetime.now(UTC)
        query = serving.select().where(serving.c.workspace_id == self._registry.workspace_id)
        with self._registry.database.read() as connection:
            found = [(Holder(row.host, row.pid, row.process_start), row.heartbeat) for row in connection.execute(query)]
        return [holder for holder, seen in found if holder.alive(seen, now)]
