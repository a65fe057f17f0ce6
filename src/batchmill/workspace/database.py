"""The only way to the database of the workspaces: opening it, bringing it up to date, transactions, and its errors in plain words.

SQLite in the batchmill home by default, PostgreSQL where ``BATCHMILL_DATABASE_URL`` names one. Every error of SQLAlchemy and of the
drivers becomes a `RegistryError` here; no address with a password leaves this module.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import RegistryError
from batchmill.storage.home import home
from batchmill.workspace.database_errors import translated
from batchmill.workspace.schema_upgrade import PATIENCE, ensure_current

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

VARIABLE = "BATCHMILL_DATABASE_URL"
FILE = "workspace.sqlite"
CONNECT_PATIENCE = 8  # of one address; a name may have two
PAUSE = 0.5  # seconds between two looks at a server that cannot be reached
_patience = 0.0
_open: dict[str, Database] = {}
_opening = threading.RLock()


class Database:
    """An open database whose schema is the one that this program knows."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self.url, self.engine = url, engine
        self.label = label(url)
        self.inode = inode(url)
        # SQLite shows one state to a transaction anyway.
        snapshot = engine.dialect.name == "postgresql"
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ") if snapshot else engine

    def __repr__(self) -> str:
        return f"Database({self.label})"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and changes nothing."""
        with translated(self.url, self.label), _connected(self._reader) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed as a whole at the end of the block; it waits for other writers, up to `PATIENCE` seconds."""
        with (
            translated(self.url, self.label),
            _connected(self.engine) as connection,
            connection.execution_options(begin="BEGIN IMMEDIATE").begin(),
        ):
            yield connection


def bear_outages(seconds: float) -> None:
    """From now on transactions of this process wait so long for a server that cannot be reached, before they begin."""
    global _patience
    _patience = seconds


def _connected(engine: Engine) -> Connection:
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.exc import TimeoutError as NoneFree

    deadline = time.monotonic() + _patience
    while True:
        try:
            return engine.connect()
        except (OperationalError, NoneFree):
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE)


def database_url() -> str:
    """Where the registry is: ``BATCHMILL_DATABASE_URL``, default ``workspace.sqlite`` in the batchmill home; read at each use."""
    return os.environ.get(VARIABLE) or f"sqlite:///{home() / FILE}"


def open_database(text: str | None = None) -> Database:
    """The database of an URL, its schema made or brought up to date where needed; opened once in a process.

    Raises:
        RegistryError: unreachable, unwritable, damaged, newer than this program, or of an unknown kind; one line without passwords.
    """
    text = text or database_url()
    known = _open.get(text)
    if known is not None and known.inode == inode(known.url):
        return known
    with _opening:
        known = _open.pop(text, None)
        if known is not None:
            if known.inode == inode(known.url):
                _open[text] = known
                return known
            known.engine.dispose()  # the file was removed or replaced
        _open[text] = database = _opened(parsed(text))
        return database


def _opened(url: URL) -> Database:
    with translated(url, label(url)):
        engine = make_engine(url)
        try:
            ensure_current(engine, url)
        except BaseException:
            engine.dispose()
            raise
    return Database(url, engine)


def close_databases() -> None:
    """Close what this process has open; the next use opens it again."""
    with _opening:
        for database in _open.values():
            database.engine.dispose()
        _open.clear()


def _after_fork() -> None:
    """A child must not use, nor close, the connections of its parent."""
    global _opening
    _opening = threading.RLock()
    for database in _open.values():
        database.engine.dispose(close=False)
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)


def parsed(text: str) -> URL:
    """The URL with the driver that is used for it; a relative path of SQLite is made absolute."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    cure = f"Set {VARIABLE} to postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH, or unset it."
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise RegistryError(f"{VARIABLE} is not the URL of a database.", cure=cure) from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite") and url.database not in (None, "", ":memory:") and not url.query:
        return url.set(drivername="sqlite+pysqlite", database=os.path.abspath(str(url.database)))
    raise RegistryError(f"{VARIABLE} names a database of kind '{url.drivername}' that cannot hold workspaces.", cure=cure)


def label(url: URL) -> str:
    """How the database is called in errors: nothing of the URL that may be secret."""
    if url.drivername.startswith("sqlite"):
        return f"SQLite file {url.database}"
    return f"PostgreSQL database '{url.database or ''}' at {url.host or 'localhost'}:{url.port or 5432}"


def inode(url: URL) -> tuple[int, int] | None:
    """What tells a replaced SQLite file from the one that was opened."""
    if not url.drivername.startswith("sqlite"):
        return None
    try:
        status = os.stat(str(url.database))
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_engine(url: URL) -> Engine:
    """An engine whose connections wait for locks instead of failing."""
    if url.drivername.startswith("sqlite"):
        return _sqlite_engine(url)
    return _postgres_engine(url)


def _sqlite_engine(url: URL) -> Engine:
    from sqlalchemy import create_engine, event

    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(
            f"The folder of the registry {url.database} cannot be made: {error.strerror}.",
            cure="Set BATCHMILL_HOME to a folder that can be written.",
        ) from None
    engine = create_engine(url, connect_args={"timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours, below
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that begins by reading and writes later cannot wait: SQLite answers "database is locked" at once.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _postgres_engine(url: URL) -> Engine:
    from sqlalchemy import create_engine, event

    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise RegistryError(
            f"{VARIABLE} names a PostgreSQL database, but the driver psycopg is not installed.",
            cure="Install it: pip install 'batchmill[postgres]'",
        ) from None
    # A name may have several addresses, and each is tried for so long. A server that vanished is noticed by unanswered packets.
    bounds: dict[str, Any] = {"connect_timeout": CONNECT_PATIENCE, "tcp_user_timeout": PATIENCE * 1000, "application_name": "batchmill"}
    arguments = {key: value for key, value in bounds.items() if key not in url.query}
    engine = create_engine(url, connect_args=arguments, pool_size=2, max_overflow=20, pool_pre_ping=True, pool_recycle=600)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{PATIENCE}s'")
            cursor.execute("SET idle_in_transaction_session_timeout = '60s'")  # a stopped process must not hold the others up for ever
        connection.commit()

    return engine
