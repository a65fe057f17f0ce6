"""The files of examples/clusters, as far as they can be tried without Kubernetes, a cloud, ssh or Slurm."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Project
from tests.own_machine import own_machine

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "clusters"
LAUNCHER_FILES = ["machines.yaml", "azure.yaml"]
SPEC = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
AUTOSCALER = {"version", "upscalingMode", "idleTimeoutSeconds", "resources", "image", "imagePullPolicy", "env"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
STAND_INS = {
    "srun": '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\nprintf 'node1\\nnode2\\n'\n",
    "hostname": "#!/bin/bash\necho 127.0.0.1 fd00::1\n",
}
STATUS = 'until (($(ray status | grep -c "^ 1 node_") == 2)); do :; done; echo "$RAY_ADDRESS $BATCHMILL_HOME"'


def _yaml(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))


def test_ray_cluster_of_kuberay() -> None:
    document = _yaml("kuberay.yaml")
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayCluster")
    spec = document["spec"]
    assert set(spec) == SPEC
    assert spec["enableInTreeAutoscaling"] is True
    assert set(spec["autoscalerOptions"]) <= AUTOSCALER
    assert set(spec["headGroupSpec"]) <= GROUP
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "the head does no work"
    for group in spec["workerGroupSpecs"]:
        assert set(group) == GROUP
        assert (group["replicas"], group["minReplicas"]) == (0, 0)
        assert group["maxReplicas"] > 0
        assert re.fullmatch(r"[a-z0-9-]+", group["groupName"])


def test_pods_of_kuberay() -> None:
    spec = _yaml("kuberay.yaml")["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "parameters of ray start are strings"
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == f"batchmill-ray:{spec['rayVersion']}"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert all(isinstance(value, str) for value in container["resources"]["limits"].values())
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_versions_of_ray_agree() -> None:
    import ray

    version = _yaml("kuberay.yaml")["spec"]["rayVersion"]
    assert version == ray.__version__
    assert f"rayproject/ray:{version}-" in (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
    for name in LAUNCHER_FILES:
        assert any(f"ray[default]=={version}" in command for command in _yaml(name)["setup_commands"])


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_launcher_files_are_valid_for_ray(name: str) -> None:
    launcher = pytest.importorskip("ray.autoscaler._private.util", reason="NOT TESTED: this Ray has its launcher elsewhere")
    prepared: Mapping[str, Any] = launcher.prepare_config(_yaml(name))
    launcher.validate_config(prepared)
    workers = [kind for key, kind in prepared["available_node_types"].items() if key != prepared["head_node_type"]]
    assert prepared["max_workers"] == (20 if workers else 3)
    assert all(kind["min_workers"] == 0 for kind in workers)


def test_the_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=True)


def _slurm(project: Project, machine: list[str], *command: str) -> subprocess.CompletedProcess[str]:
    project.write({f"bin/{name}": text for name, text in STAND_INS.items()})
    for name in STAND_INS:
        (project.folder / "bin" / name).chmod(0o755)
    environment = project.environment({"HOME": str(project.folder), "SLURM_SUBMIT_DIR": str(project.folder)})
    environment |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "PATH": f"{project.folder}/bin:{environment['PATH']}"}
    del environment["BATCHMILL_HOME"]
    words = [*machine, "bash", str(EXAMPLES / "slurm.sh"), *command]
    out = project.folder / "job.txt"  # Ray's processes hold on to it for a moment after the end of the job
    with out.open("w") as file:
        ended = subprocess.run(words, cwd=project.folder, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=150, check=False)
    return subprocess.CompletedProcess(words, ended.returncode, out.read_text())


@pytest.mark.slow
def test_a_slurm_job_brings_up_a_cluster(project: Project) -> None:
    with own_machine(project.folder) as machine:
        ended = _slurm(project, machine, "bash", "-c", STATUS)
        assert ended.returncode == 0, ended.stdout
        assert f"127.0.0.1:6379 {project.folder}/batchmill-runs" in ended.stdout


@pytest.mark.slow
def test_a_slurm_job_ends_as_its_command(project: Project) -> None:
    with own_machine(project.folder) as machine:
        assert _slurm(project, machine, "bash", "-c", "exit 7").returncode == 7
