"""Which machines of a cluster get nodes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from batchmill.nodes.placement import bundle_of, place, room
from batchmill.workspace.ray_cluster import ClusterNode


def machine(name: str, cpus: float, free: float | None = None, **more: bool) -> ClusterNode:
    return ClusterNode(name, name, total={"CPU": cpus}, available={"CPU": cpus if free is None else free}, **more)


def test_nodes_spread_before_they_share() -> None:
    machines = [machine("a", 8), machine("b", 4), machine("c", 1)]
    assert place(machines, {"CPU": 2}, 4) == ["a", "b", "a", "b"]


def test_a_machine_that_has_one_of_ours_comes_last() -> None:
    machines = [machine("a", 8, 6), machine("b", 4)]
    assert place(machines, {"CPU": 2}, 2, held=["a"]) == ["b", "a"]


def test_dead_and_draining_machines_get_nothing() -> None:
    assert place([machine("a", 8, alive=False), machine("b", 8, draining=True)], {"CPU": 1}, 3) == []


def test_what_ray_has_not_heard_of_yet_counts() -> None:
    """The newest node is not in `available` for a moment."""
    assert room(machine("a", 4, 4), {"CPU": 2}, ours=1) == 1
    assert room(machine("a", 4, 2), {"CPU": 2}, ours=1) == 1


def test_every_resource_has_to_fit() -> None:
    one = ClusterNode("a", "a", total={"CPU": 8, "GPU": 1, "memory": 10}, available={"CPU": 8, "GPU": 1, "memory": 10})
    assert room(one, bundle_of(1, gpus=0.5), 0) == 2
    assert room(one, bundle_of(1, memory=4), 0) == 2
    assert room(one, bundle_of(1, resources={"fpga": 1}), 0) == 0
    assert room(one, {}, 5) == 1


def test_fractions_add_up() -> None:
    assert room(machine("a", 1), {"CPU": 0.1}, 0) == 10


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=6),
    st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    st.integers(0, 12),
)
def test_never_more_than_there_is_room_for(sizes: list[tuple[int, int]], cpus: float, count: int) -> None:
    machines = [machine(f"m{number}", total, min(total, free)) for number, (total, free) in enumerate(sizes)]
    bundle = {"CPU": cpus}
    rooms = {one.id: room(one, bundle, 0) for one in machines}
    chosen = Counter(place(machines, bundle, count))
    assert all(number <= rooms[name] for name, number in chosen.items())
    assert sum(chosen.values()) == min(count, sum(rooms.values()))
    left = [name for name, places in rooms.items() if places > chosen[name]]
    assert all(chosen[name] + 1 >= max(chosen.values(), default=0) for name in left), "spread evenly where there is room"
