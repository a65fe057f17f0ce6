"""What compute targets want of a cluster, as time passes and nobody looks at the database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workspace.kept_nodes import WHOLE, KeptNodes, Picture, Wanted, bundles_for, picture_of
from batchmill.workspace.scaling import PoolLease, PoolNode, PoolState, Scale, settle

NOON = 1_800_000_000.0
TWO_CORES = {"CPU": 2.0}


def picture(busy: int = 0, idle: int = 0, minimum: int = 0, seconds: float = 60.0, bundle: Any = TWO_CORES, silent: float = 0.0) -> Picture:
    nodes = [(number, "run", 5.0) for number in range(1, busy + 1)] + [(busy + number, None, 0.0) for number in range(1, idle + 1)]
    return Picture(
        name="cpu",
        scale=(minimum, 10, seconds),
        bundle=dict(bundle),
        nodes=nodes,
        leases=[("run", busy, silent)] if busy else [],
    )


def counts(kept: KeptNodes, now: float) -> list[tuple[int, int]]:
    return [(one.count, one.busy) for one in kept.wanted(now)]


def test_from_three_to_none_after_the_idle_time() -> None:
    kept = KeptNodes()
    assert kept.wanted(NOON) == []
    kept.told("a", picture(busy=3), NOON)
    assert kept.wanted(NOON + 50) == [Wanted("a", TWO_CORES, 3, 3)]
    kept.told("a", picture(idle=3), NOON + 55)
    assert counts(kept, NOON + 55 + 59) == [(3, 0)]
    assert counts(kept, NOON + 55 + 60) == []


def test_down_to_the_minimum_only() -> None:
    kept = KeptNodes()
    kept.told("a", picture(idle=3, minimum=1), NOON)
    assert counts(kept, NOON + 1) == [(3, 0)]
    assert counts(kept, NOON + 61) == [(1, 0)]
    assert counts(kept, NOON + 9_999) == [(1, 0)]
    kept.told("a", picture(minimum=0), NOON)
    assert counts(kept, NOON) == []


def test_a_holder_that_is_silent_lets_go() -> None:
    """The coordinator of a run died: its nodes are idle since it was last heard of."""
    kept = KeptNodes()
    kept.told("a", picture(busy=2, seconds=90), NOON)
    assert counts(kept, NOON + 59) == [(2, 2)]
    assert counts(kept, NOON + 61) == [(2, 0)]
    assert counts(kept, NOON + 91) == []


def test_a_removed_target_wants_nothing() -> None:
    kept = KeptNodes()
    kept.told("a", picture(busy=2), NOON)
    kept.told("b", picture(idle=1), NOON)
    kept.forget("a")
    kept.forget("unknown")
    assert [one.key for one in kept.wanted(NOON)] == ["b"]


@given(busy=st.integers(0, 4), idle=st.integers(0, 4), minimum=st.integers(0, 4), seconds=st.integers(0, 100), at=st.integers(0, 200))
def test_what_is_written_down_and_read_again_is_the_same(busy: int, idle: int, minimum: int, seconds: int, at: int) -> None:
    """The keeper may be started anew at any moment."""
    kept = KeptNodes()
    kept.told("a", picture(busy, idle, minimum, seconds), NOON)
    kept.wanted(NOON + at)
    again = KeptNodes(json.loads(json.dumps(kept.pictures(NOON + at))), NOON + at)
    for later in (0, 10, 61, 200):
        assert again.wanted(NOON + at + later) == kept.wanted(NOON + at + later)


@given(nodes=st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=6), minimum=st.integers(0, 3), at=st.integers(0, 59))
def test_it_follows_the_rules_of_the_database(nodes: list[tuple[bool, int]], minimum: int, at: int) -> None:
    """What the database would say when asked, the keeper says without it, while holders are heard of."""
    now, scale = datetime.fromtimestamp(NOON, UTC), Scale(minimum, 8, 30.0)
    held = [PoolNode(number, "run" if busy else None, now - timedelta(seconds=age)) for number, (busy, age) in enumerate(nodes, 1)]
    leases = (PoolLease("run", sum(busy for busy, _ in nodes), True, now),) if any(busy for busy, _ in nodes) else ()
    state = settle(PoolState(tuple(held), leases), scale, now)
    kept = KeptNodes()
    kept.told("a", picture_of("cpu", scale, TWO_CORES, state, now), NOON)
    expected = settle(state, scale, now + timedelta(seconds=at))
    assert sum(one.count for one in kept.wanted(NOON + at)) == len(expected.nodes)


@pytest.mark.parametrize(
    ("count", "there", "asked"),
    [
        (0, [], []),
        (3, [], [1.0, 1.0, 1.0]),
        (3, [2.0], [2.0, 2.0, 2.0]),
        (2, [4.0, 8.0, 0.0], [8.0, 4.0]),
        (1, [4.0, 8.0], [8.0]),
    ],
)
def test_whole_nodes_are_asked_for_by_what_the_first_have(count: int, there: list[float], asked: list[float]) -> None:
    assert bundles_for([Wanted("a", WHOLE, count, 0)], there) == [{"CPU": cores} for cores in asked]
