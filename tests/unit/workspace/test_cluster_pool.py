"""How much of a pool a cluster has."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workspace.cluster_pool import Room, Sight, node_states, seen
from batchmill.workspace.kept_nodes import Picture
from batchmill.workspace.pool import PoolView
from batchmill.workspace.ray_cluster import ClusterNode
from batchmill.workspace.scaling import PoolNode, PoolState, Scale

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TWO, WHOLE = {"CPU": 2.0}, dict[str, float]()


def picture(busy: int, idle: int = 0, bundle: dict[str, float] | None = None) -> Picture:
    nodes = [(number, "run" if number <= busy else None, 0.0) for number in range(1, busy + idle + 1)]
    return Picture(name="cpu", scale=(0, 9, 60.0), bundle=TWO if bundle is None else bundle, nodes=nodes, leases=[("run", busy, 0.0)])


def machine(cpus: float, gpus: float = 0.0, *, alive: bool = True, draining: bool = False) -> ClusterNode:
    return ClusterNode(id="n", host="h", alive=alive, draining=draining, total={"CPU": cpus, "GPU": gpus} if alive else {})


@pytest.mark.parametrize(
    ("pool", "machines", "sight"),
    [
        (picture(0), [machine(8)], Sight(0, 0, 0)),
        (picture(3), [], Sight(0, 0, 3)),
        (picture(3), [machine(0)], Sight(0, 0, 3)),
        (picture(3), [machine(2), machine(2, alive=False)], Sight(1, 0, 2)),
        (picture(3), [machine(7)], Sight(3, 0, 0)),
        (picture(2, 2), [machine(2), machine(4)], Sight(2, 1, 1)),
        (picture(2, 1), [machine(2), machine(9, draining=True)], Sight(1, 0, 1, leaving=1)),
        (picture(2, 1, WHOLE), [machine(64), machine(0), machine(1)], Sight(2, 0, 1)),
        (picture(1, 1, {"CPU": 1.0, "GPU": 1.0}), [machine(8), machine(8, 1)], Sight(1, 0, 1)),
        (picture(1, 0, {"CPU": 1.0, "fast_disk": 1.0}), [machine(8)], Sight(0, 0, 1)),
    ],
)
def test_what_there_is(pool: Picture, machines: list[ClusterNode], sight: Sight) -> None:
    assert seen("a", {"a": pool}, machines) == sight


def test_others_have_their_share_and_those_who_work_come_first() -> None:
    pools = {"a": picture(0, 2), "b": picture(2), "c": picture(1)}
    machines = [machine(8)]
    assert seen("a", pools, machines) == Sight(0, 1, 1)
    assert seen("b", pools, machines) == Sight(2, 0, 0)
    assert seen("c", pools, machines) == Sight(1, 0, 0)


@given(busy=st.integers(0, 5), idle=st.integers(0, 5), cpus=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=5))
def test_every_node_is_counted_once(busy: int, idle: int, cpus: list[tuple[int, bool]]) -> None:
    sight = seen("a", {"a": picture(busy, idle)}, [machine(count, draining=draining) for count, draining in cpus])
    assert sight.running + sight.idle + sight.preparing + sight.leaving == busy + idle
    assert min(sight.running, sight.idle, sight.preparing, sight.leaving) >= 0
    assert sight.running + sight.leaving <= busy
    assert sight.idle <= idle
    assert 2 * (sight.running + sight.idle) <= sum(count for count, draining in cpus if not draining)


def test_room_is_used_up() -> None:
    room = Room([{"CPU": 3.0, "memory": 10.0}])
    assert room.take({"CPU": 1.0, "memory": 4.0}, 5) == 2
    assert room.take({"memory": 3.0}, 1) == 0
    assert room.take({"CPU": 1.0}, 2) == 1


@pytest.mark.parametrize(
    ("sight", "states"),
    [
        (None, ["running", "running", "idle"]),
        (Sight(1, 0, 1, leaving=1), ["running", "leaving", "preparing"]),
        (Sight(1, 1, 1), ["running", "preparing", "idle"]),
        (Sight(0, 0, 0, unusable=3, error="away"), ["unusable"] * 3),
    ],
)
def test_each_node_has_a_state(sight: Sight | None, states: list[str]) -> None:
    nodes = (PoolNode(1, "run", NOW), PoolNode(2, "run", NOW), PoolNode(3, None, NOW))
    view = PoolView(PoolState(nodes, ()), PoolState(nodes, ()), Scale(0, 9, 60), {}, NOW)
    assert node_states(view, sight) == dict(enumerate(states, 1))
