"""The keeper of nodes asks when something changes, survives its own death, and bears a head that is away."""

from __future__ import annotations

import pytest

from batchmill.workspace.kept_nodes import Picture
from batchmill.workspace.node_keeping import Bundles, NodeKeeping

TWO = {"CPU": 2.0}


class Cluster:
    """What the keeper sees of a cluster: a clock, a place for bytes, an autoscaler that writes down what it is asked for."""

    def __init__(self) -> None:
        self.now, self.asked, self.kept, self.cores, self.away = 1_800_000_000.0, list[Bundles](), None, list[float](), False

    def keeper(self) -> NodeKeeping:
        return NodeKeeping(ask=self._ask, whole_nodes=lambda: self.cores, load=lambda: self.kept, save=self._save, clock=lambda: self.now)

    def _ask(self, bundles: Bundles) -> None:
        if self.away:
            raise ConnectionError("the head is away")
        self.asked.append(bundles)

    def _save(self, content: bytes) -> None:
        self.kept = content


def picture(busy: int = 0, idle: int = 0, minimum: int = 0, seconds: float = 60.0, bundle: dict[str, float] | None = None) -> Picture:
    nodes = [(number, "run", 0.0) for number in range(busy)] + [(busy + number, None, 0.0) for number in range(idle)]
    leases = [("run", busy, 0.0)] if busy else []
    return Picture(name="cpu", scale=(minimum, 10, seconds), bundle=TWO if bundle is None else bundle, nodes=nodes, leases=leases)


def test_it_asks_for_the_sum_and_for_less_after_the_idle_time() -> None:
    cluster = Cluster()
    keeper = cluster.keeper()
    keeper.look()
    assert cluster.asked == []
    keeper.told("a", picture(busy=2))
    keeper.told("b", picture(idle=1, minimum=1, bundle={"CPU": 1.0, "GPU": 1.0}))
    assert cluster.asked[-1] == [TWO, TWO, {"CPU": 1.0, "GPU": 1.0}]
    keeper.told("a", picture(idle=2, seconds=30))
    cluster.now += 29
    keeper.look()
    assert len(cluster.asked) == 2
    cluster.now += 1
    keeper.look()
    assert cluster.asked[2:] == [[{"CPU": 1.0, "GPU": 1.0}]]
    keeper.forget("b")
    assert cluster.asked[-1] == []


def test_a_new_keeper_goes_on_where_the_last_one_died() -> None:
    cluster = Cluster()
    cluster.keeper().told("a", picture(idle=3, seconds=100))
    cluster.now += 40
    second = cluster.keeper()
    second.look()
    assert cluster.asked[1:] == [[TWO] * 3]
    assert second.pictures()["a"]["nodes"] == [(0, None, 40.0), (1, None, 40.0), (2, None, 40.0)]
    cluster.now += 60
    third = cluster.keeper()
    third.look()
    assert cluster.asked[-1] == []


def test_a_keeper_that_knows_nothing_takes_nothing_away() -> None:
    cluster = Cluster()
    cluster.keeper().look()
    assert (cluster.asked, cluster.kept) == ([], None)


def test_what_could_not_be_asked_is_asked_again() -> None:
    cluster = Cluster()
    keeper = cluster.keeper()
    cluster.away = True
    with pytest.raises(ConnectionError):
        keeper.told("a", picture(busy=1))
    cluster.away = False
    keeper.look()
    assert cluster.asked == [[TWO]]


def test_a_target_without_a_size_follows_what_the_nodes_have() -> None:
    cluster = Cluster()
    keeper = cluster.keeper()
    keeper.told("a", picture(busy=2, bundle={}))
    cluster.cores = [4.0]
    keeper.look()
    assert cluster.asked == [[{"CPU": 1.0}] * 2, [{"CPU": 4.0}] * 2]
