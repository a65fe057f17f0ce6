"""The rows of one table that belong to a workspace, as records: added, found, changed. Every call is one transaction."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from batchmill.workspace.workspace import Workspace

Record = TypeVar("Record")


class KeptRows(Generic[Record]):
    """Rows of the table ``name`` with the columns id, workspace_id, created and modified; ``make`` makes a record of the others."""

    def __init__(self, workspace: Workspace, name: str, make: Callable[..., Record]) -> None:
        self._workspace, self._name, self._make = workspace, name, make

    @property
    def _table(self) -> Table:
        from batchmill.workspace.schema import metadata

        return metadata.tables[self._name]

    def add(self, values: Mapping[str, Any], also: Callable[[Connection, str], None] | None = None) -> Record:
        """Insert a row; its id is new unless ``values`` has one. ``also`` is called with that id within the transaction."""
        now = datetime.now(UTC)
        row = {"id": str(uuid.uuid4()), "created": now, "modified": now, **values, "workspace_id": self._workspace.registry.workspace_id}
        with self._workspace.registry.database.write() as connection:
            connection.execute(self._table.insert(), row)
            if also is not None:
                also(connection, row["id"])
        found = self.get(row["id"])
        assert found is not None
        return found

    def get(self, id: str) -> Record | None:
        """The record of that id; None where there is none."""
        return next(iter(self.list(id=str(id))), None)

    def list(self, **wanted: Any) -> builtins.list[Record]:
        """The records whose columns have these values, newest first; a value of None is not looked at."""
        from sqlalchemy import select

        table = self._table
        columns = [column for column in table.c if column.name != "workspace_id"]
        here = [table.c.workspace_id == self._workspace.registry.workspace_id]
        here += [table.c[name] == value for name, value in wanted.items() if value is not None]
        query = select(*columns).where(*here).order_by(table.c.created.desc(), table.c.id)
        with self._workspace.registry.database.read() as connection:
            return [self._make(**row._mapping) for row in connection.execute(query)]

    def change(
        self,
        id: str,
        change: Mapping[str, Any] | Callable[[Record], Mapping[str, Any]],
        also: Callable[[Connection, str], None] | None = None,
    ) -> Record | None:
        """Give columns new values; a function makes them of the record, which nobody else changes meanwhile. None where there is none.

        ``also`` is called within the transaction.
        """
        from sqlalchemy import select

        table = self._table
        here = (table.c.id == id, table.c.workspace_id == self._workspace.registry.workspace_id)
        columns = [column for column in table.c if column.name != "workspace_id"]
        with self._workspace.registry.database.write() as connection:
            row = connection.execute(select(*columns).where(*here).with_for_update()).first()
            if row is None:
                return None
            values = change(self._make(**row._mapping)) if callable(change) else change
            connection.execute(table.update().where(*here).values({**values, "modified": datetime.now(UTC)}))
            if also is not None:
                also(connection, id)
            return self._make(**connection.execute(select(*columns).where(*here)).one()._mapping)
