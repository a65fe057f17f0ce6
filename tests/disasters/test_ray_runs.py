"""Whole runs on a cluster whose machines die: the output is that of the run on one machine, byte for byte."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.conftest import BATCHMILL, Project
from tests.ray_cluster import RayCluster, RayNode, ray_cluster

SCORE = """
import os, time

def run(files):
    rows = []
    for path in files:
        time.sleep({seconds})
        with open(path) as file, open({marks!r}, "a") as marks:
            rows.append(os.path.basename(path) + " " + file.read())
            marks.write("x")
    return rows
"""
ITEMS = 240
PATIENCE = 240.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as made:
        yield made


@pytest.fixture
def machines(cluster: RayCluster) -> Iterator[list[RayNode]]:
    """Three machines with room for one node each; whatever of them is left, and those added meanwhile, goes afterwards."""
    yield [cluster.add_node(1) for _ in range(3)]
    for machine in list(cluster.nodes):
        cluster.thaw(machine)
        cluster.kill(machine)


class RunOnCluster:
    """`batchmill run` in a project of its own, watched from outside."""

    def __init__(self, project: Project, cluster: RayCluster, seconds: float = 0.02) -> None:
        self.project = project
        self.marks = project.folder / "marks"
        files = {f"in/item{number:04d}": f"content of {number}" for number in range(ITEMS)}
        project.write({"score.py": SCORE.format(marks=str(self.marks), seconds=seconds), **files, "marks": ""})
        arguments = ["run", "score.py", "--input", "in", "--output", "out", "--mini-batch-size", "4", "--workers", "1", "--nodes", "3"]
        self.command = [str(BATCHMILL), *arguments, "--compute", f"ray:{cluster.address}"]

    @contextmanager
    def begun(self) -> Iterator[subprocess.Popen[str]]:
        log = self.project.folder / "told"
        with open(log, "w") as told:
            process = subprocess.Popen(
                self.command, cwd=self.project.folder, env=self.project.environment(), stdout=told, stderr=told, text=True
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def until(self, items: int, process: subprocess.Popen[str]) -> bool:
        """Wait until so many items were given to scripts, counting those given twice; False where the run ended before."""
        deadline = time.monotonic() + PATIENCE
        while self.marks.stat().st_size < items:
            assert time.monotonic() < deadline, self.told
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    @property
    def told(self) -> str:
        return self.project.read("told")

    def ended_well(self, process: subprocess.Popen[str]) -> None:
        assert process.wait(PATIENCE) == 0, self.told
        assert f"{ITEMS} = {ITEMS} succeeded + 0 failed + 0 not run" in self.told
        ours = self.project.folder / "out" / "parallel_run_step.txt"
        local = self.project.batchmill("run", "score.py", "--input", "in", "--output", "alone", "--mini-batch-size", "4")
        assert local.returncode == 0, local.stderr
        assert ours.read_bytes() == (self.project.folder / "alone" / "parallel_run_step.txt").read_bytes()
        assert [path.name for path in ours.parent.iterdir() if not path.name.startswith(".")] == [ours.name]


def work_dies_with(machine: RayNode, what: str) -> bool:
    """Whether a process of the machine has this in its name, as Ray gives names to actors."""
    for process in machine.processes():
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if what in process.name() or what in " ".join(process.cmdline()):
                return True
    return False


def machine_of_coordinator(cluster: RayCluster, machines: list[RayNode]) -> RayNode:
    """One of these; a coordinator on the head is killed until Ray starts it there."""
    deadline = time.monotonic() + PATIENCE
    while (found := next((machine for machine in machines if work_dies_with(machine, "CoordinatorActor")), None)) is None:
        assert time.monotonic() < deadline
        for process in cluster.head.processes():
            if "CoordinatorActor" in process.name():
                process.kill()
        time.sleep(0.1)
    return found


def test_a_machine_dies_in_the_middle(cluster: RayCluster, machines: list[RayNode], project: Project) -> None:
    run = RunOnCluster(project, cluster)
    with run.begun() as process:
        assert run.until(ITEMS // 4, process)
        victim = next(machine for machine in machines if not work_dies_with(machine, "CoordinatorActor"))
        cluster.kill(victim)
        run.ended_well(process)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_machines_die_at_random(cluster: RayCluster, machines: list[RayNode], project: Project, seed: int) -> None:
    """Also those that the coordinator is on: Ray starts it again elsewhere."""
    chance = random.Random(seed)
    run = RunOnCluster(project, cluster)
    with run.begun() as process:
        for count in range(1, 5):
            if not run.until(count * ITEMS // 6 + chance.randrange(ITEMS // 8), process):
                break
            cluster.kill(chance.choice(machines))
            machines[:] = [*cluster.nodes, cluster.add_node(1)]
        run.ended_well(process)


@pytest.mark.slow
def test_a_machine_freezes_and_wakes_up_again(cluster: RayCluster, machines: list[RayNode], project: Project) -> None:
    """What it does after it was given up is of no effect."""
    run = RunOnCluster(project, cluster)
    with run.begun() as process:
        assert run.until(ITEMS // 4, process)
        victim = next(machine for machine in machines if work_dies_with(machine, "NodeActor"))
        cluster.freeze(victim)
        run.until(ITEMS // 2, process)
        cluster.thaw(victim)
        run.ended_well(process)


@pytest.mark.slow
def test_the_machine_of_the_coordinator_hangs(cluster: RayCluster, machines: list[RayNode], project: Project) -> None:
    """Ray gives it up and starts the coordinator elsewhere, while the first one still has its locks, and does not know."""
    run = RunOnCluster(project, cluster, seconds=0.15)
    with run.begun() as process:
        assert run.until(ITEMS // 4, process)
        cluster.freeze_raylet(machine_of_coordinator(cluster, machines))
        run.ended_well(process)


@pytest.mark.slow
def test_all_machines_die_and_others_come(cluster: RayCluster, machines: list[RayNode], project: Project) -> None:
    run = RunOnCluster(project, cluster)
    with run.begun() as process:
        assert run.until(ITEMS // 3, process)
        for machine in list(cluster.nodes):
            cluster.kill(machine)
        cluster.add_node(1)
        run.ended_well(process)


@pytest.mark.slow
def test_the_head_restarts(project: Project) -> None:
    """One that keeps what it knows outside of its process, as clusters that are to survive this have it."""
    with ray_cluster(durable=True) as cluster:
        for _ in range(3):
            cluster.add_node(1)
        run = RunOnCluster(project, cluster)
        with run.begun() as process:
            assert run.until(ITEMS // 4, process)
            cluster.stop_head()
            assert run.until(ITEMS // 2, process), run.told
            cluster.start_head()
            run.ended_well(process)
