"""Opening the database of the workspaces: made and upgraded by one of many, and every way in which it can be out of order."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from batchmill.errors import RegistryError
from batchmill.workspace import database as database_module
from batchmill.workspace import migrations
from batchmill.workspace.asset import Asset
from batchmill.workspace.asset_rows import AssetRows
from batchmill.workspace.database import close_databases, make_engine, open_database, parsed
from batchmill.workspace.schema import metadata
from batchmill.workspace.workspace import Workspace
from tests import stores
from tests.postgres import PostgresServer

BOUND = 20.0
OPEN = "from batchmill.workspace.current import find_workspace; print(find_workspace().id)"
DIES_WHILE_UPGRADING = """
import sys
from batchmill.workspace import migrations
original = migrations.upgrade
def upgrade(connection):
    original(connection)
    print("written", flush=True)
    sys.stdin.readline()
migrations.upgrade = upgrade
from batchmill.workspace.current import find_workspace
find_workspace()
"""


def _refused(url: str | None = None) -> str:
    """The error of opening, as one line, within the bound."""
    began = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        open_database(url)
    assert time.monotonic() - began < BOUND
    assert "\n" not in caught.value.line
    assert caught.value.exit_code == 2
    return caught.value.line


def test_ten_processes_make_it_at_once(database: str) -> None:
    command = [sys.executable, "-W", "error", "-c", OPEN]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(10)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [err for _, err in answers] == [""] * 10
    assert len({out for out, _ in answers}) == 1


def test_each_step_leads_to_the_declared_schema(database: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(migrations.FOLDER))
    assert [step.revision for step in script.walk_revisions()] == list(reversed(migrations.revisions()))
    url = parsed(database)
    Path(str(url.database)).parent.mkdir(exist_ok=True)
    engine = make_engine(url)
    try:
        for revision in migrations.revisions():
            with engine.connect() as connection, connection.begin():
                migrations.upgrade(connection, revision)
        with engine.connect() as connection, connection.begin():
            differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
            indexes = {index["name"] for table in metadata.tables for index in sa.inspect(connection).get_indexes(table)}
    finally:
        engine.dispose()
    assert differences == []
    assert indexes == {index.name for table in metadata.tables.values() for index in table.indexes}


def test_the_steps_are_in_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="NOT TESTED: hatchling, which builds the wheel, is not installed")
    root = Path(__file__).resolve().parents[3]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("batchmill-*.whl")
    steps = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("batchmill/workspace/migrations/")]
    sources = [path for path in migrations.FOLDER.rglob("*.py") if "__pycache__" not in path.parts]
    assert sorted(steps) == sorted(str(path.relative_to(root / "src")) for path in sources)


def test_a_kill_while_upgrading_leaves_nothing_half(database: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", DIES_WHILE_UPGRADING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert Workspace.create("default", show_output=False).name == "default"


def test_a_current_database_is_opened_without_alembic(database: str) -> None:
    Workspace.create("default", show_output=False)
    code = OPEN + "; import sys; print([name for name in sys.modules if name.startswith('alembic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]"


def test_a_newer_database_is_refused(database: str) -> None:
    with open_database().write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    close_databases()
    line = _refused()
    assert "written by a newer Batchmill (its schema is number 9999" in line
    assert "Upgrade this one" in line


@pytest.mark.parametrize("content", [b"this is a text and no database, as long as it may be" * 30, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "workspace.sqlite"
    path.write_bytes(content)
    line = _refused(f"sqlite:///{path}")
    assert f"(SQLite file {path}) is damaged" in line
    assert "it was not changed" in line
    assert path.read_bytes() == content


def test_damage_found_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    registry = Workspace.create("w", show_output=False).registry
    for n in range(50):
        registry.add("model", f"m{n}", {"text": "x" * 2000})
    close_databases()
    path = tmp_path / "workspace.sqlite"
    data = bytearray(path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(RegistryError, match=r"is damaged: .*malformed"):
        registry.list("model")
    close_databases()


@pytest.mark.parametrize("home", ["file/home", "file"])
def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / home))
    assert "Set BATCHMILL_HOME to a folder that can be written." in _refused()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "workspace.sqlite").mkdir()
    assert "cannot be opened" in _refused(f"sqlite:///{tmp_path / 'workspace.sqlite'}")


def test_a_lock_that_is_held_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    monkeypatch.setattr(database_module, "PATIENCE", 0.2)
    registry = Workspace.create("w", show_output=False).registry
    with sqlite3.connect(tmp_path / "workspace.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert registry.names("datastore") == ["workspaceblobstore", "workspacefilestore"]  # readers do not wait
        with pytest.raises(RegistryError, match="locked by another process for too long"):
            registry.add("model", "m", {})
        other.execute("ROLLBACK")
    other.close()
    assert registry.add("model", "m", {}).version == 1
    close_databases()


def test_a_file_that_was_removed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    Workspace.create("w", show_output=False)
    for path in tmp_path.glob("workspace.sqlite*"):
        path.unlink()
    assert Workspace.list() == {}
    close_databases()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("secret-nonsense", "BATCHMILL_DATABASE_URL is not the URL of a database."),
        ("mysql://user:hunter22@host/db", "of kind 'mysql' that cannot hold workspaces."),
        ("postgresql+asyncpg://user:hunter22@host/db", "of kind 'postgresql+asyncpg'"),
        ("sqlite://", "of kind 'sqlite'"),
        ("postgresql://user:hunter22@host:port/db", "BATCHMILL_DATABASE_URL is not the URL of a database."),
    ],
)
def test_urls_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", url)
    line = _refused()
    assert message in line
    assert "Set BATCHMILL_DATABASE_URL to postgresql://" in line
    assert "hunter22" not in line
    assert "secret-nonsense" not in line


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'batchmill[postgres]'" in _refused("postgresql://user:hunter22@127.0.0.1/db")


def test_nobody_listens() -> None:
    with stores.closed_port() as port:
        line = _refused(f"postgresql://user:hunter22@127.0.0.1:{port}/db")
    assert re.search(r"PostgreSQL database 'db' at 127\.0\.0\.1:\d+\) cannot be reached: .*refused", line)
    assert "hunter22" not in line


def test_a_server_that_never_answers() -> None:
    with stores.black_hole() as server:
        line = _refused(f"postgresql://user:hunter22@127.0.0.1:{server.port}/db")
    assert "cannot be reached" in line
    assert "hunter22" not in line


def test_an_unknown_host() -> None:
    assert "cannot be reached" in _refused("postgresql://user:hunter22@no-such-host.invalid/db")


def test_a_wrong_password_is_not_told(postgres: PostgresServer) -> None:
    line = _refused(postgres.url("postgres", "wrong-password-1"))
    assert "refuses the user name or password" in line
    assert "wrong-password-1" not in line


def test_a_missing_database(postgres: PostgresServer) -> None:
    line = _refused(postgres.url("nowhere"))
    assert 'database "nowhere" does not exist' in line
    assert postgres.password not in line


def test_a_user_without_rights(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    name = url.rpartition("/")[2]
    postgres.run("CREATE ROLE reader LOGIN PASSWORD 'reader-password'")
    postgres.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
    line = _refused(f"postgresql://reader:reader-password@127.0.0.1:{postgres.port}/{name}")
    assert "does not let this user do that" in line
    assert "reader-password" not in line


def test_a_lost_connection_is_made_again(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", postgres.fresh())
    registry = Workspace.create("w", show_output=False).registry
    original = AssetRows.newest

    def newest(self: AssetRows, connection: sa.Connection, kind: str, name: str) -> Asset | None:
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'batchmill'")
        return original(self, connection, kind, name)

    with monkeypatch.context() as patch:
        patch.setattr(AssetRows, "newest", newest)
        with pytest.raises(RegistryError, match="cannot be reached") as caught:
            registry.add("model", "m", {})
    assert postgres.password not in str(caught.value)
    assert registry.add("model", "m", {}).version == 1
    assert postgres.password not in repr(registry.database) + repr(registry.database.engine)
    close_databases()
