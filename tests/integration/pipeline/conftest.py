"""A workspace of its own for each test of pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.workspace.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace in a home of its own; the test works in an empty folder."""
    from batchmill.workspace.database import close_databases

    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield Workspace.create("team", show_output=False)
    close_databases()
