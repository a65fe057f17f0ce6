"""A compute target on a cluster with an autoscaler: no machine before a run, three while it works, none afterwards.

The autoscaler is Ray's own with its pretended provider, which starts raylets for machines; they expect the head at a fixed port, so all
of it lives in namespaces of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import REFERENCE
from tests.conftest import BATCHMILL, Project
from tests.own_machine import own_machine
from tests.ray_cluster import ENVIRONMENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BOUND = 240.0
STORE = 80 << 20
HEAD = "ray.head.default"
"""So the pretended provider calls it."""
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
PROVIDER = {
    "cluster_name": "pretended",
    "max_workers": 3,
    "upscaling_speed": 10.0,
    "idle_timeout_minutes": 0.05,
    "provider": {"type": "fake_multinode", "use_node_id_as_ip": True},
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands")},
    **{f"{kind}_{name}": [] for kind in ("head", "worker") for name in ("setup_commands", "start_ray_commands")},
    "head_node_type": HEAD,
    "available_node_types": {
        HEAD: {"resources": {"CPU": 0, "object_store_memory": STORE}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": STORE},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 3,
        },
    },
}
MACHINES = """
from batchmill.workspace.ray_cluster import cluster_nodes, connect
connect("127.0.0.1:6379")
print(sum(node.alive and node.total.get("CPU", 0) > 0 for node in cluster_nodes()))
"""


class Machine:
    """A machine of one's own with a head that scales, and the command in it."""

    def __init__(self, into: list[str], project: Project) -> None:
        self._into, self._project = into, project
        settings = {"RAY_FAKE_CLUSTER": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        settings |= ENVIRONMENT
        self.environment = project.environment(settings)
        (project.folder / "provider.json").write_text(json.dumps(PROVIDER))
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--autoscaling-config=provider.json"]
        options = ["--num-cpus=0", "--node-ip-address=127.0.0.1", f"--object-store-memory={STORE}", "--include-dashboard=false"]
        quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.head = subprocess.Popen([*into, *ray, *options], env=self.environment, **quiet)

    def run(self, *command: str, timeout: float = BOUND) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._into, *command], env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)

    def said(self, *words: str) -> str:
        """What the command prints; it must succeed."""
        ended = self.run(str(BATCHMILL), *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def machines(self) -> str:
        """How many machines with cores the cluster has now; what went wrong while it does not answer."""
        ended = self.run(sys.executable, "-c", MACHINES)
        return ended.stdout.strip() if ended.returncode == 0 else ended.stderr

    def until(self, machines: int) -> None:
        deadline = time.monotonic() + BOUND
        while (found := self.machines()) != str(machines):
            assert time.monotonic() < deadline, f"{found} machines instead of {machines}"


@pytest.fixture
def machine(scored: Project) -> Iterator[Machine]:
    pytest.importorskip("ray", reason="NOT TESTED on Ray: it is not installed")
    with own_machine(scored.folder) as into:
        made = Machine(into, scored)
        yield made
        made.head.kill()
        made.head.wait()


def test_from_none_to_three_and_back(machine: Machine, scored: Project) -> None:
    machine.until(0)
    machine.said("workspace", "create", "default")
    machine.said("workspace", "update", "--set", "compute_provider=ray:127.0.0.1:6379")
    machine.said("compute", "create", "cpu", "--max-nodes", "3", "--idle-seconds", "5")
    machine.until(0)
    where = ["--compute", "cpu", "--nodes", "3", "--output", "out"]
    command = [str(BATCHMILL), "run", "score.py", "--input", "in", "--mini-batch-size", "1", "--env", f"GATE={scored.folder / 'gate'}"]
    run = subprocess.Popen([*machine._into, *command, *where], env=machine.environment, stderr=subprocess.PIPE, text=True)
    machine.until(3)
    status = json.loads(machine.said("compute", "show", "cpu", "--json"))["status"]
    assert (status["targetNodeCount"], status["nodeStateCounts"]["runningNodeCount"]) == (3, 3)
    (scored.folder / "gate").touch()
    _, error = run.communicate(timeout=BOUND)
    assert run.returncode == 0, error
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    machine.until(0)
    status = json.loads(machine.said("compute", "show", "cpu", "--json"))["status"]
    assert (status["currentNodeCount"], status["targetNodeCount"], status["errors"]) == (0, 0, None)
