"""The registry: workspaces, what is registered in them, their settings and runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchmill.workspace.schema import Moment, name_type

revision = "0001"
down_revision = None


def _workspace_column(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=f"fk_{table}_workspace_id", ondelete="CASCADE"),
    ]


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", name_type(), nullable=False),
        sa.Column("subscription_id", sa.Text, nullable=False),
        sa.Column("resource_group", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("modified", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workspaces"),
    )
    op.create_index("uq_workspaces_name", "workspaces", ["name"], unique=True)
    op.create_table(
        "asset_names",
        *_workspace_column("asset_names"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", name_type(), nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "kind", "name", name="pk_asset_names"),
    )
    _make_assets()
    op.create_table(
        "settings",
        *_workspace_column("settings"),
        sa.Column("key", name_type(), nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "key", name="pk_settings"),
    )
    _make_runs()


def _make_assets() -> None:
    op.create_table(
        "assets",
        sa.Column("id", sa.Text, nullable=False),
        *_workspace_column("assets"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", name_type(), nullable=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("newest", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("definition", sa.JSON, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=True),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("properties", sa.JSON, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("modified", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_assets"),
    )
    op.create_index("uq_assets_version", "assets", ["workspace_id", "kind", "name", "version"], unique=True)
    newest, saved = sa.text("newest"), sa.text("name IS NULL")
    op.create_index(
        "uq_assets_newest", "assets", ["workspace_id", "kind", "name"], unique=True, sqlite_where=newest, postgresql_where=newest
    )
    op.create_index(
        "uq_assets_saved", "assets", ["workspace_id", "kind", "digest"], unique=True, sqlite_where=saved, postgresql_where=saved
    )


def _make_runs() -> None:
    op.create_table(
        "runs",
        *_workspace_column("runs"),
        sa.Column("id", name_type(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("experiment", name_type(), nullable=True),
        sa.Column("compute", name_type(), nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("started", Moment, nullable=True),
        sa.Column("ended", Moment, nullable=True),
        sa.Column("modified", Moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_runs"),
    )
    op.create_index("ix_runs_created", "runs", ["workspace_id", "created", "id"])
    op.create_index("ix_runs_experiment", "runs", ["workspace_id", "experiment", "created"])
    op.create_index("ix_runs_status", "runs", ["workspace_id", "status", "created"])
