"""Machines of a cluster that die, freeze, drain and come late, and what the Ray engine makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from batchmill.nodes import coordinator_actor
from batchmill.parallel_run.events import NodeDraining, NodeGaveUp, NodeLost, WorkerReady
from batchmill.workspace.ray_cluster import cluster_nodes, import_ray
from tests.engine_stage import RAY, Stage, stage
from tests.ray_cluster import RayCluster, RayNode, connected, ray_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head; each test adds the machines that it is going to lose."""
    with ray_cluster() as made, connected(made):
        yield made


@pytest.fixture
def machines(cluster: RayCluster) -> Iterator[list[RayNode]]:
    """Two machines with room for one node each; whatever of them is left, and those added meanwhile, goes afterwards."""
    yield [cluster.add_node(1), cluster.add_node(1)]
    for machine in list(cluster.nodes):
        cluster.thaw(machine)
        cluster.kill(machine)


def machine_of(one: Stage, node: str, machines: list[RayNode]) -> RayNode:
    where = one.engine.machines[node]  # type: ignore[attr-defined]
    return next(machine for machine in machines if machine.id == where)


def ready_nodes(one: Stage) -> list[str]:
    return [event.node for event in one.of(WorkerReady)]


def lose_and_go_on(one: Stage, lost: str) -> None:
    """The node is told as lost, its replacement does what it had."""
    one.until(lambda: [event.node for event in one.of(NodeLost)] == [lost])
    one.until(lambda: "node2" in ready_nodes(one))
    one.go()
    one.give("node2", 0)
    one.until(lambda: one.done() == [0, 1])
    assert one.rows() == b"a-waits\nb\n"
    one.finish()
    assert not one.of(NodeGaveUp)


def test_a_machine_that_dies_is_replaced_by_one_that_comes(cluster: RayCluster, machines: list[RayNode], tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a-waits", "b") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.give("node1", 1)
        one.until(lambda: one.done() == [1] and one.begun("a-waits"))
        cluster.kill(machine_of(one, "node0", machines))
        one.until(lambda: one.of(NodeLost))
        assert one.engine.machines["node2"] is None  # type: ignore[attr-defined]
        cluster.add_node(1)
        lose_and_go_on(one, "node0")


@pytest.mark.slow
def test_workers_do_not_outlive_the_raylet_of_their_machine(cluster: RayCluster, machines: list[RayNode], tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a-waits", "b") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.until(lambda: one.begun("a-waits"))
        workers = [psutil.Process(pid) for pid in one.begun("a-waits")]
        cluster.kill_raylet(machine_of(one, "node0", machines))
        cluster.wait_until_gone(workers, 15)
        one.until(lambda: one.of(NodeLost))


@pytest.mark.slow
def test_a_frozen_machine_is_lost_and_what_it_says_later_is_not_heard(cluster: RayCluster, machines: list[RayNode], tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a-waits", "b") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.give("node1", 1)
        one.until(lambda: one.done() == [1] and one.begun("a-waits"))
        frozen = machine_of(one, "node0", machines)
        workers = [psutil.Process(pid) for pid in one.begun("a-waits")]
        cluster.freeze(frozen)
        cluster.add_node(1)
        one.until(lambda: one.of(NodeLost))
        cluster.thaw(frozen)
        cluster.wait_until_gone(workers)
        lose_and_go_on(one, "node0")


def test_a_draining_machine_ends_what_it_began_and_is_replaced(cluster: RayCluster, machines: list[RayNode], tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a-waits", "b", "c") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.until(lambda: one.begun("a-waits"))
        one.give("node0", 1)
        cluster.drain(machine_of(one, "node0", machines))
        late = cluster.add_node(1)
        one.until(lambda: [event.node for event in one.of(NodeDraining)] == ["node0"])
        assert one.engine.nodes == ["node1", "node2"]
        one.until(lambda: one.returned() == [1])
        one.go()
        one.until(lambda: 0 in one.done())
        one.until(lambda: "node2" in ready_nodes(one))
        assert one.engine.machines["node2"] == late.id  # type: ignore[attr-defined]
        one.give("node2", 1, 2)
        one.until(lambda: one.done() == [0, 1, 2])
        one.finish()
        assert one.rows() == b"a-waits\nb\nc\n"


def test_an_actor_that_is_killed_takes_its_workers_along(cluster: RayCluster, machines: list[RayNode], tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a-waits", "b") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.until(lambda: one.begun("a-waits"))
        worker = psutil.Process(one.begun("a-waits")[0])
        actor = next(parent for parent in worker.parents() if parent.name().startswith("ray::"))
        actor.kill()
        cluster.wait_until_gone([worker], 5)
        one.until(lambda: one.of(NodeLost))
        one.give("node1", 1)
        one.go()
        one.until(lambda: one.done() == [1])
        one.until(lambda: "node2" in ready_nodes(one))


@pytest.mark.slow
def test_more_nodes_than_machines_come_with_the_machines(cluster: RayCluster, tmp_path: Path, machines: list[RayNode]) -> None:
    with stage(RAY, tmp_path, "a", "b", "c", nodes=3) as one:
        one.start(ready=2)
        assert len(one.joined()) == 2
        cluster.add_node(1)
        one.until(lambda: "node2" in ready_nodes(one))
        one.give("node2", 0, 3)
        one.until(lambda: one.done() == [0, 1, 2])


@pytest.mark.slow
def test_a_driver_that_dies_leaves_no_process(cluster: RayCluster, machines: list[RayNode], tmp_path: Path) -> None:
    """Whoever holds the engine is killed: the actors are not detached, and end with it."""
    body = (
        "import sys; from pathlib import Path\n"
        "from tests.engine_stage import RAY, stage\nfrom batchmill.workspace.ray_cluster import connect\n"
        "connect(sys.argv[1])\n"
        "with stage(RAY, Path(sys.argv[2]), 'a-waits', 'b') as one:\n"
        "    one.start(ready=2)\n    one.give('node0', 0)\n    one.until(lambda: one.begun('a-waits'))\n"
        "    print('begun', flush=True)\n    one.until(lambda: False)\n"
    )
    command = [sys.executable, "-c", body, cluster.address, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begun\n"
        marks = tmp_path / "marks"
        workers = [psutil.Process(int(line)) for line in (marks / "init").read_text().split()]
        assert len(workers) == 2
        os.kill(driver.pid, 9)
    cluster.wait_until_gone(workers)
    assert any(machine.alive for machine in cluster_nodes())


class Leaving:
    """An actor that leaves as a coordinator does that has ended or was replaced."""

    def pid(self) -> int:
        return os.getpid()

    def leave_when(self, file: str) -> None:
        def body() -> None:
            while not os.path.exists(file):
                time.sleep(0.02)
            coordinator_actor._leave(actor)

        actor = import_ray().get_runtime_context().current_actor
        coordinator_actor.LINGER = 0.1
        threading.Thread(target=body, daemon=True).start()


@pytest.mark.slow
def test_a_coordinator_that_was_only_thought_dead_does_not_end_its_successor(
    cluster: RayCluster, machines: list[RayNode], tmp_path: Path
) -> None:
    """The same actor for Ray, in two processes."""
    ray, file = import_ray(), tmp_path / "leave"
    options = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(Leaving).options(**options).remote()
    first = psutil.Process(ray.get(actor.pid.remote()))
    ray.get(actor.leave_when.remote(str(file)))
    cluster.freeze_raylet(next(machine for machine in machines if first in machine.processes()))
    deadline = time.monotonic() + 60
    while (second := ray.get(actor.pid.remote(), timeout=60)) == first.pid:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert first.is_running()
    file.touch()
    cluster.wait_until_gone([first])
    assert ray.get(actor.pid.remote(), timeout=60) == second
    ray.get(actor.leave_when.remote(str(file)), timeout=60)
    cluster.wait_until_gone([psutil.Process(second)])
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.pid.remote(), timeout=60)
