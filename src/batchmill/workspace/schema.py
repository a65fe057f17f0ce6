"""The tables of the registry. Loaded only by whoever speaks to the database, because SQLAlchemy is heavy.

Names sort by their UTF-8 bytes in both databases, JSON is kept as text, moments are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which knows no time zones, keeps it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def name_type() -> Any:
    """Text that compares and sorts by bytes, whatever the locale of a PostgreSQL server."""
    return Text().with_variant(Text(collation="C"), "postgresql")


metadata = MetaData(naming_convention=NAMING)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Text, nullable=False),
    Column("name", name_type(), nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("resource_group", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("details", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("modified", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("uq_workspaces_name", "name", unique=True),
)


def _workspace_column() -> Column[str]:
    return Column("workspace_id", Text, ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False)


# One row for each name: what is locked while a version is added, and the last version that was ever given.
asset_names = Table(
    "asset_names",
    metadata,
    _workspace_column(),
    Column("kind", Text, nullable=False),
    Column("name", name_type(), nullable=False),
    Column("last_version", Integer, nullable=False),
    PrimaryKeyConstraint("workspace_id", "kind", "name"),
)

assets = Table(
    "assets",
    metadata,
    Column("id", Text, nullable=False),
    _workspace_column(),
    Column("kind", Text, nullable=False),
    Column("name", name_type(), nullable=True),
    Column("version", Integer, nullable=False),
    Column("newest", Boolean(create_constraint=False), nullable=False),
    Column("definition", JSON, nullable=False),
    Column("digest", Text, nullable=False),
    Column("description", Text, nullable=True),
    Column("tags", JSON, nullable=False),
    Column("properties", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("modified", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("uq_assets_version", "workspace_id", "kind", "name", "version", unique=True),
    Index(
        "uq_assets_newest",
        "workspace_id",
        "kind",
        "name",
        unique=True,
        sqlite_where=text("newest"),
        postgresql_where=text("newest"),
    ),
    Index(
        "uq_assets_saved",
        "workspace_id",
        "kind",
        "digest",
        unique=True,
        sqlite_where=text("name IS NULL"),
        postgresql_where=text("name IS NULL"),
    ),
)

settings = Table(
    "settings",
    metadata,
    _workspace_column(),
    Column("key", name_type(), nullable=False),
    Column("value", JSON, nullable=False),
    PrimaryKeyConstraint("workspace_id", "key"),
)

runs = Table(
    "runs",
    metadata,
    _workspace_column(),
    Column("id", name_type(), nullable=False),
    Column("name", Text, nullable=False),
    Column("experiment", name_type(), nullable=True),
    Column("compute", name_type(), nullable=True),
    Column("status", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("details", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("started", Moment, nullable=True),
    Column("ended", Moment, nullable=True),
    Column("modified", Moment, nullable=False),
    Column("kind", Text, nullable=False, server_default="parallel_run"),
    Column("parent", name_type(), nullable=True),
    Column("tags", JSON, nullable=False, server_default="{}"),
    Column("properties", JSON, nullable=False, server_default="{}"),
    Column("error", Text, nullable=True),
    Column("cancel_requested", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Column("reuse_key", Text, nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("host", Text, nullable=True),
    Column("pid", Integer, nullable=True),
    Column("process_start", Text, nullable=True),
    Column("heartbeat", Moment, nullable=True),
    PrimaryKeyConstraint("workspace_id", "id"),
    Index("ix_runs_created", "workspace_id", "created", "id"),
    Index("ix_runs_experiment", "workspace_id", "experiment", "created"),
    Index("ix_runs_status", "workspace_id", "status", "created"),
    Index("ix_runs_parent", "workspace_id", "parent", "created"),
    Index("ix_runs_kind", "workspace_id", "kind", "created"),
    Index("ix_runs_reuse_key", "workspace_id", "reuse_key", "created"),
)

# What runs have logged, in the order of the ids.
run_metrics = Table(
    "run_metrics",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=True),
    _workspace_column(),
    Column("run_id", name_type(), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),  # JSON with NaN and infinities, which the JSON of PostgreSQL refuses
    Column("moment", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("ix_run_metrics_run", "workspace_id", "run_id", "id"),
)

experiments = Table(
    "experiments",
    metadata,
    _workspace_column(),
    Column("name", name_type(), nullable=False),
    Column("id", Text, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    PrimaryKeyConstraint("workspace_id", "name"),
)


def _compute_column() -> Column[str]:
    return Column("compute_id", Text, ForeignKey("assets.id", ondelete="CASCADE"), nullable=False)


# A run's claim to nodes of a compute target; ``position`` is its place in the queue, the rest says who holds it.
pool_leases = Table(
    "pool_leases",
    metadata,
    Column("id", Text, nullable=False),
    _compute_column(),
    Column("position", Integer, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_start", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("heartbeat", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("ix_pool_leases_compute", "compute_id", "position"),
)

# A node that is there; ``lease`` holds it, or it is idle since ``since``.
pool_nodes = Table(
    "pool_nodes",
    metadata,
    _compute_column(),
    Column("number", Integer, nullable=False),
    Column("lease", Text, nullable=True),
    Column("since", Moment, nullable=False),
    PrimaryKeyConstraint("compute_id", "number"),
)


# A published pipeline; its graph is an asset of kind "graph".
published_pipelines = Table(
    "published_pipelines",
    metadata,
    Column("id", Text, nullable=False),
    _workspace_column(),
    Column("name", name_type(), nullable=False),
    Column("description", Text, nullable=True),
    Column("version", Text, nullable=True),
    Column("status", Text, nullable=False),
    Column("graph_id", Text, nullable=False),
    Column("continue_on_step_failure", Boolean(create_constraint=False), nullable=True),
    Column("created", Moment, nullable=False),
    Column("modified", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("ix_published_pipelines_created", "workspace_id", "created"),
)

# ``versions``: {version: id of a published pipeline}, in the order in which they were added.
pipeline_endpoints = Table(
    "pipeline_endpoints",
    metadata,
    Column("id", Text, nullable=False),
    _workspace_column(),
    Column("name", name_type(), nullable=False),
    Column("description", Text, nullable=True),
    Column("status", Text, nullable=False),
    Column("default_version", Text, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("modified", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index(
        "uq_pipeline_endpoints_name",
        "workspace_id",
        "name",
        unique=True,
        sqlite_where=text("status <> 'Archived'"),
        postgresql_where=text("status <> 'Archived'"),
    ),
)

# ``anchor``: where the grid of the recurrence begins; up to ``considered`` it has been decided what to do.
schedules = Table(
    "schedules",
    metadata,
    Column("id", Text, nullable=False),
    _workspace_column(),
    Column("name", name_type(), nullable=False),
    Column("description", Text, nullable=True),
    Column("status", Text, nullable=False),
    Column("pipeline_id", Text, nullable=True),
    Column("pipeline_endpoint_id", Text, nullable=True),
    Column("experiment", name_type(), nullable=False),
    Column("recurrence", JSON(none_as_null=True), nullable=True),
    Column("parameters", JSON, nullable=False),
    Column("datastore", Text, nullable=True),
    Column("path_on_datastore", Text, nullable=True),
    Column("polling_interval", Float, nullable=True),
    Column("data_path_parameter_name", Text, nullable=True),
    Column("continue_on_step_failure", Boolean(create_constraint=False), nullable=True),
    Column("overlap", Text, nullable=False),
    Column("anchor", Moment, nullable=False),
    Column("considered", Moment, nullable=False),
    Column("created", Moment, nullable=False),
    Column("modified", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("ix_schedules_created", "workspace_id", "created"),
)


def _schedule_column() -> Column[str]:
    return Column("schedule_id", Text, ForeignKey("schedules.id", ondelete="CASCADE"), nullable=False)


# What a datastore schedule saw last: ``marks`` is {name of a file: what changes with its content}.
schedule_polls = Table(
    "schedule_polls",
    metadata,
    _schedule_column(),
    Column("polled", Moment, nullable=False),
    Column("marks", JSON, nullable=False),
    PrimaryKeyConstraint("schedule_id"),
)

# One row for each moment at which a schedule fired, should have fired or was kept from it; ``run_id`` is decided before the run is made.
schedule_fires = Table(
    "schedule_fires",
    metadata,
    Column("id", Text, nullable=False),
    _workspace_column(),
    _schedule_column(),
    Column("planned", Moment, nullable=False),
    Column("path", name_type(), nullable=False),
    Column("fired", Moment, nullable=True),
    Column("reason", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("run_id", name_type(), nullable=True),
    Column("note", Text, nullable=True),
    Column("host", Text, nullable=True),
    Column("pid", Integer, nullable=True),
    Column("process_start", Text, nullable=True),
    Column("heartbeat", Moment, nullable=True),
    PrimaryKeyConstraint("id"),
    Index("uq_schedule_fires_planned", "schedule_id", "planned", "path", unique=True),
    Index("ix_schedule_fires_outcome", "workspace_id", "outcome"),
)

# The processes that fire the schedules of a workspace.
serving = Table(
    "serving",
    metadata,
    Column("id", Text, nullable=False),
    _workspace_column(),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_start", Text, nullable=False),
    Column("started", Moment, nullable=False),
    Column("heartbeat", Moment, nullable=False),
    PrimaryKeyConstraint("id"),
)


def insert_unless_there(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row where no unique index objects."""
    connection.execute(_dialect_of(connection).insert(table).on_conflict_do_nothing(), row)


def insert_or_update(connection: Connection, table: Table, row: dict[str, Any], changes: Iterable[str]) -> None:
    """Insert a row, or give the one with its primary key the new values of the columns ``changes``."""
    statement = _dialect_of(connection).insert(table).values(row)
    changed = {name: statement.excluded[name] for name in changes}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed))


def _dialect_of(connection: Connection) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return postgresql if connection.dialect.name == "postgresql" else sqlite
