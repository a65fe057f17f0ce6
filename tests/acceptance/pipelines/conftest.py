"""What a user of the SDK has: a workspace, a cluster, a folder to work in, images and tables behind a mirror."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A workspace in a home of its own, found by config.json; containers of account ``pipelinedata`` are folders below ``mirror/``."""
    from azureml.core import Workspace

    from batchmill.workspace.database import close_databases

    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BATCHMILL_MIRRORS", json.dumps({"pipelinedata": str(tmp_path / "mirror")}))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    workspace = Workspace.create("team", show_output=False)
    workspace.write_config()
    yield Workspace.from_config()
    close_databases()


@pytest.fixture
def cluster(ws: Any) -> Any:
    """A compute target of four nodes."""
    from azureml.core.compute import AmlCompute, ComputeTarget

    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes="4")
    return ComputeTarget.create(ws, "cpu-cluster", configuration)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """The folder that stands for the storage account ``pipelinedata``."""
    return tmp_path / "mirror"


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write ``{relative path: content}``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def rows_of(run: Any, step: str, output: str, folder: Path, name: str = "parallel_run_step.txt") -> list[str]:
    """The lines of the file of rows, downloaded as notebooks do it."""
    (step_run,) = run.find_step_run(step)
    port = step_run.get_output_data(output)
    port.download(local_path=str(folder))
    return (folder / port.path_on_datastore / name).read_text().splitlines()
