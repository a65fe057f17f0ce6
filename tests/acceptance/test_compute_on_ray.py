"""Compute targets on a real Ray cluster of two machines: attached, shared by runs, seen as they are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.workspace import ray_autoscaler
from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.database import close_databases
from batchmill.workspace.exceptions import ComputeTargetException
from batchmill.workspace.pool_lease import acquire
from batchmill.workspace.ray_cluster import ClusterError, import_ray
from batchmill.workspace.ray_compute import RayCompute
from batchmill.workspace.workspace import Workspace
from tests.acceptance.conftest import REFERENCE, shown
from tests.conftest import Project
from tests.ray_cluster import RayCluster, disconnected, ray_cluster

BOUND = 60.0
ONE_CORE = 'vm_sizes={"core": {"cores": 1, "memory_gib": 0.5}}'


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two machines of one core each."""
    with ray_cluster(nodes=2, cpus=1) as started:
        yield started


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    made = Workspace.create("default", show_output=False)
    made.registry.set_setting("vm_sizes", {"core": {"cores": 1, "memory_gib": 0.5}})
    yield made
    for target in ComputeTarget.list(made):
        target.delete()
    close_databases()
    disconnected()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def states(target: AmlCompute) -> dict[str, int]:
    counts = target.get_status().serialize()["nodeStateCounts"]
    return {name.removesuffix("NodeCount"): count for name, count in counts.items() if count}


def kept(cluster: RayCluster, target: AmlCompute) -> int | None:
    """Nodes that the cluster's autoscaler is asked for; None: nobody has told of the target yet."""
    told = ray_autoscaler.pictures(cluster.address).get(target.id)
    return None if told is None else len(told["nodes"])


def test_an_attached_cluster(ws: Workspace, cluster: RayCluster) -> None:
    target = RayCompute.attach(ws, "ray-one", f"ray:{cluster.address}", max_nodes="4", idle_seconds_before_scaledown=0, tags={"a": "b"})
    opened = ComputeTarget(ws, "ray-one")
    assert type(opened) is type(ws.compute_targets["ray-one"]) is RayCompute
    assert (opened.type, target.address, opened.cluster, target.tags) == ("RayCompute", cluster.address, cluster.address, {"a": "b"})
    assert json.loads(json.dumps(target.serialize()))["address"] == cluster.address
    assert states(target) == {}
    with acquire(ws, "ray-one", "run1", 3) as lease:  # type: ignore[union-attr]
        assert lease.granted == 3
        assert states(target) == {"running": 2, "preparing": 1}
        status = target.get_status().serialize()
        assert (status["currentNodeCount"], status["targetNodeCount"], status["allocationState"]) == (2, 3, "Resizing")
        assert [node["nodeState"] for node in target.list_nodes()] == ["running", "running", "preparing"]
        until(lambda: kept(cluster, target) == 3)
    assert states(target) == {}
    until(lambda: kept(cluster, target) == 0)
    target.detach()
    assert kept(cluster, target) is None
    with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
        RayCompute(ws, "ray-one")


def test_k80_nodes_of_a_provider_leave_after_their_idle_time(ws: Workspace, cluster: RayCluster) -> None:
    ws.registry.set_setting("compute_provider", f"ray:{cluster.address}")
    configuration = AmlCompute.provisioning_configuration(vm_size="core", min_nodes=1, max_nodes=2, idle_seconds_before_scaledown=1)
    target = ComputeTarget.create(ws, "cpu", configuration)
    assert type(target) is AmlCompute
    assert states(target) == {"idle": 1}
    asked = ray_autoscaler.pictures(cluster.address)[target.id]
    assert asked["bundle"] == {"CPU": 1.0, "memory": float(int(0.6 * 2**29))}
    lease = acquire(ws, "cpu", "run1", 2)
    assert lease is not None
    assert states(target) == {"running": 2}
    lease.release()
    until(lambda: target.get_status().current_node_count == 1)
    until(lambda: kept(cluster, target) == 1)
    target.update(min_nodes=0)
    assert target.get_status().serialize()["currentNodeCount"] == 0
    assert kept(cluster, target) == 0


def test_machines_come_and_go(ws: Workspace, cluster: RayCluster) -> None:
    target = RayCompute.attach(ws, "ray-one", cluster.address, max_nodes=4)
    with acquire(ws, "ray-one", "run1", 3):  # type: ignore[union-attr]
        assert states(target) == {"running": 2, "preparing": 1}
        machine = cluster.add_node(1)
        until(lambda: states(target) == {"running": 3})
        cluster.kill(machine)
        until(lambda: states(target) == {"running": 2, "preparing": 1})


def test_a_keeper_that_dies_goes_on(ws: Workspace, cluster: RayCluster) -> None:
    target = RayCompute.attach(ws, "ray-one", cluster.address, min_nodes=2)
    ray = import_ray()
    keeper = ray.get_actor(ray_autoscaler.NAME, namespace="batchmill")
    ray.kill(keeper, no_restart=False)
    assert kept(cluster, target) == 2


def test_a_cluster_that_does_not_answer(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at 127\.0\.0\.1:9"):
        RayCompute.attach(ws, "ray-one", "127.0.0.1:9")
    assert ws.compute_targets == {}
    ws.registry.set_setting("compute_provider", "ray:127.0.0.1:9")
    target = ComputeTarget.create(ws, "cpu", AmlCompute.provisioning_configuration(max_nodes=2))
    with pytest.raises(ComputeTargetException, match=r"Compute target cpu is kept as it was given, but its cluster could not be told\."):
        target.update(min_nodes=1)
    status = target.get_status().serialize()
    assert status["nodeStateCounts"]["unusableNodeCount"] == 1
    assert status["errors"][0]["error"]["message"].startswith("No Ray cluster answers at 127.0.0.1:9")
    assert [node["nodeState"] for node in target.list_nodes()] == ["unusable"]
    target.delete()
    assert ws.compute_targets == {}


def test_kinds_are_not_mixed_up(ws: Workspace, cluster: RayCluster) -> None:
    ComputeTarget.create(ws, "cpu", AmlCompute.provisioning_configuration(max_nodes=2))
    with pytest.raises(ComputeTargetException, match="it is no attached cluster"):
        RayCompute.attach(ws, "cpu", cluster.address)
    with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
        RayCompute(ws, "cpu")
    RayCompute.attach(ws, "ray-one", cluster.address)
    with pytest.raises(ComputeTargetException, match="There is an attached cluster 'ray-one' already"):
        ComputeTarget.create(ws, "ray-one", AmlCompute.provisioning_configuration(max_nodes=2))
    with pytest.raises(ComputeTargetException, match="address is mandatory"):
        RayCompute.attach(ws, "ray-two", " ")


def test_a_run_on_an_attached_cluster(scored: Project, cluster: RayCluster) -> None:
    """The command, from attaching to detaching; the output is that of a run on this machine."""

    def said(*words: str) -> Any:
        ended = scored.batchmill(*words)
        assert ended.returncode == 0, ended.stderr
        return ended

    said("workspace", "create", "default")
    said("workspace", "update", "--set", ONE_CORE)
    attached = said("compute", "attach", "ray-one", cluster.address, "--vm-size", "core", "--max-nodes", "2", "--idle-seconds", "600")
    assert attached.stderr == f"The Ray cluster at {cluster.address} is compute target ray-one.\n"
    where = ["--compute", "ray-one", "--nodes", "2", "--output", "out"]
    said("run", "score.py", "--input", "in", "--mini-batch-size", "3", *where)
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert shown(scored)["status"] == "Completed"
    listed = [line.split() for line in said("compute", "list").stdout.splitlines()]
    assert listed[0] == ["NAME", "CLUSTER", "SIZE", "NODES", "RUNNING", "IDLE", "MIN", "MAX"]
    assert listed[1] == ["ray-one", cluster.address, "CORE", "2", "0", "2", "0", "2"]
    assert "2 = 0 running + 2 idle" in said("compute", "show", "ray-one").stdout
    refused = scored.batchmill("run", "score.py", "--input", "in", "--compute", "ray-one", "--nodes", "3", "--output", "out")
    assert (refused.returncode, "node_count '3' is not between 1 and max_nodes 2." in refused.stderr) == (2, True)
    said("compute", "detach", "ray-one")
    assert scored.batchmill("compute", "show", "ray-one").returncode == 2
