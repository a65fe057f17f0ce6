"""The scheduler's rules, one by one: thresholds (specification C6), bisection, suspects, memory, fencing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.parallel_run.events import Returned
from batchmill.parallel_run.instructions import Stop
from batchmill.parallel_run.policy import Policy
from tests.unit.parallel_run.scheduling import World, done, failed, fates

TOLERANT = Policy(run_max_try=1, error_threshold=-1)


@contextmanager
def world(items: list[int], policy: Policy = TOLERANT) -> Iterator[World]:
    made = World(items, policy)
    try:
        yield made
    finally:
        made.close()


def every_item(world: World, *mini_batches: int) -> frozenset[tuple[int, int]]:
    return frozenset((k, item) for k in mini_batches for item in range(world.items[k]))


# --- leases ---------------------------------------------------------------------------------------------------------------------------


def test_leases_are_consecutive_and_in_order() -> None:
    with world([1] * 10) as w:
        w.hungry("node0", 4)
        w.hungry("node1", 3)
        assert [(held.node, held.first, held.count) for held in w.nodes.held] == [("node0", 0, 4), ("node1", 4, 3)]


def test_near_the_end_no_node_takes_everything() -> None:
    with world([1] * 10) as w:
        w.hungry("node0", 1_000)
        assert [(held.first, held.count) for held in w.nodes.held] == [(0, 5)]


def test_a_node_that_asked_in_vain_is_served_when_something_comes_back() -> None:
    with world([1]) as w:
        w.hungry("node0")
        w.hungry("node1")
        w.give_back(w.nodes.held[0])
        assert [held.node for held in w.nodes.held] == ["node1"]


def test_what_a_lost_node_held_runs_elsewhere_and_its_late_words_are_refused() -> None:
    with world([1] * 4) as w:
        w.hungry("node0", 4)
        (late,) = w.lose("node0")
        w.hungry("node1", 4)
        assert w.scheduler.done(done(late, 0, 2, [1, 1])) == []
        assert w.scheduler.try_failed(failed(late, 0, 1)) == []
        assert w.scheduler.returned(Returned("node0", late.token, 0, 2)) == []
        w.work_off()
        assert w.scheduler.succeeded == 4


def test_a_retried_mini_batch_belongs_to_its_newest_lease_alone() -> None:
    with world([1] * 4, Policy(run_max_try=3, error_threshold=-1)) as w:
        w.hungry("node0", 4)
        old = w.nodes.held[0]
        w.fail(old, 0)
        w.hungry("node1", 1)
        newest = next(held for held in w.nodes.held if held.first == 0)
        assert newest.node == "node1"
        assert w.scheduler.done(done(old, 0, 1, [1])) == []
        w.lose("node0")
        w.succeed(newest)
        w.work_off()
        assert w.scheduler.succeeded == 4


# --- tries ----------------------------------------------------------------------------------------------------------------------------


def test_run_max_try_counts_all_tries() -> None:
    with world([1], Policy(run_max_try=3, error_threshold=-1)) as w:
        w.work_off(every_item(w, 0))
        assert [one["attempt"] for one in w.ledger.tries()] == [1, 2, 3]
        assert w.failed_items() == {(0, 0)}
        assert w.scheduler.retried == 1


def test_a_try_for_memory_makes_the_next_run_alone() -> None:
    with world([2, 1], Policy(run_max_try=2, error_threshold=-1)) as w:
        w.hungry("node0", 1)
        assert w.scheduler.grants() == []
        w.fail(w.nodes.held[0], memory=True)
        granted = w.scheduler.hungry("node0", 1)
        assert [task.alone for grant in granted for task in grant.tasks] == [True]  # type: ignore[union-attr]


# --- thresholds -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "fails"), [(4, True), (5, False), (-1, False), (0, True)])
def test_error_threshold_counts_items(threshold: int, fails: bool) -> None:
    """K41"""
    with world([5] * 4, Policy(run_max_try=1, error_threshold=threshold)) as w:
        w.work_off(every_item(w, 1))
        assert (w.stopped is not None) is fails
        if fails:
            assert w.stopped == f"The number of failed items is {threshold + 1}, which exceeds error threshold {threshold}."
        else:
            assert w.scheduler.items_ok == 15


def test_error_threshold_without_isolation() -> None:
    with world([5] * 4, Policy(run_max_try=1, isolate_failures=False, error_threshold=4)) as w:
        w.work_off(frozenset({(1, 2)}))
        assert w.stopped == "The number of failed items is 5, which exceeds error threshold 4."


@pytest.mark.parametrize(("allowed", "bad", "fails"), [(1, (0, 1), True), (1, (0,), False), (-1, (0, 1, 2), False), (0, (2,), True)])
def test_allowed_failed_count_counts_mini_batches(allowed: int, bad: tuple[int, ...], fails: bool) -> None:
    """K44"""
    with world([2] * 4, Policy(run_max_try=1, error_threshold=-1, allowed_failed_count=allowed)) as w:
        w.work_off(every_item(w, *bad))
        assert (w.stopped is not None) is fails


def test_a_mini_batch_that_works_after_all_is_no_failure() -> None:
    """K44"""
    with world([2] * 4, Policy(run_max_try=2, error_threshold=0, allowed_failed_count=0)) as w:
        w.hungry()
        w.fail(w.nodes.held[0])
        w.work_off()
        assert w.stopped is None
        assert w.scheduler.retried == 1


@pytest.mark.parametrize(("bad", "fails"), [((0, 1), False), ((0, 1, 2), True)])
def test_allowed_failed_percent(bad: tuple[int, ...], fails: bool) -> None:
    """K45"""
    with world([2] * 4, Policy(run_max_try=1, error_threshold=-1, allowed_failed_percent=50)) as w:
        w.work_off(every_item(w, *bad))
        assert (w.stopped is not None) is fails


def test_missing_rows_count_as_failed_items_without_a_try() -> None:
    with world([5, 5], Policy(error_threshold=1)) as w:
        w.hungry()
        w.succeed(w.nodes.held[0], ok=3)
        assert w.stopped == "The number of failed items is 2, which exceeds error threshold 1."
        assert list(w.ledger.tries()) == []
        assert w.scheduler.failed == 1


def test_a_restored_run_that_is_over_its_threshold_stops_at_once() -> None:
    with world([2] * 4, Policy(run_max_try=1, error_threshold=1)) as w:
        w.work_off(every_item(w, 0))
        again = w.restored()
        assert again.check_thresholds() == w.stopped
        assert again.hungry("node0", 4) == []


def test_nothing_is_given_out_after_a_stop() -> None:
    with world([1] * 4, Policy(run_max_try=1, error_threshold=0)) as w:
        w.hungry("node0", 1)
        held = w.nodes.held[0]
        assert any(isinstance(one, Stop) for one in w.scheduler.try_failed(failed(held, 0, 1)))
        assert w.scheduler.hungry("node1", 4) == []


# --- bisection ------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_bisection_finds_exactly_the_bad_items(data: st.DataObject) -> None:
    items = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    bad = data.draw(st.sets(st.sampled_from([(k, item) for k, count in enumerate(items) for item in range(count)]), max_size=6))
    with world(items, Policy(run_max_try=data.draw(st.integers(1, 3)), error_threshold=-1)) as w:
        w.work_off(frozenset(bad))
        assert w.failed_items() == bad
        assert w.scheduler.items_ok == sum(items) - len(bad)
        assert w.scheduler.failed == len({k for k, _ in bad})
        w.job._prove()


def test_parts_get_one_try_and_single_items_all() -> None:
    with world([4], Policy(run_max_try=2, error_threshold=-1)) as w:
        w.work_off(frozenset({(0, 3)}))
        tries = [(one["piece_first"], one["piece_count"], one["attempt"]) for one in w.ledger.tries()]
        assert tries == [(None, None, 1), (None, None, 2), (2, 2, 1), (3, 1, 1), (3, 1, 2)]


@pytest.mark.parametrize("policy", [Policy(1, isolate_failures=False, error_threshold=-1), Policy(1, splittable=False, error_threshold=-1)])
def test_partitions_and_runs_without_isolation_are_never_bisected(policy: Policy) -> None:
    with world([4], policy) as w:
        w.work_off(frozenset({(0, 3)}))
        assert len(w.failed_items()) == 4


def test_what_cannot_be_read_is_not_bisected() -> None:
    with world([4]) as w:
        w.hungry()
        w.fail(w.nodes.held[0], knows_items=False, status="LOAD_EXCEPTION")
        assert w.ledger.failed() == [(0, 4)]


def test_bisection_gives_up_when_most_mini_batches_are_bad_throughout() -> None:
    with world([4] * 30) as w:
        w.work_off(every_item(w, *range(30)))
        bisected = list(w.ledger.splits())
        assert 11 <= len(bisected) <= 13, "eleven of the last twenty; those already begun go on"
        assert len(w.ledger.failed()) == 30 - len(bisected)
        assert w.scheduler.items_failed == 120


def test_bisection_goes_on_when_it_finds_good_items() -> None:
    with world([4] * 30) as w:
        w.work_off(frozenset((k, 0) for k in range(30)))
        assert len(list(w.ledger.splits())) == 30
        assert w.scheduler.items_failed == 30


# --- suspects -------------------------------------------------------------------------------------------------------------------------


def test_suspects_run_alone_one_at_a_time_before_anything_else() -> None:
    with world([1] * 6) as w:
        w.scheduler.suspect([2, 4])
        w.hungry("node0", 4)
        w.hungry("node1", 4)
        assert [held.first for held in w.nodes.held] == [2]
        w.succeed(w.nodes.held[0])
        assert [held.first for held in w.nodes.held] == [4]
        w.fail(w.nodes.held[0])
        w.work_off()
        assert w.scheduler.succeeded == 5


def test_a_suspect_that_was_returned_stays_one() -> None:
    with world([1] * 3, Policy(run_max_try=2, error_threshold=-1)) as w:
        w.scheduler.suspect([1])
        w.hungry("node0")
        w.give_back(w.nodes.held[0])
        w.hungry("node0")
        assert [held.first for held in w.nodes.held] == [1]
        w.fail(w.nodes.held[0])
        w.hungry("node0")
        assert [held.first for held in w.nodes.held] == [1]


# --- restoring ------------------------------------------------------------------------------------------------------------------------


def test_a_restore_keeps_tries_and_the_place_in_a_bisection() -> None:
    with world([8, 1, 1], Policy(run_max_try=2, error_threshold=-1)) as w:
        w.hungry("node0", 3)
        w.fail(w.nodes.held[0], 1)
        w.fail(w.nodes.held[0], 0)
        before = fates(w.scheduler)
        assert fates(w.restored()) == before
        bad = frozenset({(0, 5)})
        for _ in range(60):
            if w.scheduler.finished:
                break
            if not w.nodes.held:
                w.hungry()
                continue
            held = w.nodes.held[0]
            first, count = held.piece or (0, w.items[held.first])
            if any((held.first, item) in bad for item in range(first, first + count)):
                w.fail(held)
            else:
                w.succeed(held)
            assert fates(w.restored()) == fates(w.scheduler)
        assert w.failed_items() == bad
        assert w.restored().counts(10) == w.scheduler.counts(10)
