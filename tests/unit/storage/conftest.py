"""A process in which nothing is connected, whatever ran in it before."""

from __future__ import annotations

import pytest

from batchmill.storage import connections


@pytest.fixture(autouse=True)
def _nothing_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TABLE", {})
    monkeypatch.setattr(connections, "_FINDERS", [])
