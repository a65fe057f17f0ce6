"""Clusters of several Ray nodes on this machine, and everything that happens to machines: they die, freeze, drain, come late.

Whatever is started here is ended by its process id. Where Ray is missing, tests are skipped and say so.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

HEALTH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""A node that is gone is missed after two seconds, not sixteen."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
STORE = 80 << 20


@dataclass(eq=False)
class RayNode:
    """One node of the cluster; ``raylet`` is the process that all its other processes descend from."""

    id: str
    raylet: psutil.Process
    handle: Any
    frozen: list[psutil.Process] = field(default_factory=list)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on it."""
        with suppress(psutil.NoSuchProcess):
            return [self.raylet, *self.raylet.children(recursive=True)]
        return []


class RayCluster:
    """A head that holds no work, and nodes that come and go. Made by `ray_cluster`."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.nodes: list[RayNode] = []
        self._handles: list[Any] = []

    @property
    def address(self) -> str:
        """What `ray.init` takes: host and port."""
        return str(self._cluster.address)

    def add_node(
        self, cpus: float = 2, gpus: float = 0, resources: dict[str, float] | None = None, variables: dict[str, str] | None = None
    ) -> RayNode:
        """Start a node and wait until the head knows it; ``variables``: environment of its processes."""
        size = {"num_cpus": cpus, "num_gpus": gpus, "resources": resources or {}, "object_store_memory": STORE}
        handle = _begun(lambda: self._cluster.add_node(**size, env_vars=variables))
        pid = handle.all_processes["raylet"][0].process.pid
        node = RayNode(handle.node_id, psutil.Process(pid), handle)
        self.nodes.append(node)
        self._handles.append(handle)
        return node

    @property
    def head(self) -> RayNode:
        """The node that holds no work; a coordinator may be on it."""
        return _node(self._cluster.head_node)

    def kill(self, node: RayNode) -> None:
        """The machine is gone: SIGKILL to everything on it at once."""
        for process in node.processes():
            _send(process, signal.SIGKILL)
        self.nodes.remove(node)
        self._reap()

    def kill_raylet(self, node: RayNode) -> None:
        """Only Ray's own process of the node dies."""
        _send(node.raylet, signal.SIGKILL)
        self.nodes.remove(node)
        self._reap()

    def freeze(self, node: RayNode) -> None:
        """The machine answers nobody any more, and does not know it: SIGSTOP to everything on it."""
        node.frozen = node.processes()
        for process in node.frozen:
            _send(process, signal.SIGSTOP)

    def freeze_raylet(self, node: RayNode) -> None:
        """Ray's own process of the node gets no time to say that it lives; the others go on."""
        node.frozen = [node.raylet]
        _send(node.raylet, signal.SIGSTOP)

    def thaw(self, node: RayNode) -> None:
        """It is back, and believes that no time has passed."""
        frozen, node.frozen = node.frozen, []
        for process in frozen:
            _send(process, signal.SIGCONT)

    def drain(self, node: RayNode, seconds: float = 600) -> None:
        """Announce that the node will be taken away, as the provider of a preemptible machine does."""
        import ray
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        client = ray._raylet.GcsClient(address=self.address)
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, message = client.drain_node(node.id, reason, "preempted", int((time.time() + seconds) * 1000))
        assert accepted, message

    def stop_head(self) -> None:
        """Kill the process of the head that knows the cluster; its machines stay."""
        self._cluster.head_node.kill_gcs_server()

    def start_head(self) -> None:
        """Start it again at the same address."""
        self._cluster.head_node.start_gcs_server()

    def wait_until_gone(self, processes: Sequence[psutil.Process], seconds: float = 30) -> None:
        """Wait until none of these processes runs any more."""
        deadline = time.monotonic() + seconds
        while left := [process for process in processes if _runs(process)]:
            assert time.monotonic() < deadline, f"still running: {left}"
            self._reap()
            psutil.wait_procs(left, timeout=0.05)

    def _reap(self) -> None:
        """A raylet that has ended counts as alive for its workers until its parent, which is this process, has seen its end."""
        for handle in self._handles:
            handle.all_processes["raylet"][0].process.poll()

    def close(self) -> None:
        everything = [process for node in self.nodes for process in node.processes()]
        for node in self.nodes:
            self.thaw(node)
        self._cluster.shutdown()
        for process in everything:
            _send(process, signal.SIGKILL)


def _node(handle: Any) -> RayNode:
    return RayNode(handle.node_id, psutil.Process(handle.all_processes["raylet"][0].process.pid), handle)


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):  # psutil looks whether the id still belongs to that process
        process.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _begun(start: Callable[[], Any]) -> Any:
    """Ray chooses ports that are free and takes them later; where another cluster was quicker, its node never comes up."""
    for attempt in range(3):
        before = set(psutil.Process().children())
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == 2:
                raise
            for process in set(psutil.Process().children()) - before:
                for one in (*process.children(recursive=True), process):
                    _send(one, signal.SIGKILL)
    raise AssertionError("it returns or raises")


@contextmanager
def ray_cluster(nodes: int = 0, cpus: float = 2, client_port: int | None = None, *, durable: bool = False) -> Iterator[RayCluster]:
    """A cluster of a head without CPUs and ``nodes`` nodes; this process is not connected to it (`connected`). ``client_port``: where its
    server for clients (``ray://``) listens, if there is to be one. ``durable``: the head keeps what it knows on disk (`stop_head`)."""
    pytest.importorskip("ray", reason="NOT TESTED on Ray: it is not installed")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="bm-ray-", dir="/tmp")  # paths of sockets have to be short
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "RAY_TMPDIR": folder}.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        system = {**HEALTH, "gcs_storage": "rocksdb", "gcs_storage_path": f"{folder}/head"} if durable else HEALTH
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": STORE, "_system_config": system}
        if client_port is not None:
            head["ray_client_server_port"] = client_port
        cluster = RayCluster(_begun(lambda: Cluster(initialize_head=True, head_node_args=head)))
        try:
            for _ in range(nodes):
                cluster.add_node(cpus)
            yield cluster
        finally:
            disconnected()
            cluster.close()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connected(cluster: RayCluster) -> Iterator[None]:
    """This process is a driver of the cluster meanwhile."""
    import ray

    from batchmill.workspace.ray_cluster import connect

    assert not ray.is_initialized(), "this process belongs to another cluster"
    connect(cluster.address)
    try:
        yield
    finally:
        disconnected()


def disconnected() -> None:
    import ray

    ray.shutdown()
