"""What Alembic runs: the missing steps, on the connection and in the transaction that `upgrade` was given."""

from __future__ import annotations

from alembic import context

from batchmill.workspace.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
