"""Runs of pipelines and of their steps, what runs log, and experiments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchmill.workspace.schema import Moment, name_type

revision = "0003"
down_revision = "0002"


def _workspace_column(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=f"fk_{table}_workspace_id", ondelete="CASCADE"),
    ]


def upgrade() -> None:
    """Widen the table of runs, make the others."""
    columns: list[sa.Column[object]] = [
        sa.Column("kind", sa.Text, nullable=False, server_default="parallel_run"),
        sa.Column("parent", name_type(), nullable=True),
        sa.Column("tags", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("properties", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("error", sa.Text, nullable=True),
        sa.Column("cancel_requested", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.false()),
        sa.Column("reuse_key", sa.Text, nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("host", sa.Text, nullable=True),
        sa.Column("pid", sa.Integer, nullable=True),
        sa.Column("process_start", sa.Text, nullable=True),
        sa.Column("heartbeat", Moment, nullable=True),
    ]
    for column in columns:
        op.add_column("runs", column)
    op.create_index("ix_runs_parent", "runs", ["workspace_id", "parent", "created"])
    op.create_index("ix_runs_kind", "runs", ["workspace_id", "kind", "created"])
    op.create_index("ix_runs_reuse_key", "runs", ["workspace_id", "reuse_key", "created"])
    op.create_table(
        "run_metrics",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        *_workspace_column("run_metrics"),
        sa.Column("run_id", name_type(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("moment", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run_metrics"),
    )
    op.create_index("ix_run_metrics_run", "run_metrics", ["workspace_id", "run_id", "id"])
    op.create_table(
        "experiments",
        *_workspace_column("experiments"),
        sa.Column("name", name_type(), nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "name", name="pk_experiments"),
    )
