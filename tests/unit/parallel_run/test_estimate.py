from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.parallel_run.estimate import (
    OVERHEAD_SHARE,
    SYSTEM_SECONDS,
    Cost,
    Machine,
    Measured,
    Sample,
    Work,
    cost_of,
    estimate,
    nice,
    propose_size,
    propose_workers,
    spread,
)

WORK = Work(mini_batches=1000, items=10_000, workers=2, size=10, unit="files", timeout=60)
MACHINE = Machine(cores=4, memory=8 << 30)


def model(fixed: float, per_item: float, items: int = 10, part: int = 2, count: int = 4) -> list[Sample]:
    """Samples that follow the model exactly."""

    def one(n: int, *, part: bool) -> Sample:
        run = fixed + per_item * n
        return Sample(n, run, run, part=part)

    return [one(items, part=False)] * count + [one(part, part=True)] * count


def measured(samples: Sequence[Sample], **changes: object) -> Measured:
    return replace(Measured(samples, 2, 1.0, 1.0, 100 << 20, 1.0), **changes)  # type: ignore[arg-type]


@given(total=st.integers(1, 10**7), wanted=st.integers(1, 50))
def test_samples_are_spread(total: int, wanted: int) -> None:
    found = spread(total, wanted)
    assert len(set(found)) == len(found) == min(total, wanted)
    assert 0 <= found[0] <= found[-1] < total
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(fixed=st.floats(0, 1), per_item=st.floats(1e-5, 1))
def test_fixed_and_proportional_cost_are_told_apart(fixed: float, per_item: float) -> None:
    cost = cost_of(model(fixed, per_item))
    assert cost.fixed == pytest.approx(fixed + SYSTEM_SECONDS, abs=1e-6)
    assert cost.per_item == pytest.approx(per_item, abs=1e-6)


def test_reading_a_table_takes_time_per_item() -> None:
    samples = [Sample(10, 1.5, 1.0)]
    assert cost_of(samples, reads_items=True).per_item == pytest.approx(0.15)
    assert cost_of(samples).fixed == pytest.approx(0.5 + SYSTEM_SECONDS)


def test_wall_time() -> None:
    found = estimate(measured(model(0.0, 0.01)), WORK, MACHINE)
    assert found.wall == pytest.approx(1.0 + (0.1 + SYSTEM_SECONDS) * 1000 / 2)
    assert found.wall_low == found.wall == found.wall_high
    assert found.items_per_second == pytest.approx(10_000 / found.wall)


def test_the_first_mini_batch_of_a_process_is_start_up() -> None:
    samples = [Sample(10, 3.1, 3.1, first=True), *[Sample(10, 0.1, 0.1)] * 4]
    found = estimate(measured(samples), WORK, MACHINE)
    assert found.wall == pytest.approx(1.0 + 3.0 + (0.1 + SYSTEM_SECONDS) * 500)


def test_samples_that_differ_give_a_range() -> None:
    found = estimate(measured([Sample(10, seconds, seconds) for seconds in (0.1, 0.2, 0.3)]), WORK, MACHINE)
    assert found.wall_low < found.wall < found.wall_high


def test_rows_are_extrapolated_and_downloads_count() -> None:
    samples = [Sample(100, 0.1, 0.1)] * 4
    assert estimate(measured(samples), replace(WORK, items=None), MACHINE).items == 100_000
    slow = estimate(measured(samples, work_seconds=10.0), replace(WORK, remote=True), MACHINE)
    assert slow.mini_batch_seconds == pytest.approx(10 * 2 / 4)


def test_the_last_round_of_few_mini_batches() -> None:
    found = estimate(measured([Sample(10, 1.0, 1.0)] * 2), replace(WORK, mini_batches=3, items=30), MACHINE)
    assert found.wall == pytest.approx(1 + 2, rel=0.01)


def test_nothing_measured() -> None:
    with pytest.raises(ValueError, match="no mini-batch"):
        estimate(measured([Sample(1, 1, 1, part=True)]), WORK, MACHINE)


@given(size=st.floats(1, 1e9))
def test_nice_numbers(size: float) -> None:
    found = nice(size)
    assert size / 2.5 <= found <= size * 1.001
    assert str(found).rstrip("0") in ("1", "2", "5")


@given(fixed=st.floats(1e-4, 1), per_item=st.floats(1e-6, 0.01))
def test_a_larger_mini_batch_is_proposed_for_overhead(fixed: float, per_item: float) -> None:
    cost, work = Cost(fixed, per_item), replace(WORK, items=10**9, mini_batches=10**8)
    size = propose_size(cost, 10, 10**9, work).value
    assert size is not None
    if cost.share(10) > OVERHEAD_SHARE:
        assert size >= 10
        assert cost.share(size) <= OVERHEAD_SHARE * 1.01 or cost.fixed + cost.per_item * size * 2.6 > 10


def test_a_good_size_is_kept() -> None:
    found = propose_size(Cost(0.0002, 0.01), 10, 10_000, WORK)
    assert found.value == 10
    assert "100 ms" in found.reason


def test_long_mini_batches_are_made_shorter() -> None:
    found = propose_size(Cost(0.001, 10.0), 10, 10_000, WORK)
    assert found.value == 1
    assert "a mini-batch takes 100.0 s" in found.reason


@pytest.mark.parametrize("cost", [Cost(30.0, 0.0), Cost(6.0, 1.0), Cost(0.0, 0.0)])
def test_a_size_that_changes_nothing_is_kept(cost: Cost) -> None:
    assert propose_size(cost, 10, 10_000, WORK).value == 10


def test_every_worker_gets_its_part() -> None:
    found = propose_size(Cost(0.0002, 0.01), 100, 200, replace(WORK, mini_batches=2, items=200, size=100))
    assert found.value == 20
    assert "too few to keep 2 workers busy" in found.reason


def test_partitions_have_no_size() -> None:
    assert propose_size(Cost(1, 1), 10, 100, replace(WORK, size=None, unit=None)).value is None


@pytest.mark.parametrize(
    ("changes", "machine", "workers", "word"),
    [
        ({}, MACHINE, 4, "4 cores"),
        ({"cpu_share": None}, MACHINE, 4, "4 cores"),
        ({"cpu_share": 0.25}, MACHINE, 16, "waits 75%"),
        ({"cpu_share": 2.0}, MACHINE, 2, "threads of its own"),
        ({"cpu_share": 0.4, "workers": 10}, MACHINE, 4, "4 cores"),
        ({"memory_per_worker": 4 << 30}, MACHINE, 1, "each takes 4.0 GB, and 8.0 GB of memory are free"),
        ({"memory_per_worker": 16 << 30}, MACHINE, 1, "not even one"),
        ({}, replace(MACHINE, gpus=2), 2, "2 GPUs"),
        ({}, Machine(1, 8 << 30), 1, "1 core can"),
    ],
)
def test_workers(changes: dict[str, object], machine: Machine, workers: int, word: str) -> None:
    found = propose_workers(measured(model(0, 1), **changes), WORK, machine)
    assert found.value == workers
    assert word in found.reason


def test_no_more_workers_than_mini_batches() -> None:
    assert propose_workers(measured(model(0, 1)), replace(WORK, mini_batches=3), MACHINE).value == 3
