"""What every level of tests shares: a home of their own, and a folder in which the real command runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from tests.postgres import PostgresServer, postgres_server
from tests.stores import StoreMissing

hypothesis.settings.register_profile(
    "suite",
    deadline=None,  # a busy machine takes its time
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

BATCHMILL = Path(sys.executable).with_name("batchmill")


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the runs of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHMILL_HOME", str(tmp_path_factory.mktemp("batchmill-home")))
        for name in ("BATCHMILL_WORKSPACE", "BATCHMILL_DATABASE_URL", "BATCHMILL_SECRET_KEY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, started when a test first asks for it."""
    try:
        with postgres_server() as server:
            yield server
    except StoreMissing as missing:
        pytest.skip(f"NOT TESTED against PostgreSQL: {missing}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A home of its own with a new registry; a test that asks for it runs on SQLite and on PostgreSQL. Its value is the URL."""
    from batchmill.workspace.database import close_databases

    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    url = f"sqlite:///{tmp_path / 'home' / 'workspace.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh()
        monkeypatch.setenv("BATCHMILL_DATABASE_URL", url)
    yield url
    close_databases()


@dataclass(frozen=True)
class Project:
    """A folder with files in it, and the `batchmill` command as a user would call it there."""

    folder: Path
    home: Path

    def write(self, files: Mapping[str, str | bytes]) -> Project:
        """Write ``{relative path: content}``; texts as UTF-8, folders made as needed."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables the command is called with: a home of its own, and the command on PATH."""
        path = os.pathsep.join([str(BATCHMILL.parent), os.environ.get("PATH", os.defpath)])
        return {**os.environ, "PATH": path, "BATCHMILL_HOME": str(self.home), **(extra or {})}

    def batchmill(
        self, *arguments: str | Path, timeout: float = 120, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``batchmill ARGUMENTS`` to its end; the caller looks at returncode, stdout and stderr."""
        command = [str(BATCHMILL), *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment(env), capture_output=True, text=True, timeout=timeout, check=False
        )

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project folder with a batchmill home beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, tmp_path / "home")
