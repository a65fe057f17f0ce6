"""The rules of an elastic pool, at moments of a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workspace.scaling import PoolLease, PoolNode, PoolState, Scale, settle

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EMPTY = PoolState((), ())


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def lease(name: str, wanted: int, *, alive: bool = True, seen: float = 0) -> PoolLease:
    return PoolLease(name, wanted, alive, at(seen))


def holders(state: PoolState) -> dict[int, str | None]:
    return {node.number: node.lease for node in state.nodes}


def test_a_pool_without_runs_has_its_minimum() -> None:
    assert settle(EMPTY, Scale(0, 4, 60), NOON) == EMPTY
    assert holders(settle(EMPTY, Scale(2, 4, 60), NOON)) == {1: None, 2: None}


def test_it_grows_to_what_is_needed_and_no_further_than_the_maximum() -> None:
    state = settle(PoolState((), (lease("a", 3),)), Scale(0, 4, 60), NOON)
    assert holders(state) == {1: "a", 2: "a", 3: "a"}
    state = settle(PoolState(state.nodes, (lease("a", 3), lease("b", 2))), Scale(0, 4, 60), NOON)
    assert holders(state) == {1: "a", 2: "a", 3: "a", 4: "b"}


def test_a_run_gets_the_rest_when_nodes_become_free() -> None:
    nodes = (PoolNode(1, "a", NOON), PoolNode(2, "a", NOON), PoolNode(3, "b", NOON))
    freed = PoolState(tuple(PoolNode(n.number, None, at(5)) if n.lease == "a" else n for n in nodes), (lease("b", 2), lease("c", 4)))
    assert holders(settle(freed, Scale(0, 3, 60), at(5))) == {1: "b", 2: "c", 3: "b"}


def test_first_come_first_served() -> None:
    waiting = (lease("a", 2), lease("b", 1), lease("c", 1))
    state = settle(PoolState((), waiting), Scale(0, 2, 60), NOON)
    assert holders(state) == {1: "a", 2: "a"}
    after = PoolState(tuple(PoolNode(n.number, None, NOON) for n in state.nodes), waiting[1:])
    assert holders(settle(after, Scale(0, 2, 60), NOON)) == {1: "b", 2: "c"}


def test_idle_nodes_above_the_minimum_leave_after_their_time() -> None:
    idle = PoolState(tuple(PoolNode(n, None, at(n)) for n in (1, 2, 3)), ())
    scale = Scale(1, 4, 60)
    assert list(holders(settle(idle, scale, at(60.5)))) == [1, 2, 3]
    assert list(holders(settle(idle, scale, at(61)))) == [2, 3], "the longest idle first"
    assert list(holders(settle(idle, scale, at(1000)))) == [3], "never below the minimum"
    assert list(holders(settle(idle, Scale(0, 4, 0), at(3)))) == []


def test_nodes_that_work_do_not_leave() -> None:
    busy = PoolState((PoolNode(1, "a", NOON), PoolNode(2, "a", NOON), PoolNode(3, None, NOON)), (lease("a", 2),))
    assert list(holders(settle(busy, Scale(0, 1, 1000), at(1)))) == [1, 2], "an idle one above a lowered maximum leaves at once"


def test_nodes_of_the_dead_are_idle_since_they_were_last_heard_of() -> None:
    state = PoolState((PoolNode(1, "a", NOON), PoolNode(2, "a", NOON)), (lease("a", 2, alive=False, seen=10),))
    soon = settle(state, Scale(0, 4, 60), at(20))
    assert soon == PoolState((PoolNode(1, None, at(10)), PoolNode(2, None, at(10))), ())
    assert settle(state, Scale(0, 4, 60), at(70)) == EMPTY
    assert holders(settle(PoolState(state.nodes, (*state.leases, lease("b", 1))), Scale(0, 4, 60), at(20))) == {1: "b", 2: None}


def test_nodes_of_a_lease_that_nobody_knows_are_idle() -> None:
    assert holders(settle(PoolState((PoolNode(1, "gone", NOON),), ()), Scale(0, 4, 60), NOON)) == {1: None}


@pytest.mark.parametrize("minimum", [0, 2])
def test_numbers_are_used_again(minimum: int) -> None:
    state = PoolState((PoolNode(2, "a", NOON),), (lease("a", 3),))
    assert holders(settle(state, Scale(minimum, 4, 60), NOON)) == {1: "a", 2: "a", 3: "a"}


leases = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(-100, 0)), max_size=5).map(
    lambda found: tuple(lease(f"l{n}", wanted, alive=alive, seen=seen) for n, (wanted, alive, seen) in enumerate(found))
)
nodes = st.dictionaries(
    st.integers(1, 8), st.tuples(st.sampled_from([None, "l0", "l1", "l2", "other"]), st.integers(-100, 0)), max_size=8
).map(lambda found: tuple(PoolNode(number, name, at(since)) for number, (name, since) in sorted(found.items())))
scales = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 100)).map(lambda t: Scale(t[0], t[0] + t[1], t[2]))


@given(nodes, leases, scales)
def test_what_always_holds(before: tuple[PoolNode, ...], claims: tuple[PoolLease, ...], scale: Scale) -> None:
    after = settle(PoolState(before, claims), scale, NOON)
    assert after.leases == tuple(one for one in claims if one.alive)
    assert settle(after, scale, NOON) == after, "nothing is left to be done"
    assert [node.number for node in after.nodes] == sorted({node.number for node in after.nodes})
    known = {one.id for one in after.leases}
    kept = {node.number: node.lease for node in before if node.lease in known}
    assert kept.items() <= holders(after).items(), "whoever holds a node keeps it"
    assert scale.minimum <= len(after.nodes) <= max(scale.maximum, len(kept))
    for first, one in enumerate(after.leases):
        held = len(after.held_by(one.id))
        before_held = sum(name == one.id for name in kept.values())
        assert held <= max(one.wanted, before_held)
        if held < one.wanted:
            assert not after.idle, "nobody waits beside an idle node"
            assert len(after.nodes) >= scale.maximum
            later = {other.id for other in after.leases[first + 1 :]}
            assert not [node for node in after.nodes if node.lease in later and node.number not in kept], "nobody is overtaken"
