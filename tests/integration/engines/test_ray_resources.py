"""What nodes reserve on the machines of a Ray cluster, which of them they get, and machines that cannot do it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.nodes.placement import bundle_of
from batchmill.parallel_run.events import NodeGaveUp, WorkerReady
from batchmill.workspace.ray_cluster import cluster_nodes
from tests.engine_stage import RAY, Stage, environment_of, stage
from tests.ray_cluster import RayCluster, RayNode


@pytest.fixture
def special(machines: RayCluster) -> Iterator[RayNode]:
    """A machine with two GPUs, one CPU, and something rare."""
    machine = machines.add_node(1, gpus=2, resources={"rare": 1})
    yield machine
    machines.kill(machine)


def on(one: Stage) -> set[str | None]:
    return set(one.engine.machines.values())  # type: ignore[attr-defined]


def devices(one: Stage) -> list[str | None]:
    return sorted((environment_of(pid).get("CUDA_VISIBLE_DEVICES") for pid in one.begun("init")), key=str)


def test_workers_get_the_gpus_that_ray_gave_to_their_node(special: RayNode, tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a", "b", "c", nodes=1, workers=3, bundle=bundle_of(1, gpus=2)) as one:
        one.start(ready=3)
        assert on(one) == {special.id}
        assert devices(one) == ["0", "1", None]
        assert {environment_of(pid)["AZ_BATCHAI_GPU_COUNT_FOUND"] for pid in one.begun("init")} == {"2"}


def test_nodes_share_a_machine_and_have_different_gpus(special: RayNode, tmp_path: Path) -> None:
    with stage(RAY, tmp_path, "a", "b", bundle=bundle_of(0.5, gpus=1, resources={"rare": 0.5})) as one:
        one.start(ready=2)
        assert on(one) == {special.id}
        assert devices(one) == ["0", "1"]
        one.until(lambda: next(node for node in cluster_nodes() if node.id == special.id).available.get("CPU", 0) == 0)


def test_a_machine_without_batchmill_says_what_to_install(machines: RayCluster, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow" / "batchmill"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'batchmill'\")\n")
    bare = machines.add_node(1, resources={"bare": 1}, variables={"PYTHONPATH": str(shadow.parent)})
    try:
        with stage(RAY, tmp_path, "a", nodes=1, bundle=bundle_of(1, resources={"bare": 1})) as one:
            one.engine.start()
            one.until(lambda: one.of(NodeGaveUp))
            (gave_up,) = one.of(NodeGaveUp)
            assert 'pip install "batchmill[ray]' in gave_up.error.message
            assert not one.of(WorkerReady)
    finally:
        machines.kill(bare)
