"""What the compute targets of a Ray cluster want of it, carried on in time without the database. Pure: moments come in, in seconds.

Somebody who looked at the pool of a compute target tells what it saw (`Picture`): bounds, nodes, leases, all moments as ages. From then on
the same rules apply that the database applies when it is asked (`batchmill.workspace.scaling`): idle nodes leave after their time, nodes
of a holder that says nothing for too long become idle. So a target shrinks also when nobody is left who looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from batchmill.workspace.holder import SILENCE
from batchmill.workspace.scaling import PoolLease, PoolNode, PoolState, Scale, settle

WHOLE: Mapping[str, float] = {}
"""The bundle of a target without a size: a whole Ray node, whatever it has."""


class Picture(TypedDict):
    """A pool as it was seen, in plain values. ``bundle``: what each node asks for, empty for a whole Ray node; ``nodes``: number, lease or
    None, seconds since it is so; ``leases``: id, wanted, seconds since it was last heard of."""

    name: str
    scale: tuple[int, int, float]
    bundle: dict[str, float]
    nodes: list[tuple[int, str | None, float]]
    leases: list[tuple[str, int, float]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a compute target wants now: so many nodes, each with that bundle; ``busy`` of them are held by runs."""

    key: str
    bundle: Mapping[str, float]
    count: int
    busy: int


@dataclass(frozen=True, slots=True)
class _Kept:
    name: str
    scale: Scale
    bundle: dict[str, float]
    state: PoolState


class KeptNodes:
    """The pools by key. ``now`` is always in seconds since 1970, so that what is kept outlives a process."""

    def __init__(self, pictures: Mapping[str, Picture] | None = None, now: float = 0.0) -> None:
        self._pools: dict[str, _Kept] = {}
        for key, picture in (pictures or {}).items():
            self.told(key, picture, now)

    def told(self, key: str, picture: Picture, now: float) -> None:
        """Somebody has looked at a pool; what was told before is forgotten."""
        moment = _moment(now)
        nodes = (PoolNode(number, lease, moment - timedelta(seconds=age)) for number, lease, age in picture["nodes"])
        leases = (PoolLease(lease, wanted, True, moment - timedelta(seconds=age)) for lease, wanted, age in picture["leases"])
        minimum, maximum, idle = picture["scale"]
        state = PoolState(tuple(nodes), tuple(leases))
        self._pools[key] = _Kept(picture["name"], Scale(minimum, maximum, idle), dict(picture["bundle"]), state)

    def forget(self, key: str) -> None:
        """A compute target has been removed."""
        self._pools.pop(key, None)

    def wanted(self, now: float) -> list[Wanted]:
        """What each compute target wants now, those that want nothing left out."""
        moment = _moment(now)
        self._pools = {key: _settled(pool, moment) for key, pool in self._pools.items()}
        found = (
            Wanted(key, pool.bundle, len(pool.state.nodes), len(pool.state.nodes) - len(pool.state.idle))
            for key, pool in sorted(self._pools.items())
        )
        return [one for one in found if one.count]

    def pictures(self, now: float) -> dict[str, Picture]:
        """What would have to be told to know the same; ages as of ``now``."""
        return {key: _picture(pool, _moment(now)) for key, pool in self._pools.items()}


def picture_of(name: str, scale: Scale, bundle: Mapping[str, float], state: PoolState, now: datetime) -> Picture:
    """A pool as it is told."""
    return _picture(_Kept(name, scale, dict(bundle), state), now)


def bundles_for(wanted: Sequence[Wanted], whole_nodes: Sequence[float]) -> list[dict[str, float]]:
    """What to ask the cluster for. ``whole_nodes``: the cores of the Ray nodes that work is given to, as they are now.

    A target without a size wants Ray nodes, and how large those are is known only when there are some: it asks for what the first have,
    then for more of the largest kind. Where there is none yet it asks for one core each, which brings the first.

    >>> halves = Wanted("a", {"CPU": 2.0}, 2, 0)
    >>> bundles_for([halves, Wanted("b", WHOLE, 3, 0)], [4.0, 8.0])
    [{'CPU': 2.0}, {'CPU': 2.0}, {'CPU': 8.0}, {'CPU': 4.0}, {'CPU': 8.0}]
    """
    sized = [dict(one.bundle) for one in wanted if one.bundle for _ in range(one.count)]
    count = sum(one.count for one in wanted if not one.bundle)
    cores = sorted((number for number in whole_nodes if number >= 1), reverse=True)
    largest = cores[0] if cores else 1.0
    return sized + [{"CPU": number} for number in (cores[:count] + [largest] * (count - len(cores)))]


def _settled(pool: _Kept, now: datetime) -> _Kept:
    leases = tuple(PoolLease(one.id, one.wanted, now - one.seen < SILENCE, one.seen) for one in pool.state.leases)
    return _Kept(pool.name, pool.scale, pool.bundle, settle(PoolState(pool.state.nodes, leases), pool.scale, now))


def _picture(pool: _Kept, now: datetime) -> Picture:
    return {
        "name": pool.name,
        "scale": (pool.scale.minimum, pool.scale.maximum, pool.scale.idle_seconds),
        "bundle": pool.bundle,
        "nodes": [(node.number, node.lease, _age(node.since, now)) for node in pool.state.nodes],
        "leases": [(lease.id, lease.wanted, _age(lease.seen, now)) for lease in pool.state.leases],
    }


def _age(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
