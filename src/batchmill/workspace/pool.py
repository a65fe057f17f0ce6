"""The nodes of a compute target in the database: an elastic pool without a daemon, shared by all processes of a workspace.

Each look at a pool makes up for what should have happened since the last one (`batchmill.workspace.scaling`), under a lock of the compute
target where something is changed. Nodes are not machines here but permissions: whoever holds one may run a node's workers on its machine.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchmill.workspace.holder import BEAT, Holder
from batchmill.workspace.scaling import PoolLease, PoolNode, PoolState, Scale, settle

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from batchmill.workspace.registry import Registry

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool at the moment ``now``: as it is written down, and as it must be. ``runs``: ids of the runs by lease, waiting ones too."""

    written: PoolState
    state: PoolState
    scale: Scale
    runs: dict[str, str]
    now: datetime

    @property
    def target(self) -> int:
        """Nodes that there should be: those needed, within the bounds, and those that have not been idle long enough."""
        wanted = max(self.state.needed, len(self.state.nodes))
        return max(self.scale.minimum, min(wanted, self.scale.maximum), len(self.state.nodes) - len(self.state.idle))

    def held_by(self, lease: str) -> list[int] | None:
        """The numbers of the nodes of a lease; None where there is no such lease any more."""
        there = any(one.id == lease for one in self.state.leases)
        return [node.number for node in self.state.held_by(lease)] if there else None


class Pool:
    """The pool of one compute target. ``clock`` stands in for the time of the database in tests."""

    def __init__(self, registry: Registry, compute_id: str, clock: Clock | None = None) -> None:
        self._registry, self._id, self._clock = registry, compute_id, clock

    def look(self) -> PoolView | None:
        """The pool as it is now; changes nothing. None where the compute target has been removed."""
        with self._registry.database.read() as connection:
            return self._view(connection, lock=False)

    def settle(self) -> PoolView | None:
        """The pool as it is now, written down: after its bounds were changed."""
        with self._registry.database.write() as connection:
            return self._settled(connection)

    def request(self, run_id: str, wanted: int, holder: Holder) -> str | None:
        """Ask for nodes, behind those who asked before; returns the id of the lease. None where the compute target has been removed."""
        from sqlalchemy import func, select

        from batchmill.workspace.schema import pool_leases

        with self._registry.database.write() as connection:
            if self._settled(connection) is None:
                return None
            last = connection.execute(select(func.max(pool_leases.c.position)).where(pool_leases.c.compute_id == self._id)).scalar()
            now, lease = self._now(connection), str(uuid.uuid4())
            row: dict[str, Any] = {"id": lease, "compute_id": self._id, "position": (last or 0) + 1, "run_id": run_id, "wanted": wanted}
            row |= {"host": holder.host, "pid": holder.pid, "process_start": holder.start, "created": now, "heartbeat": now}
            connection.execute(pool_leases.insert(), row)
            self._settled(connection)
        return lease

    def refresh(self, lease: str) -> list[int] | None:
        """The numbers of the nodes that a lease holds by now; says that its holder lives. None where the lease is gone."""
        from sqlalchemy import select

        from batchmill.workspace.schema import assets, pool_leases

        with self._registry.database.read() as connection:
            view, now = self._view(connection, lock=False), self._now(connection)
        if view is not None and view.held_by(lease) == [node.number for node in view.written.held_by(lease)]:
            mine = [one for one in view.state.leases if one.id == lease]
            if mine and now - mine[0].seen < BEAT:
                return view.held_by(lease)  # nothing is new: most looks are that cheap
        with self._registry.database.write() as connection:
            # First the compute target, as everybody locks it: who holds it may be about to remove this very lease.
            connection.execute(select(assets.c.id).where(assets.c.id == self._id).with_for_update())
            # The heartbeat before the look: a holder that was silent for long but lives keeps its nodes while nobody else has taken them.
            connection.execute(pool_leases.update().where(pool_leases.c.id == lease).values(heartbeat=self._now(connection)))
            view = self._settled(connection)
        return None if view is None else view.held_by(lease)

    def release(self, lease: str) -> None:
        """Give the nodes of a lease back; those who wait get them at once."""
        from batchmill.workspace.schema import pool_leases, pool_nodes

        with self._registry.database.write() as connection:
            self._settled(connection)
            now = self._now(connection)
            connection.execute(pool_nodes.update().where(pool_nodes.c.lease == lease).values(lease=None, since=now))
            connection.execute(pool_leases.delete().where(pool_leases.c.id == lease))
            self._settled(connection)

    def release_run(self, run_id: str) -> None:
        """Give back all that a run holds, whoever asked for it."""
        from sqlalchemy import select

        from batchmill.workspace.schema import pool_leases

        with self._registry.database.read() as connection:
            query = select(pool_leases.c.id).where(pool_leases.c.compute_id == self._id, pool_leases.c.run_id == run_id)
            leases = list(connection.execute(query).scalars())
        for lease in leases:
            self.release(lease)

    def _now(self, connection: Connection) -> datetime:
        """The time of the database, which is one for all machines of a team."""
        if self._clock is not None:
            return self._clock()
        if connection.dialect.name == "postgresql":
            moment: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
            return moment.astimezone(UTC)
        return datetime.now(UTC)

    def _view(self, connection: Connection, *, lock: bool) -> PoolView | None:
        from sqlalchemy import select

        from batchmill.workspace.schema import assets, pool_leases, pool_nodes

        query = select(assets.c.definition).where(assets.c.id == self._id)
        definition = connection.execute(query.with_for_update() if lock else query).scalar()
        if definition is None:
            return None
        leases = connection.execute(select(pool_leases).where(pool_leases.c.compute_id == self._id).order_by(pool_leases.c.position)).all()
        nodes = connection.execute(select(pool_nodes).where(pool_nodes.c.compute_id == self._id).order_by(pool_nodes.c.number)).all()
        now, scale = self._now(connection), scale_of(definition)
        claims = tuple(_lease(row, now) for row in leases)
        written = PoolState(tuple(PoolNode(row.number, row.lease, row.since) for row in nodes), claims)
        return PoolView(written, settle(written, scale, now), scale, {row.id: row.run_id for row in leases}, now)

    def _settled(self, connection: Connection) -> PoolView | None:
        """The pool as it is now, under its lock, and written down."""
        from batchmill.workspace.schema import pool_leases, pool_nodes

        view = self._view(connection, lock=True)
        if view is None:
            return None
        gone = {lease.id for lease in view.written.leases} - {lease.id for lease in view.state.leases}
        if gone:
            connection.execute(pool_leases.delete().where(pool_leases.c.id.in_(gone)))
        was, now = ({node.number: node for node in state.nodes} for state in (view.written, view.state))
        changed = [node for number, node in now.items() if was.get(number) != node]
        away = [*(was.keys() - now.keys()), *(node.number for node in changed)]
        if away:
            connection.execute(pool_nodes.delete().where(pool_nodes.c.compute_id == self._id, pool_nodes.c.number.in_(away)))
        if changed:
            rows = [{"compute_id": self._id, "number": node.number, "lease": node.lease, "since": node.since} for node in changed]
            connection.execute(pool_nodes.insert(), rows)
        return view


def scale_of(definition: dict[str, Any]) -> Scale:
    """The bounds that the definition of a compute target sets."""
    return Scale(definition["min_nodes"], definition["max_nodes"], definition["idle_seconds"])


def _lease(row: Row[Any], now: datetime) -> PoolLease:
    alive = Holder(row.host, row.pid, row.process_start).alive(row.heartbeat, now)
    return PoolLease(row.id, row.wanted, alive, row.heartbeat)
