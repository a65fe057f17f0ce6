"""Published pipelines, their endpoints, and schedules with what they did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchmill.workspace.schema import Moment, name_type

revision = "0004"
down_revision = "0003"


def _reference(table: str, column: str, target: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column(column, sa.Text, nullable=False),
        sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE"),
    ]


def _workspace_column(table: str) -> list[sa.schema.SchemaItem]:
    return _reference(table, "workspace_id", "workspaces")


def upgrade() -> None:
    """Make the tables."""
    _make_published_pipelines()
    _make_pipeline_endpoints()
    _make_schedules()
    op.create_table(
        "schedule_polls",
        *_reference("schedule_polls", "schedule_id", "schedules"),
        sa.Column("polled", Moment, nullable=False),
        sa.Column("marks", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("schedule_id", name="pk_schedule_polls"),
    )
    _make_schedule_fires()
    op.create_table(
        "serving",
        sa.Column("id", sa.Text, nullable=False),
        *_workspace_column("serving"),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_start", sa.Text, nullable=False),
        sa.Column("started", Moment, nullable=False),
        sa.Column("heartbeat", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_serving"),
    )


def _make_published_pipelines() -> None:
    op.create_table(
        "published_pipelines",
        sa.Column("id", sa.Text, nullable=False),
        *_workspace_column("published_pipelines"),
        sa.Column("name", name_type(), nullable=False),
        sa.Column("description", sa.Text, nullable=True),
        sa.Column("version", sa.Text, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("graph_id", sa.Text, nullable=False),
        sa.Column("continue_on_step_failure", sa.Boolean(create_constraint=False), nullable=True),
        sa.Column("created", Moment, nullable=False),
        sa.Column("modified", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_published_pipelines"),
    )
    op.create_index("ix_published_pipelines_created", "published_pipelines", ["workspace_id", "created"])


def _make_pipeline_endpoints() -> None:
    op.create_table(
        "pipeline_endpoints",
        sa.Column("id", sa.Text, nullable=False),
        *_workspace_column("pipeline_endpoints"),
        sa.Column("name", name_type(), nullable=False),
        sa.Column("description", sa.Text, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("default_version", sa.Text, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("modified", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pipeline_endpoints"),
    )
    there = sa.text("status <> 'Archived'")
    columns = ["workspace_id", "name"]
    op.create_index("uq_pipeline_endpoints_name", "pipeline_endpoints", columns, unique=True, sqlite_where=there, postgresql_where=there)


def _make_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text, nullable=False),
        *_workspace_column("schedules"),
        sa.Column("name", name_type(), nullable=False),
        sa.Column("description", sa.Text, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("pipeline_id", sa.Text, nullable=True),
        sa.Column("pipeline_endpoint_id", sa.Text, nullable=True),
        sa.Column("experiment", name_type(), nullable=False),
        sa.Column("recurrence", sa.JSON, nullable=True),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("datastore", sa.Text, nullable=True),
        sa.Column("path_on_datastore", sa.Text, nullable=True),
        sa.Column("polling_interval", sa.Float, nullable=True),
        sa.Column("data_path_parameter_name", sa.Text, nullable=True),
        sa.Column("continue_on_step_failure", sa.Boolean(create_constraint=False), nullable=True),
        sa.Column("overlap", sa.Text, nullable=False),
        sa.Column("anchor", Moment, nullable=False),
        sa.Column("considered", Moment, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("modified", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
    )
    op.create_index("ix_schedules_created", "schedules", ["workspace_id", "created"])


def _make_schedule_fires() -> None:
    op.create_table(
        "schedule_fires",
        sa.Column("id", sa.Text, nullable=False),
        *_workspace_column("schedule_fires"),
        *_reference("schedule_fires", "schedule_id", "schedules"),
        sa.Column("planned", Moment, nullable=False),
        sa.Column("path", name_type(), nullable=False),
        sa.Column("fired", Moment, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("run_id", name_type(), nullable=True),
        sa.Column("note", sa.Text, nullable=True),
        sa.Column("host", sa.Text, nullable=True),
        sa.Column("pid", sa.Integer, nullable=True),
        sa.Column("process_start", sa.Text, nullable=True),
        sa.Column("heartbeat", Moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_schedule_fires"),
    )
    op.create_index("uq_schedule_fires_planned", "schedule_fires", ["schedule_id", "planned", "path"], unique=True)
    op.create_index("ix_schedule_fires_outcome", "schedule_fires", ["workspace_id", "outcome"])
