"""Indexes of GPUs are lent out lowest first and come back (specification C8)."""

from __future__ import annotations

import pytest

from batchmill.nodes.gpus import COUNT_VARIABLE, GpuIndexes, gpu_count


def test_the_first_processes_get_the_indexes() -> None:
    indexes = GpuIndexes(2)
    assert [indexes.take() for _ in range(4)] == [0, 1, None, None]
    indexes.give_back(None)
    indexes.give_back(0)
    assert [indexes.take(), indexes.take()] == [0, None]


def test_the_variable_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COUNT_VARIABLE, "3")
    assert gpu_count() == 3
    assert gpu_count({COUNT_VARIABLE: "2"}) == 2
