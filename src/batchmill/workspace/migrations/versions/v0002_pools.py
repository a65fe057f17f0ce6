"""The nodes of compute targets, and who holds them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchmill.workspace.schema import Moment

revision = "0002"
down_revision = "0001"


def _compute_column(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("compute_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["compute_id"], ["assets.id"], name=f"fk_{table}_compute_id", ondelete="CASCADE"),
    ]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "pool_leases",
        sa.Column("id", sa.Text, nullable=False),
        *_compute_column("pool_leases"),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_start", sa.Text, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("heartbeat", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pool_leases"),
    )
    op.create_index("ix_pool_leases_compute", "pool_leases", ["compute_id", "position"])
    op.create_table(
        "pool_nodes",
        *_compute_column("pool_nodes"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("lease", sa.Text, nullable=True),
        sa.Column("since", Moment, nullable=False),
        sa.PrimaryKeyConstraint("compute_id", "number", name="pk_pool_nodes"),
    )
