from __future__ import annotations

import pytest

from batchmill.cli.pace import WINDOW, Pace
from batchmill.records import Counts, ItemCounts, MiniBatchCounts


def counts(done: int, total: int = 100, failed: int = 0) -> Counts:
    return Counts(
        ItemCounts(10 * total, 10 * (done - failed), 10 * failed, 10 * (total - done)),
        MiniBatchCounts(total, done - failed, failed, total - done, 0),
    )


def test_nothing_is_known_before_something_ended() -> None:
    pace = Pace()
    pace.see(counts(0), 0)
    pace.see(counts(0), 50)
    assert pace.items_per_second() is None
    assert pace.seconds_left(counts(0)) is None


def test_the_clock_starts_when_work_starts() -> None:
    pace = Pace()
    pace.see(counts(0), 0)
    pace.see(counts(0), 100)  # the workers load their model
    pace.see(counts(10, failed=3), 105)
    assert pace.items_per_second() == pytest.approx(20)
    assert pace.seconds_left(counts(10)) == pytest.approx(45)


def test_what_an_earlier_incarnation_did_does_not_count() -> None:
    pace = Pace()
    pace.see(counts(50), 0)
    pace.see(counts(60), 10)
    assert pace.items_per_second() == pytest.approx(10)


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    for second in range(101):
        pace.see(counts(second, 1000), second)
    for second in range(101, 101 + 2 * int(WINDOW)):
        pace.see(counts(100 + 5 * (second - 100), 1000), second)
    assert pace.items_per_second() == pytest.approx(50)


def test_many_looks_a_second_cost_no_memory() -> None:
    pace = Pace()
    for look in range(10_000):
        pace.see(counts(look, 100_000), look / 1000)
    assert len(pace._sights) < 60
    assert pace.items_per_second() == pytest.approx(10_000, rel=0.01)
