"""The nodes that a run holds: asked for in its own process, kept until it gives them back or its process ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError, RegistryError, SettingError
from batchmill.workspace.exceptions import ComputeTargetException, UserErrorException
from batchmill.workspace.holder import BEAT, Holder
from batchmill.workspace.pool import Pool, scale_of

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.vm_sizes import VmSize
    from batchmill.workspace.workspace import Workspace

TELL_EVERY = 15.0  # seconds; a cluster that hears nothing of a run for a minute takes its nodes for idle
POLL = 0.2  # seconds between looks while nodes are missing
OUTAGE = 600.0  # seconds that a run in the queue bears a database that is out of reach


class Lease:
    """Nodes of a compute target, held for a run. ``size`` is what one of them may use; None where the target sets no bound.

    While nodes are missing a thread asks for them; it also says that this process lives. Leaving the ``with`` block gives the nodes back.
    """

    def __init__(
        self, pool: Pool, id: str, nodes: list[int], wanted: int, size: VmSize | None, tell: Callable[[], None] | None = None
    ) -> None:
        self._pool, self._id, self._nodes = pool, id, nodes
        self.wanted, self.size = wanted, size
        self._tell = tell
        self._told = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="batchmill-lease", daemon=True)
        self._thread.start()

    @property
    def nodes(self) -> tuple[int, ...]:
        """The numbers of the nodes held now, from 1; grows up to ``wanted``."""
        return tuple(self._nodes)

    @property
    def granted(self) -> int:
        """How many nodes are held now."""
        return len(self._nodes)

    def take_news(self) -> int:
        """Nodes that came since this was last called, at first all of them; costs nothing, so it may be called often."""
        granted = self.granted
        news, self._told = max(0, granted - self._told), max(granted, self._told)
        return news

    def release(self) -> None:
        """Give the nodes back.

        Raises:
            RegistryError: the database cannot be reached; the nodes are free once this process ends.
        """
        if not self._end.is_set():
            self._end.set()
            self._thread.join()
            self._pool.release(self._id)
            self._tell_cluster()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()

    def _look_after(self) -> None:
        self._tell_cluster()
        told = time.monotonic()
        while not self._end.wait(POLL if self.granted < self.wanted else BEAT.total_seconds() / 2):
            try:
                nodes = self._pool.refresh(self._id)
            except RegistryError:
                continue  # the run needs no database while it works; the next look may find it again
            if nodes is None:
                return  # the compute target was removed, or this process was silent for too long: the run goes on with what it has
            news, self._nodes = nodes != self._nodes, nodes
            if news or time.monotonic() - told >= TELL_EVERY:
                self._tell_cluster()
                told = time.monotonic()

    def _tell_cluster(self) -> None:
        """Where the nodes are machines of a cluster it has to know how many; one that does not answer is told again later."""
        if self._tell is not None:
            with suppress(BatchmillError):
                self._tell()


def acquire(
    workspace: Workspace,
    name: str,
    run_id: str,
    wanted: int,
    *,
    stopped: Callable[[], bool] = lambda: False,
    announce: Callable[[str], None] = lambda text: None,
    pause: Callable[[], None] = lambda: time.sleep(POLL),
) -> Lease | None:
    """Wait until a run has at least one node of a compute target; the others are taken as they become free.

    Runs are served in the order in which they asked. ``stopped`` is asked while waiting: True ends it, and the answer is None.
    ``announce`` is told once that and why the run waits. ``pause`` passes the time between two looks.

    Raises:
        ComputeTargetException: there is no such compute target, or its size is none.
        UserErrorException: it never has so many nodes.
    """
    asset, size = check_compute(workspace, name, wanted)
    queued = _Queued(Pool(workspace.registry, asset.id), name, run_id, wanted)
    try:
        nodes = queued.wait(stopped, announce, pause)
    except BaseException:
        queued.leave()
        raise
    if not nodes or queued.lease is None:
        queued.leave()
        return None
    from batchmill.workspace.cluster_pool import cluster_pool

    cluster = cluster_pool(workspace, asset)
    return Lease(queued.pool, queued.lease, nodes, wanted, size, None if cluster is None else cluster.tell)


def check_compute(workspace: Workspace, name: str, wanted: int) -> tuple[Asset, VmSize | None]:
    """The compute target of that name and what a node of it may use.

    Raises:
        ComputeTargetException: there is no such compute target, or its size is none.
        UserErrorException: it never has so many nodes.
    """
    asset = workspace.registry.get("compute", name)
    if asset is None:
        raise ComputeTargetException(missing(name))
    maximum = scale_of(asset.definition).maximum
    if not 1 <= wanted <= maximum:
        raise UserErrorException(f"node_count '{wanted}' is not between 1 and max_nodes {maximum}.")
    return asset, size_of(workspace, asset.definition)


def release_all(workspace: Workspace, name: str, run_id: str) -> None:
    """Give back what an earlier incarnation of a run holds: it may have died on another machine, where nobody sees that for a while."""
    asset = workspace.registry.get("compute", name)
    if asset is not None:
        Pool(workspace.registry, asset.id).release_run(run_id)


class _Queued:
    """A run in the queue of a compute target."""

    def __init__(self, pool: Pool, name: str, run_id: str, wanted: int) -> None:
        self.pool, self._name, self._run_id, self._wanted = pool, name, run_id, wanted
        self.lease: str | None = None
        self._reached = time.monotonic()

    def wait(self, stopped: Callable[[], bool], announce: Callable[[str], None], pause: Callable[[], None]) -> list[int]:
        """The first nodes; none where the wait was ended. A database that is restarted meanwhile is waited for."""
        self._request()
        told = False
        while True:
            try:
                nodes = self._look()
                if nodes:
                    return nodes
                if not told:
                    announce(_why(self.pool, self._name))
                    told = True
            except RegistryError:
                if time.monotonic() - self._reached > OUTAGE:
                    raise
            if stopped():
                return []
            pause()

    def _request(self) -> None:
        self.lease = self.pool.request(self._run_id, self._wanted, Holder.me())
        if self.lease is None:
            raise ComputeTargetException(missing(self._name))

    def _look(self) -> list[int] | None:
        nodes = None if self.lease is None else self.pool.refresh(self.lease)
        self._reached = time.monotonic()
        if nodes is None:  # removed; or given up by others, because this process was silent for too long: then it asks again
            self._request()
        return nodes

    def leave(self) -> None:
        """Ask no more; where the database is out of reach, others see it when this process has ended."""
        if self.lease is not None:
            with suppress(RegistryError):
                self.pool.release(self.lease)


def _why(pool: Pool, name: str) -> str:
    view = pool.look()
    if view is None:
        return f"Waiting for compute target {name}."
    busy, runs = len(view.state.nodes) - len(view.state.idle), len({node.lease for node in view.state.nodes if node.lease})
    ahead = len(view.state.leases) - runs - 1
    queue = f"; {ahead} {'run is' if ahead == 1 else 'runs are'} ahead" if ahead > 0 else ""
    return (
        f"Waiting for a node of compute target {name}: {busy} of {view.scale.maximum} are busy with {runs} run{'s' * (runs != 1)}{queue}."
    )


def missing(name: str) -> str:
    """The text for a name that no compute target has (Azure ML)."""
    return f"ComputeTargetNotFound: Compute Target with name {name} not found in provided workspace"


def size_of(workspace: Workspace, definition: Mapping[str, Any]) -> VmSize | None:
    """What a node of a compute target with that definition may use; None where it names no size.

    Raises:
        ComputeTargetException: there is no size of that name.
    """
    from batchmill.workspace.vm_sizes import find_size

    name = definition.get("vm_size")
    if not name:
        return None
    try:
        return find_size(name, workspace.registry.setting("vm_sizes"))
    except SettingError as error:
        raise ComputeTargetException(error.line) from None
