"""The experiments of a workspace: names for runs that belong together."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchmill.workspace.registered_run import RegisteredExperiment

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from batchmill.workspace.database import Database


class ExperimentIndex:
    """The experiments of one workspace."""

    workspace_id: str

    @property
    def database(self) -> Database:
        raise NotImplementedError

    def experiment(self, name: str) -> RegisteredExperiment:
        """The experiment of that name, made when it is first asked for."""
        with self.database.read() as connection:
            found = self._experiment(connection, name)
        return found or self.change_experiment(name)

    def change_experiment(self, name: str, tags: Mapping[str, Any] | None = None, drop_tags: Collection[str] = ()) -> RegisteredExperiment:
        """Merge tags into those of an experiment, made where there is none, and take others away; returns it as it is now."""
        from batchmill.workspace.schema import experiments, insert_unless_there

        row = {"workspace_id": self.workspace_id, "name": name, "id": str(uuid.uuid4()), "tags": {}, "created": datetime.now(UTC)}
        with self.database.write() as connection:
            insert_unless_there(connection, experiments, row)
            found = self._experiment(connection, name, lock=True)
            assert found is not None
            if not tags and not drop_tags:
                return found
            merged = found.tags | {str(key): str(value) for key, value in (tags or {}).items()}
            merged = {key: value for key, value in merged.items() if key not in drop_tags}
            here = (experiments.c.workspace_id == self.workspace_id, experiments.c.name == name)
            connection.execute(experiments.update().where(*here).values(tags=merged))
            return RegisteredExperiment(found.id, name, merged, found.created)

    def experiments(self) -> list[str]:
        """The names of all experiments, in order: those that were made, and those that runs belong to."""
        from sqlalchemy import select

        from batchmill.workspace.schema import experiments, runs

        made = select(experiments.c.name).where(experiments.c.workspace_id == self.workspace_id)
        used = select(runs.c.experiment).where(runs.c.workspace_id == self.workspace_id, runs.c.experiment.is_not(None)).distinct()
        with self.database.read() as connection:
            return sorted({*connection.execute(made).scalars(), *connection.execute(used).scalars()})

    def _experiment(self, connection: Connection, name: str, *, lock: bool = False) -> RegisteredExperiment | None:
        from sqlalchemy import select

        from batchmill.workspace.schema import experiments as table

        here = (table.c.workspace_id == self.workspace_id, table.c.name == name)
        query = select(table.c.id, table.c.name, table.c.tags, table.c.created).where(*here)
        row = connection.execute(query.with_for_update() if lock else query).first()
        return None if row is None else RegisteredExperiment(**row._mapping)
