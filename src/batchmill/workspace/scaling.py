"""Which nodes a pool has and who holds them. Pure: no clock, no database, no process.

Nobody watches a pool. Whoever looks at it first makes up for what should have happened since: `settle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a pool may be, in nodes, and how long a node that nobody needs stays, in seconds."""

    minimum: int
    maximum: int
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class PoolNode:
    """A node that is there. ``lease`` holds it, or None: idle since ``since``."""

    number: int
    lease: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class PoolLease:
    """A run's claim to nodes. ``wanted`` are asked for; ``alive`` says that its holder lives, ``seen`` when it was last heard of."""

    id: str
    wanted: int
    alive: bool
    seen: datetime


@dataclass(frozen=True, slots=True)
class PoolState:
    """All nodes by number, and the leases in the order in which they were asked for."""

    nodes: tuple[PoolNode, ...]
    leases: tuple[PoolLease, ...]

    @property
    def idle(self) -> list[PoolNode]:
        return [node for node in self.nodes if node.lease is None]

    @property
    def needed(self) -> int:
        """Nodes that all runs together want."""
        return sum(lease.wanted for lease in self.leases)

    def held_by(self, lease: str) -> list[PoolNode]:
        return [node for node in self.nodes if node.lease == lease]


def settle(state: PoolState, scale: Scale, now: datetime) -> PoolState:
    """The state as it must be at ``now``.

    Nodes of dead holders become idle as of when those were last heard of. Idle nodes above the minimum leave after their time, above
    the maximum at once. Nodes come up to the minimum, and for the runs in the order in which they asked, up to the maximum.
    """
    living = tuple(lease for lease in state.leases if lease.alive)
    nodes = _freed(state, {lease.id for lease in living}, now)
    nodes = _within(_left(nodes, scale, now), scale.maximum)
    nodes += [PoolNode(number, None, now) for number in _numbers(nodes, scale.minimum - len(nodes))]
    for lease in living:
        nodes = _granted(nodes, lease, scale, now)
    return PoolState(tuple(sorted(nodes, key=lambda node: node.number)), living)


def _freed(state: PoolState, living: set[str], now: datetime) -> list[PoolNode]:
    """The nodes, those of leases that are gone idle."""
    seen = {lease.id: min(lease.seen, now) for lease in state.leases}
    return [
        node if node.lease is None or node.lease in living else PoolNode(node.number, None, seen.get(node.lease, now))
        for node in state.nodes
    ]


def _left(nodes: list[PoolNode], scale: Scale, now: datetime) -> list[PoolNode]:
    """The nodes without those whose idle time is over, the longest idle first, never below the minimum."""
    patience = timedelta(seconds=scale.idle_seconds)
    over = sorted((node for node in nodes if node.lease is None and now - node.since >= patience), key=lambda node: node.since)
    gone = {node.number for node in over[: max(0, len(nodes) - scale.minimum)]}
    return [node for node in nodes if node.number not in gone]


def _within(nodes: list[PoolNode], maximum: int) -> list[PoolNode]:
    """The nodes without idle ones above the maximum, which may have been lowered."""
    idle = sorted((node for node in nodes if node.lease is None), key=lambda node: -node.number)
    gone = {node.number for node in idle[: max(0, len(nodes) - maximum)]}
    return [node for node in nodes if node.number not in gone]


def _granted(nodes: list[PoolNode], lease: PoolLease, scale: Scale, now: datetime) -> list[PoolNode]:
    """The nodes, as many as are free and wanted given to the lease: idle ones first, then new ones."""
    missing = lease.wanted - sum(node.lease == lease.id for node in nodes)
    taken = {node.number for node in [node for node in nodes if node.lease is None][: max(0, missing)]}
    nodes = [replace(node, lease=lease.id, since=now) if node.number in taken else node for node in nodes]
    room = min(missing - len(taken), scale.maximum - len(nodes))
    return nodes + [PoolNode(number, lease.id, now) for number in _numbers(nodes, room)]


def _numbers(nodes: Iterable[PoolNode], count: int) -> Sequence[int]:
    """The lowest numbers that are free."""
    used = {node.number for node in nodes}
    return [number for number in range(1, len(used) + count + 1) if number not in used][: max(0, count)]
