"""What the runs of a workspace have logged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchmill.workspace.registered_run import Metric

if TYPE_CHECKING:
    from batchmill.workspace.database import Database


class RunMetrics:
    """The metrics of the runs of one workspace."""

    workspace_id: str

    @property
    def database(self) -> Database:
        raise NotImplementedError

    def log_metric(self, run_id: str, name: str, kind: str, value: Any) -> None:
        """Add what a run has logged, any JSON value, NaN among them; ``kind``: value, list, row, table, image, text ..."""
        from batchmill.workspace.schema import run_metrics

        row: dict[str, Any] = {"workspace_id": self.workspace_id, "run_id": run_id, "name": name, "kind": kind}
        row |= {"value": json.dumps(value), "moment": datetime.now(UTC)}
        with self.database.write() as connection:
            connection.execute(run_metrics.insert(), row)

    def metrics(self, run_id: str) -> list[Metric]:
        """What a run has logged, in its order."""
        from sqlalchemy import select

        from batchmill.workspace.schema import run_metrics as table

        here = (table.c.workspace_id == self.workspace_id, table.c.run_id == run_id)
        query = select(table.c.name, table.c.kind, table.c.value, table.c.moment).where(*here).order_by(table.c.id)
        with self.database.read() as connection:
            return [Metric(row.name, row.kind, json.loads(row.value), row.moment) for row in connection.execute(query)]
