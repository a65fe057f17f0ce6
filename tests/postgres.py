"""A real PostgreSQL server on loopback for tests and benchmarks, and fresh databases in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stores import PORTS_TRIED, StoreMissing, free_port
from tests.used_secrets import MARK

START_BOUND = 120.0
USER = "tester"


@dataclass
class PostgresServer:
    """A running server; the password is one of the suite's secrets, so that a leak of it is found (`tests.secret_check`)."""

    port: int
    password: str
    process: subprocess.Popen[bytes]

    def __post_init__(self) -> None:
        self._numbers = itertools.count()

    def url(self, database: str, password: str | None = None) -> str:
        return f"postgresql://{USER}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement.encode())

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"fresh_{os.getpid()}_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)


def programs() -> Path:
    """The folder of initdb and postgres."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise StoreMissing("PostgreSQL (initdb, postgres) is not installed on this machine")


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A new server with data of its own; as root it runs as user postgres, because it refuses root."""
    folder = Path(tempfile.mkdtemp(prefix="batchmill-postgres-"))
    try:
        with _started(programs(), folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _started(programs: Path, folder: Path) -> Iterator[PostgresServer]:
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        try:
            shutil.chown(folder, "postgres", "postgres")
        except LookupError:
            raise StoreMissing("PostgreSQL refuses to run as root, and there is no user postgres") from None
    how: dict[str, Any] = {
        **as_user,
        "cwd": folder,
        "stdin": subprocess.DEVNULL,
        "env": {"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
    }
    password = f"{MARK}{secrets.token_hex(6)}"
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)
    data = str(folder / "data")
    make = ["initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "--no-sync", "-E", "UTF8"]
    made = subprocess.run([str(programs / make[0]), *make[1:]], capture_output=True, text=True, timeout=START_BOUND, check=False, **how)
    if made.returncode:
        raise StoreMissing(f"initdb failed: {made.stderr.strip()[-300:]}")
    for left in reversed(range(PORTS_TRIED)):  # a port that was free a moment ago may be somebody else's now
        port = free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off", "max_connections": 200}
        command = [str(programs / "postgres"), "-D", data, *(word for key, value in options.items() for word in ("-c", f"{key}={value}"))]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **how)
        try:
            server = PostgresServer(port, password, process)
            if _answers(server):
                yield server
                return
            if not left:
                raise StoreMissing(f"PostgreSQL did not start: {(folder / 'log').read_text(errors='replace')[-300:]}")
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(server: PostgresServer) -> bool:
    """Wait until the server answers; False when it ended before, or `START_BOUND` seconds went by."""
    import psycopg

    deadline = time.monotonic() + START_BOUND
    while server.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            server.run("SELECT 1")
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.05)
    return False
