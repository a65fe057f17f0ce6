"""Indexes of GPUs are lent out lowest first and come back (specification C8); processes may share them, or take several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.nodes.gpus import COUNT_VARIABLE, GpuIndexes, gpu_count, gpu_ids, gpu_processes


def test_the_first_processes_get_the_indexes() -> None:
    indexes = GpuIndexes(["0", "1"])
    assert [indexes.take() for _ in range(4)] == ["0", "1", None, None]
    indexes.give_back(None)
    indexes.give_back("0")
    assert [indexes.take(), indexes.take()] == ["0", None]


def test_two_processes_share_an_index() -> None:
    indexes = GpuIndexes(["0", "1"], 0.5)
    assert [indexes.take() for _ in range(5)] == ["0", "1", "0", "1", ""]
    indexes.give_back("1")
    indexes.give_back("")
    assert [indexes.take(), indexes.take()] == ["1", ""]


def test_a_process_takes_several() -> None:
    indexes = GpuIndexes(["4", "5", "6", "7", "GPU-8a"], 2)
    assert [indexes.take() for _ in range(3)] == ["4,5", "6,7", ""]
    indexes.give_back("4,5")
    assert indexes.take() == "4,5"


def test_no_process_gets_any() -> None:
    assert GpuIndexes(["0"], 0).take() == ""
    assert GpuIndexes([], 0.5).take() == ""
    assert GpuIndexes([]).take() is None


@given(
    count=st.integers(0, 8),
    share=st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1.0, 2.0, 3.0]),
    ends=st.lists(st.integers(0, 99), max_size=40),
)
def test_no_gpu_is_ever_asked_for_more_than_it_has(count: int, share: float | None, ends: list[int]) -> None:
    indexes, most = GpuIndexes([str(k) for k in range(count)], share), gpu_processes(count, share)
    held = [devices for devices in (indexes.take() for _ in range(most + 3)) if devices]
    assert len(held) == most
    for end in ends:
        if held:
            indexes.give_back(held.pop(end % len(held)))
            again = indexes.take()
            assert again
            held.append(again)
        used = [index for devices in held for index in devices.split(",")]
        assert all(used.count(index) * min(1.0, 1.0 if share is None else share) <= 1 + 1e-9 for index in used)
    assert not indexes.take()


def test_the_variable_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COUNT_VARIABLE, "3")
    assert gpu_count() == 3
    assert gpu_count({COUNT_VARIABLE: "2"}) == 2
    assert gpu_ids(None) == ["0", "1", "2"]
    assert gpu_ids(("5",)) == ("5",)
    assert gpu_ids(()) == ()
