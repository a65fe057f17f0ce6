"""The pool of a compute target on a Ray cluster: what the cluster is told of it, and how much of it the cluster has.

The database says which nodes there should be and who holds them, as on one machine. The cluster says which of them there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError
from batchmill.workspace.compute_provider import address_of, bundle_of
from batchmill.workspace.kept_nodes import WHOLE, Picture, picture_of
from batchmill.workspace.pool import Pool, PoolView
from batchmill.workspace.pool_lease import size_of

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.ray_cluster import ClusterNode
    from batchmill.workspace.workspace import Workspace

ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Sight:
    """The nodes of a pool as the cluster has them; ``preparing`` are asked for and not there yet, ``leaving`` stand on machines that are
    going to be taken away. ``error``: why the cluster could not be asked; then nobody knows, and all are ``unusable``."""

    running: int
    idle: int
    preparing: int
    leaving: int = 0
    unusable: int = 0
    error: str | None = None


class ClusterPool:
    """The pool of one compute target on the cluster at ``address``."""

    def __init__(self, workspace: Workspace, asset: Asset, address: str) -> None:
        self.address = address
        self._key, self._name = asset.id, str(asset.name)
        self._pool = Pool(workspace.registry, asset.id)
        size = size_of(workspace, asset.definition)
        self._bundle: Mapping[str, float] = WHOLE if size is None else bundle_of(size)

    def tell(self) -> None:
        """Tell the cluster what the pool looks like now, so that it has as many machines.

        Raises:
            BatchmillError: the registry or the cluster cannot be reached.
        """
        from batchmill.workspace import ray_autoscaler

        view = self._pool.look()
        if view is None:
            ray_autoscaler.forget(self.address, self._key)
        else:
            ray_autoscaler.tell(self.address, self._key, picture_of(self._name, view.scale, self._bundle, view.state, view.now))

    def look(self, view: PoolView) -> Sight:
        """How much of a pool there is; an unreachable cluster is an answer, too."""
        from batchmill.workspace import ray_autoscaler
        from batchmill.workspace.ray_cluster import cluster_nodes, connection

        try:
            with connection(self.address):
                told = ray_autoscaler.pictures(self.address)
                machines = cluster_nodes()
        except BatchmillError as error:
            return Sight(0, 0, 0, unusable=len(view.state.nodes), error=error.line)
        mine = picture_of(self._name, view.scale, self._bundle, view.state, view.now)
        return seen(self._key, {**told, self._key: mine}, machines)


def cluster_pool(workspace: Workspace, asset: Asset) -> ClusterPool | None:
    """The pool of a compute target where that is on a cluster; None on this machine."""
    address = address_of(workspace, asset.definition)
    return None if address is None else ClusterPool(workspace, asset, address)


def seen(key: str, pools: Mapping[str, Picture], machines: Iterable[ClusterNode]) -> Sight:
    """How much of the pool ``key`` there is, beside the others on the same machines: the nodes that runs hold come first.

    Machines are counted by what they have, not by what is left: the nodes of Batchmill are not told from other work on them.
    """
    there = [machine for machine in machines if machine.alive]
    staying = Room([machine.total for machine in there if not machine.draining])
    leaving = Room([machine.total for machine in there if machine.draining])
    held = {one: sum(lease is not None for _, lease, _ in pool["nodes"]) for one, pool in pools.items()}
    running = {one: staying.take(pools[one]["bundle"], held[one]) for one in sorted(pools)}
    going = {one: leaving.take(pools[one]["bundle"], held[one] - running[one]) for one in sorted(pools)}
    idle = {one: staying.take(pools[one]["bundle"], len(pools[one]["nodes"]) - held[one]) for one in sorted(pools)}
    missing = len(pools[key]["nodes"]) - running[key] - going[key] - idle[key]
    return Sight(running[key], idle[key], missing, going[key])


class Room:
    """What is left of machines, by resource. Pure."""

    def __init__(self, totals: Sequence[Mapping[str, float]]) -> None:
        self._left: list[dict[str, float]] = [dict(total) for total in totals]
        self._untouched = set(range(len(self._left)))

    def take(self, bundle: Mapping[str, float], wanted: int) -> int:
        """Room for up to ``wanted`` nodes is used; returns for how many there was. An empty bundle takes a whole machine with cores.

        >>> room = Room([{"CPU": 4.0}, {"CPU": 8.0}, {"CPU": 1.0}])
        >>> room.take({"CPU": 3.0}, 9), room.take({}, 9)
        (3, 1)
        """
        given = 0
        for machine in range(len(self._left)):
            while given < wanted and self._fits(bundle, machine):
                given += 1
                self._untouched.discard(machine)
                left = self._left[machine]
                for name in bundle or tuple(left):
                    left[name] -= bundle.get(name, left[name])
        return given

    def _fits(self, bundle: Mapping[str, float], machine: int) -> bool:
        left = self._left[machine]
        if not bundle:
            return machine in self._untouched and left.get("CPU", 0.0) >= 1
        return all(left.get(name, 0.0) >= amount - ROUNDING for name, amount in bundle.items())


def status_errors(sight: Sight) -> list[dict[str, Any]] | None:
    """``errors`` of a status, in the form that Azure ML gives them."""
    return None if sight.error is None else [{"error": {"code": "ClusterUnreachable", "message": sight.error}}]


def node_states(view: PoolView, sight: Sight | None) -> dict[int, str]:
    """The state of each node by its number. Which of several nodes is the one that is still missing, nobody knows: the last ones."""
    held = [node.number for node in view.state.nodes if node.lease is not None]
    idle = [node.number for node in view.state.idle]
    if sight is None:
        return {**dict.fromkeys(held, "running"), **dict.fromkeys(idle, "idle")}
    if sight.error is not None:
        return dict.fromkeys([*held, *idle], "unusable")
    of_held = ["running"] * sight.running + ["leaving"] * sight.leaving + ["preparing"] * len(held)
    of_idle = ["idle"] * sight.idle + ["preparing"] * len(idle)
    return {**dict(zip(held, of_held, strict=False)), **dict(zip(idle, of_idle, strict=False))}
