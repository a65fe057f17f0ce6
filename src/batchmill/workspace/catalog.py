"""The workspaces that a database holds."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchmill.workspace.database import database_url, open_database
from batchmill.workspace.exceptions import WorkspaceException

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.database import Database


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """One workspace as the database keeps it; ``details`` holds what Azure ML knows beside (sku, tags, friendly name ...)."""

    id: str
    name: str
    created: datetime
    modified: datetime
    subscription_id: str = ""
    resource_group: str = ""
    location: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class Catalog:
    """All workspaces of one database."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or database_url()

    @property
    def database(self) -> Database:
        return open_database(self.url)

    def find(self, name: str) -> WorkspaceRecord | None:
        """The workspace of that name."""
        from sqlalchemy import select

        from batchmill.workspace.schema import workspaces

        with self.database.read() as connection:
            row = connection.execute(select(workspaces).where(workspaces.c.name == name)).first()
        return None if row is None else WorkspaceRecord(**row._mapping)

    def all(self) -> list[WorkspaceRecord]:
        """All workspaces, by name."""
        from sqlalchemy import select

        from batchmill.workspace.schema import workspaces

        with self.database.read() as connection:
            return [WorkspaceRecord(**row._mapping) for row in connection.execute(select(workspaces).order_by(workspaces.c.name))]

    def make(
        self, name: str, *, subscription_id: str, resource_group: str, location: str, details: dict[str, Any], stores: Iterable[Asset]
    ) -> tuple[WorkspaceRecord, bool]:
        """Make a workspace with its first datastores, as a whole; returns it and whether it was made now or was there before."""
        from sqlalchemy import select

        from batchmill.workspace.asset_rows import AssetRows
        from batchmill.workspace.schema import insert_unless_there, workspaces

        now = datetime.now(UTC)
        record = WorkspaceRecord(str(uuid.uuid4()), name, now, now, subscription_id, resource_group, location, details)
        with self.database.write() as connection:
            insert_unless_there(connection, workspaces, asdict(record))
            row = connection.execute(select(workspaces).where(workspaces.c.name == name)).one()
            made = row.id == record.id
            rows = AssetRows(row.id)
            for store in stores if made else ():
                rows.lock_name(connection, store.kind, str(store.name))
                rows.append(connection, store)
        return WorkspaceRecord(**row._mapping), made

    def change(self, record: WorkspaceRecord, given: dict[str, Any]) -> WorkspaceRecord:
        """Change the details that are given, keep the others as they are now.

        Raises:
            WorkspaceException: the workspace has been removed.
        """
        from sqlalchemy import select

        from batchmill.workspace.schema import workspaces

        now, here = datetime.now(UTC), workspaces.c.id == record.id
        with self.database.write() as connection:
            details = connection.execute(select(workspaces.c.details).where(here).with_for_update()).scalar()
            if details is None:
                raise WorkspaceException(f"Workspace '{record.name}' has been removed.")
            connection.execute(workspaces.update().where(here).values(details=details | given, modified=now))
        return replace(record, details=details | given, modified=now)

    def remove(self, record: WorkspaceRecord) -> None:
        """Remove a workspace with all that is registered in it."""
        from sqlalchemy import delete

        from batchmill.workspace.schema import workspaces

        with self.database.write() as connection:
            connection.execute(delete(workspaces).where(workspaces.c.id == record.id))
