"""Bringing the schema of a database up to date: once, by one process, as a whole or not at all."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchmill.errors import RegistryError
from batchmill.workspace import migrations

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

PATIENCE = 20  # seconds to wait for a lock, or for a server that does not answer
ADVISORY_LOCK = 0x6261746368  # any number that others do not use


def ensure_current(engine: Engine, url: URL) -> None:
    """Take the steps that the database lacks; costs one query where it lacks none.

    Raises:
        RegistryError: it was written by a newer Batchmill.
    """
    with engine.connect() as connection, connection.begin():
        if _current(connection):
            return
    if engine.dialect.name == "sqlite":
        with _file_lock(f"{url.database}.lock"):
            _write_ahead(engine)
            _upgrade(engine)
    else:
        _upgrade(engine)


def _current(connection: Connection) -> bool:
    """Whether the schema is the one that this program knows."""
    from sqlalchemy import inspect

    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    known = migrations.revisions()
    if found is not None and found not in known:
        raise RegistryError(
            f"The registry was written by a newer Batchmill (its schema is number {found}, this one knows {known[-1]}).",
            cure="Upgrade this one: pip install --upgrade batchmill",
        )
    return found == known[-1]


def _upgrade(engine: Engine) -> None:
    with engine.connect() as connection, connection.execution_options(begin="BEGIN IMMEDIATE").begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        if not _current(connection):  # else another process was faster
            migrations.upgrade(connection)


def _write_ahead(engine: Engine) -> None:
    """Readers and a writer side by side; kept in the file, and changed only where nobody else is opening it."""
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


@contextmanager
def _file_lock(path: str) -> Iterator[None]:
    """Hold a lock file for the block; the lock ends with the process, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RegistryError(
                        f"The registry is being brought up to date by another process for more than {PATIENCE} seconds.",
                        cure=f"Wait for it, or end it: fuser {path} shows it.",
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
