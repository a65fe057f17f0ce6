"""What a runner writes, while its database comes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from batchmill.errors import RegistryError
from batchmill.pipeline import runner_record
from batchmill.pipeline.runner_record import RunnerLog, RunnerRecord


class _Away:
    """A registry that is out of reach so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.changed: dict[str, Any] = {}

    def change_run(self, id: str, **changes: Any) -> None:
        if self.times:
            self.times -= 1
            raise RegistryError("The registry is away.", cure="Wait.")
        self.changed[id] = changes


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_record, "PAUSE", 0.0)
    registry, log = _Away(3), tmp_path / "runner.txt"
    RunnerRecord(cast(Any, registry), RunnerLog(log)).change("r", status="Completed")
    assert registry.changed == {"r": {"status": "Completed"}}
    assert [line.split(" ", 1)[1] for line in log.read_text().splitlines()] == ["The registry is away. Wait."]  # told once


def test_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_record, "PAUSE", 0.0)
    monkeypatch.setattr(runner_record, "OUTAGE", 0.0)
    with pytest.raises(RegistryError, match="away"):
        RunnerRecord(cast(Any, _Away(10**9)), RunnerLog(tmp_path / "runner.txt")).change("r")
