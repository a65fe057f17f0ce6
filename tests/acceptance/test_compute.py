"""Compute targets as a user of the SDK and of the command meets them (specification H1, K79)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.database import close_databases
from batchmill.workspace.exceptions import ComputeTargetException, UserErrorException
from batchmill.workspace.pool_lease import acquire
from batchmill.workspace.workspace import Workspace
from tests.conftest import Project


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    yield Workspace.create("default", location="westeurope", show_output=False)
    close_databases()


def made(ws: Workspace, name: str = "cpu-cluster", **configuration: Any) -> AmlCompute:
    return ComputeTarget.create(ws, name, AmlCompute.provisioning_configuration(**{"max_nodes": 4, **configuration}))


def test_k79_numbers_may_be_texts(ws: Workspace) -> None:
    target = made(ws, vm_size="STANDARD_D2_V2", min_nodes="0", max_nodes="4", idle_seconds_before_scaledown="60")
    scale = target.scale_settings
    assert (scale.minimum_node_count, scale.maximum_node_count, scale.idle_seconds_before_scaledown) == (0, 4, 60)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"max_nodes": None}, "Invalid provisioning configuration, max nodes count is mandatory"),
        ({"max_nodes": ""}, "Invalid provisioning configuration, max nodes count is mandatory"),
        ({"max_nodes": -1}, "Invalid provisioning configuration, max nodes count must be greater than or equal to 0"),
        (
            {"min_nodes": 5, "max_nodes": 4},
            "Invalid provisioning configuration, max nodes count must be greater than or equal to min nodes count",
        ),
        ({"max_nodes": 10**9}, "Invalid provisioning configuration, max nodes count must be less than or equal to 65000"),
        ({"min_nodes": -1}, "Invalid provisioning configuration, min nodes count must be greater than or equal to 0"),
        ({"max_nodes": "four"}, "Invalid provisioning configuration, max nodes count must be a whole number, not 'four'"),
        ({"max_nodes": 1.5}, "Invalid provisioning configuration, max nodes count must be a whole number, not 1.5"),
        ({"max_nodes": True}, "Invalid provisioning configuration, max nodes count must be a whole number, not True"),
        (
            {"idle_seconds_before_scaledown": -1},
            "Invalid provisioning configuration, idle seconds before scaledown must be greater than or equal to 0",
        ),
        ({"vm_priority": "spot"}, "Invalid provisioning configuration, vm_priority 'spot' must be dedicated or lowpriority"),
        (
            {"admin_username": "ada"},
            "Invalid provisioning configuration, admin_username needs a password or an SSH key",
        ),
        (
            {"admin_user_password": "hunter22"},
            "Invalid provisioning configuration, admin_username is mandatory with a password or an SSH key",
        ),
        (
            {"vnet_name": "net"},
            "Invalid provisioning configuration, vnet_resourcegroup_name, vnet_name and subnet_name must be given together",
        ),
    ],
)
def test_k79_configurations_that_cannot_be(configuration: dict[str, Any], message: str) -> None:
    with pytest.raises(ComputeTargetException) as refused:
        AmlCompute.provisioning_configuration(**{"max_nodes": 4, **configuration})
    assert refused.value.message == message


def test_k79_a_getter_of_an_unknown_name(ws: Workspace) -> None:
    text = "ComputeTargetNotFound: Compute Target with name nothing not found in provided workspace"
    for getter in (ComputeTarget, AmlCompute):
        with pytest.raises(ComputeTargetException) as missing:
            getter(workspace=ws, name="nothing")
        assert missing.value.message == text


def test_getters_give_an_aml_compute(ws: Workspace) -> None:
    target = made(ws)
    for opened in (
        ComputeTarget(workspace=ws, name="cpu-cluster"),
        ComputeTarget(ws, "cpu-cluster"),
        AmlCompute(ws, "cpu-cluster"),
        AmlCompute(workspace=ws, name="cpu-cluster"),
        ws.compute_targets["cpu-cluster"],
        target,
    ):
        assert type(opened) is AmlCompute
        assert isinstance(opened, ComputeTarget)
        assert (opened.name, opened.type, opened.provisioning_state) == ("cpu-cluster", "AmlCompute", "Succeeded")
    assert "cpu-cluster" in ws.compute_targets
    assert [one.name for one in ComputeTarget.list(ws)] == ["cpu-cluster"]


def test_a_compute_target_can_be_copied(ws: Workspace) -> None:
    target = made(ws)
    for copied in (copy.copy(target), copy.deepcopy(target)):
        assert (type(copied), copied.name, copied.get_status().target_node_count) == (AmlCompute, "cpu-cluster", 0)


def test_as_the_tutorial_makes_it(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """T: the names come from the environment, create is called with keywords, completion is waited for and shown."""
    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", min_nodes=0, max_nodes="4")
    target = ComputeTarget.create(workspace=ws, name="cpu-cluster", provisioning_configuration=configuration)
    target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    assert "AmlCompute wait for completion finished" in capsys.readouterr().out
    status = target.get_status().serialize()
    assert (status["vmSize"], status["vmPriority"]) == ("STANDARD_D2_V2", "Dedicated")
    assert json.dumps(status)
    assert target.serialize()["status"] == status


def test_attributes(ws: Workspace) -> None:
    target = made(ws, vm_size="standard_nc6", vm_priority="lowpriority", tags={"a": "b"}, description="GPUs")
    assert (target.vm_size, target.vm_priority, target.tags, target.description) == ("STANDARD_NC6", "lowpriority", {"a": "b"}, "GPUs")
    assert (target.location, target.workspace) == ("westeurope", ws)
    assert target.get_status().serialize()["vmPriority"] == "LowPriority"
    assert "cpu-cluster" in repr(target)
    assert "<th>Size</th><td>STANDARD_NC6</td>" in target._repr_html_()


def test_made_again_it_has_other_bounds(ws: Workspace) -> None:
    first = made(ws, max_nodes=2)
    second = made(ws, max_nodes=6, min_nodes=1)
    assert second.id == first.id
    first.refresh_state()
    assert first.scale_settings.maximum_node_count == 6


def test_update(ws: Workspace) -> None:
    target = made(ws)
    target.update(min_nodes="1", max_nodes=3)
    target.update(idle_seconds_before_scaledown=10)
    opened = AmlCompute(ws, "cpu-cluster").scale_settings
    assert (opened.minimum_node_count, opened.maximum_node_count, opened.idle_seconds_before_scaledown) == (1, 3, 10)
    with pytest.raises(ComputeTargetException, match="max nodes count must be greater than or equal to min nodes count"):
        target.update(max_nodes=0)
    target.delete()
    for refused in (target.delete, target.refresh_state, target.get_status, target.list_nodes, lambda: target.update(max_nodes=1)):
        with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
            refused()
    assert "cpu-cluster" not in ws.compute_targets


def test_detach_is_not_supported(ws: Workspace) -> None:
    with pytest.raises(ComputeTargetException) as refused:
        made(ws).detach()
    assert refused.value.message == "Detach is not supported for AmlCompute object. Try to use delete instead."


@pytest.mark.parametrize("name", ["amlcompute", "local", "containerinstance", "Local"])
def test_reserved_names(ws: Workspace, name: str) -> None:
    with pytest.raises(UserErrorException, match="reserved"):
        made(ws, name)


@pytest.mark.parametrize("name", ["", "a", "a" * 17, "a_b", "a b", "ü-cluster", None])
def test_names_that_are_none(ws: Workspace, name: str) -> None:
    with pytest.raises(ComputeTargetException, match="2 to 16 letters, digits and dashes"):
        made(ws, name)


def test_names_of_the_sources(ws: Workspace) -> None:
    for name in ("cpu-cluster", "cmp123456789012", "gpucluster"):
        assert made(ws, name).name == name


def test_an_unknown_size(ws: Workspace) -> None:
    with pytest.raises(ComputeTargetException, match=r"There is no vm_size 'STANDARD_NC7'\. The nearest names are STANDARD_NC6"):
        made(ws, vm_size="STANDARD_NC7")
    ws.registry.set_setting("vm_sizes", {"Standard_NC7": {"cores": 7, "memory_gib": 8}})
    assert made(ws, vm_size="STANDARD_NC7").vm_size == "STANDARD_NC7"
    assert {"name": "STANDARD_NC7", "vCPUs": 7, "gpus": 0, "memoryGB": 8.0} in AmlCompute.supported_vmsizes(ws)


def test_a_configuration_of_another_kind(ws: Workspace) -> None:
    with pytest.raises(ComputeTargetException, match="not from dict"):
        ComputeTarget.create(ws, "cpu", {"max_nodes": 4})  # type: ignore[arg-type]


def test_active_runs(ws: Workspace) -> None:
    target = made(ws)
    ws.registry.record_run("run1", name="score", status="Running", folder="/r", compute="cpu-cluster")
    lease = acquire(ws, "cpu-cluster", "run1", 2)
    assert lease is not None
    assert [run.id for run in target.get_active_runs()] == ["run1"]
    assert list(target.get_active_runs(status="Queued")) == []
    lease.release()
    assert list(target.get_active_runs()) == []


def test_the_default_compute_target(ws: Workspace) -> None:
    assert ws.get_default_compute_target("CPU") is None
    made(ws)
    ws.registry.set_setting("default_cpu_compute", "cpu-cluster")
    assert ws.get_default_compute_target("CPU").name == "cpu-cluster"
    assert ws.get_default_compute_target(type="GPU") is None
    with pytest.raises(UserErrorException, match="CPU or GPU"):
        ws.get_default_compute_target("TPU")


def test_the_command(project: Project) -> None:
    made = project.batchmill(
        "compute", "create", "cpu", "--max-nodes", "4", "--min-nodes", "1", "--vm-size", "standard_d2_v2", "--tag", "a=b"
    )
    assert (made.returncode, made.stderr) == (0, "Compute target cpu is ready: 1 to 4 nodes.\n")
    project.batchmill("compute", "create", "gpu", "--max-nodes", "1", "--low-priority")
    listed = [line.split() for line in project.batchmill("compute", "list").stdout.splitlines()]
    assert listed[0] == ["NAME", "SIZE", "NODES", "RUNNING", "IDLE", "MIN", "MAX"]
    assert listed[1] == ["cpu", "STANDARD_D2_V2", "1", "0", "1", "1", "4"]
    assert [target["name"] for target in json.loads(project.batchmill("compute", "list", "--json", "--after", "cpu").stdout)] == ["gpu"]
    changed = project.batchmill("compute", "update", "cpu", "--min-nodes", "0", "--max-nodes", "2", "--idle-seconds", "5")
    assert changed.stderr == "Compute target cpu has been changed: 0 to 2 nodes, idle for 5 seconds.\n"
    shown = json.loads(project.batchmill("compute", "show", "cpu", "--json").stdout)
    assert (shown["scaleSettings"]["maxNodeCount"], shown["tags"]) == (2, {"a": "b"})
    assert "bounds" in project.batchmill("compute", "show", "cpu").stdout
    assert project.batchmill("compute", "remove", "cpu").returncode == 0
    assert project.batchmill("compute", "list", "--json").stdout.count('"name"') == 1


def test_a_list_says_which_clusters_do_not_answer(project: Project) -> None:
    pytest.importorskip("ray", reason="NOT TESTED on Ray: it is not installed")
    project.batchmill("workspace", "create", "default")
    project.batchmill("workspace", "update", "--set", "compute_provider=ray:127.0.0.1:9")
    project.batchmill("compute", "create", "far", "--max-nodes", "2")
    listed = project.batchmill("compute", "list")
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 2)
    assert listed.stderr.startswith("far: No Ray cluster answers at 127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "local", "--max-nodes", "1"], "A compute target cannot be called 'local'"),
        (["create", "cpu"], "Missing option '--max-nodes'."),
        (["create", "cpu", "--max-nodes", "1", "--min-nodes", "2"], "Invalid provisioning configuration, max nodes count must be"),
        (["create", "cpu", "--max-nodes", "1", "--vm-size", "Standard_X"], "There is no vm_size 'STANDARD_X'."),
        (["show", "nothing"], "ComputeTargetNotFound: Compute Target with name nothing not found"),
        (["update", "nothing", "--max-nodes", "1"], "ComputeTargetNotFound: Compute Target with name nothing not found"),
        (["update", "nothing"], "Nothing to change was given."),
        (["remove", "nothing"], "ComputeTargetNotFound: Compute Target with name nothing not found"),
    ],
)
def test_what_the_command_refuses(project: Project, arguments: list[str], message: str) -> None:
    ended = project.batchmill("compute", *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: {message}")
    assert ended.stderr.count("\n") == 1
