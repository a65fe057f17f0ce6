"""Where compute targets are, and what a node of them asks a cluster for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import SettingError
from batchmill.workspace.compute_provider import address_of, bundle_of, check_provider, cluster_of
from batchmill.workspace.database import close_databases
from batchmill.workspace.vm_sizes import GIB, find_size
from batchmill.workspace.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    yield Workspace.create("default", show_output=False)
    close_databases()


@pytest.mark.parametrize("text", ["local", "ray:auto", "ray:head:6379", "ray:ray://head:10001", "ray://head:10001", " ray:auto "])
def test_providers(text: str) -> None:
    assert check_provider(text) == text.strip()


@pytest.mark.parametrize("text", ["", "ray", "slurm:x", "RAY:auto"])
def test_no_providers(text: str) -> None:
    with pytest.raises(SettingError, match="it must be local or ray:ADDRESS"):
        check_provider(text)


def test_a_bundle_is_what_the_size_says() -> None:
    assert bundle_of(find_size("STANDARD_D2_V2")) == {"CPU": 2.0, "memory": float(int(7 * GIB * 0.6))}
    own = {"box": {"cores": 3, "memory_gib": 10, "gpus": 2, "resources": {"fast_disk": 0.5, "accelerator_type:T4": 1}}}
    size = find_size("box", own)
    assert size.resources == (("accelerator_type:T4", 1.0), ("fast_disk", 0.5))
    assert bundle_of(size) == {"CPU": 3.0, "memory": 6.0 * GIB, "GPU": 2.0, "fast_disk": 0.5, "accelerator_type:T4": 1.0}


def test_the_workspace_says_where(ws: Workspace) -> None:
    elastic = {"type": "AmlCompute", "min_nodes": 0, "max_nodes": 2, "idle_seconds": 60, "vm_size": "", "vm_priority": "dedicated"}
    attached = {"type": "RayCompute", "address": "head:6379"}
    assert (address_of(ws, elastic), address_of(ws, attached)) == (None, "head:6379")
    ws.registry.set_setting("compute_provider", "ray:ray://head:10001")
    assert (address_of(ws, elastic), address_of(ws, attached)) == ("ray://head:10001", "head:6379")
    assert cluster_of(ws, "cpu") is None
    ws.registry.put("compute", "cpu", elastic)
    assert cluster_of(ws, "cpu") == "ray://head:10001"
    ws.registry.set_setting("compute_provider", "ray://head:10001")
    assert cluster_of(ws, "cpu") == "ray://head:10001"
    ws.registry.set_setting("compute_provider", "local")
    assert cluster_of(ws, "cpu") is None
