"""What a straggler holds runs a second time: when, where, and whose outcome counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from batchmill.parallel_run.durations import FLOOR, Durations
from batchmill.parallel_run.events import Done, Returned
from batchmill.parallel_run.instructions import Accept
from batchmill.parallel_run.leases import Lease
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.second_runs import deal
from batchmill.worker.delivery import RECORD
from tests.unit.parallel_run.scheduling import Held, World, done, failed

LATE = FLOOR + 1


@contextmanager
def straggling(
    items: Sequence[int] = (1,) * 8, *, policy: Policy | None = None, rest: int = 3, late: bool = True, nodes: int = 2
) -> Iterator[tuple[World, Held]]:
    """node0 holds the last ``rest`` mini-batches, all others are done, the other nodes ask in vain; the lease of node0."""
    world = World(items, policy or Policy(error_threshold=-1, speculative=True), nodes)
    try:
        early = len(items) - rest
        while early:
            world.hungry("node1", early)
            early -= world.nodes.held[0].count
            world.succeed(world.nodes.held[0], count=world.nodes.held[0].count)
        for node in world.nodes.names[1:]:
            world.scheduler.node_draining(node)
        world.hungry("node0", rest)
        (held,) = world.nodes.held
        assert held.count == rest
        for node in world.nodes.names[1:]:
            world.join(node)
            world.hungry(node, 2)
        world.wait(LATE if late else 1.0)
        yield world, held
    finally:
        world.close()


def second(world: World) -> list[Held]:
    return [held for held in world.nodes.held if held.node != "node0"]


def test_what_is_late_runs_on_a_node_that_has_nothing_else_to_do() -> None:
    with straggling() as (world, first):
        assert [(held.node, held.first, held.count) for held in second(world)] == [("node1", 5, 1), ("node1", 6, 1)], "as many as it wants"
        world.hungry("node1", 9)
        world.wait(1.0)
        assert [held.first for held in second(world)] == [5, 6, 7], "each one once"
        world.hungry("node0", 9)
        world.wait(LATE)
        assert len(world.nodes.held) == 4, "nothing runs three times"
        assert first in world.nodes.held


def test_nothing_runs_twice_before_it_is_late() -> None:
    with straggling(late=False) as (world, _):
        assert second(world) == []


@pytest.mark.parametrize("policy", [Policy(error_threshold=-1), Policy(error_threshold=-1, speculative=False)])
def test_nothing_runs_twice_unless_the_policy_says_so(policy: Policy) -> None:
    with straggling(policy=policy) as (world, _):
        assert second(world) == []


def test_nothing_runs_twice_while_anything_else_is_left() -> None:
    world = World([1] * 4, Policy(error_threshold=-1, speculative=True))
    world.hungry("node1", 1)
    world.succeed(world.nodes.held[0])
    world.hungry("node0", 1)
    world.scheduler.now = 0.0
    world.wait(LATE)
    assert [held.node for held in world.nodes.held] == ["node0"]
    world.close()


def test_the_first_outcome_counts_and_the_other_lease_is_taken_back() -> None:
    with straggling(rest=1) as (world, first):
        (other,) = second(world)
        world.succeed(other)
        assert world.scheduler.finished
        assert world.nodes.revoked == [first]
        assert world.scheduler.done(done(first, 7, 1, [1])) == [], "its late outcome is refused"
        assert world.ledger.sums() == (8, 8, 8)


def test_the_straggler_may_be_the_first() -> None:
    with straggling(rest=1) as (world, first):
        (other,) = second(world)
        world.succeed(first)
        assert world.nodes.revoked == [other]
        assert world.scheduler.done(done(other, 7, 1, [1])) == []
        assert world.ledger.sums() == (8, 8, 8)


def test_the_rest_of_a_beaten_lease_still_counts() -> None:
    """One outcome tells of all three, and another node was faster with the one in the middle."""
    with straggling() as (world, first):
        faster = next(held for held in second(world) if held.first == 6)
        world.succeed(faster)
        assert world.nodes.revoked == [], "the straggler still has others to do"
        packed = b"".join(RECORD.pack(10 * (k + 1), 1, 1, 1, 0, 0.0, 0.0, 0.0) for k in range(3))
        whole = Done("node0", "process000*2,1", first.token, 5, 3, None, "1-part", 100, 60, 3, 3, 3, 0, packed)
        told = [one.done for one in world.scheduler.done(whole) if isinstance(one, Accept)]
        assert [(one.first, one.count, one.offset, one.length, one.worker) for one in told] == [
            (5, 1, 100, 10, "process000"),
            (7, 1, 130, 30, "process001"),
        ]
        assert world.scheduler.finished


def test_a_beaten_lease_is_taken_back_when_its_others_are_done() -> None:
    with straggling() as (world, first):
        world.succeed(next(held for held in second(world) if held.first == 5))
        world.succeed(first, 6, 2)
        assert [(held.first, held.count) for held in world.nodes.revoked if held.node == "node0"] == [(5, 1)]
        assert world.scheduler.finished


def test_a_failure_is_not_charged_while_the_other_one_runs() -> None:
    with straggling(rest=1, policy=Policy(run_max_try=1, isolate_failures=False, error_threshold=-1, speculative=True)) as (world, first):
        (other,) = second(world)
        world.fail(other)
        assert list(world.ledger.tries()) == []
        assert not world.scheduler.finished
        world.fail(first)
        assert [one["node"] for one in world.ledger.tries()] == ["node0"]
        assert world.scheduler.failed == 1


def test_what_is_given_back_or_lost_stays_with_the_other_node() -> None:
    with straggling() as (world, first):
        world.give_back(first)
        assert [(held.first, held.count) for held in second(world)][:2] == [(5, 1), (6, 1)]
        world.hungry("node1", 5)
        assert [(held.first, held.count) for held in second(world)] == [(5, 1), (6, 1), (7, 1)]
        for held in second(world):
            world.succeed(held)
        assert world.scheduler.finished
    with straggling() as (world, first):
        world.lose("node0")
        world.hungry("node1", 5)
        assert [(held.first, held.count) for held in world.nodes.held] == [(5, 1), (6, 1), (7, 1)]
        assert world.scheduler.try_failed(failed(first, 5, 1)) == []


def test_the_rest_of_what_is_given_back_late_is_not_lost() -> None:
    """The middle one is done elsewhere when the straggler gives all three back."""
    with straggling() as (world, first):
        world.succeed(next(held for held in second(world) if held.first == 6))
        world.nodes.held.remove(first)
        world.tell(Returned("node0", first.token, 5, 3))
        world.work_off()
        assert world.scheduler.succeeded == 8


def test_a_second_run_that_lost_its_node_may_be_begun_again() -> None:
    with straggling(rest=1, nodes=3) as (world, _):
        (other,) = second(world)
        world.lose(other.node)
        world.wait(1.0)
        assert [held.node for held in second(world)] == ["node2"]


def lease(token: int, node: str) -> Lease:
    return Lease(token, node, 0, 9, None, False, 0.0, 9)


def test_second_runs_are_dealt_evenly_and_never_to_their_holder() -> None:
    slow, slower = lease(1, "node0"), lease(2, "node1")
    dealt = deal([(0, slow), (1, slow), (2, slower), (3, slower)], {"node0": 9, "node1": 9, "node2": 9})
    assert {node: [k for k, _ in ones] for node, ones in dealt.items()} == {"node1": [0], "node2": [1, 3], "node0": [2]}
    assert deal([(0, slow)], {"node0": 9}) == {}
    assert [len(ones) for ones in deal([(k, slow) for k in range(9)], {"node1": 1, "node2": 2}).values()] == [1, 2]


def outcome(*seconds: float) -> Done:
    packed = b"".join(RECORD.pack(0, 1, 1, 1, 0, 0.0, one, 0.0) for one in seconds)
    return Done("node0", "process000", 1, 0, len(seconds), None, "1-part", 0, 0, 1, 1, 1, 0, packed)


def test_late_is_three_times_the_median_and_never_less_than_the_floor() -> None:
    durations = Durations()
    assert durations.late is None, "nothing is known"
    durations.hear([outcome(0.5, 0.1)])
    assert durations.late == FLOOR
    durations.hear([outcome(1.0, 20.0), outcome(30.0)])
    assert durations.late == 60.0, "the last one of each: 0.1, 20 and 30"
