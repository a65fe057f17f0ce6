"""Runs whose script asks for a dataset of the workspace that the run names, and for nothing else of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchmill.workspace.database import close_databases
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.workspace import Workspace
from tests.integration.test_reuse import Scene

LABELS = """
import os
from azureml.core import Dataset, Run
def init():
    global labels
    workspace = Run.get_context().experiment.workspace
    paths = Dataset.get_by_name(workspace, "labels").download({target!r}, overwrite=True)
    labels = workspace.name + ",".join(open(path).read() for path in sorted(paths))
def run(mini_batch):
    return [os.path.basename(path) + labels for path in mini_batch]
"""


def test_the_dataset_is_that_of_the_named_workspace_and_what_it_holds_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    scene = Scene(tmp_path)
    ws = Workspace.create("team", show_output=False)
    folder = ws.folder / "workspaceblobstore" / "labels"
    folder.mkdir(parents=True)
    (folder / "one").write_text("1")
    Dataset.File.from_files((ws.get_default_datastore(), "labels")).register(ws, "labels")
    scene.script(LABELS, target=str(tmp_path / "got"))
    more: dict[str, Any] = {"workspace": "team", "workers": 1}
    scene.files("a", "b", "c")
    scene.run(**more)
    assert scene.output == b"ateam1\nbteam1\ncteam1\n"
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == 2
    (folder / "two").write_text("2")
    found = scene.run(**more)
    assert found is not None
    assert found.lines == ("Runs all again: dataset labels: 1 file new.",)
    assert scene.output == b"ateam1,2\nbteam1,2\ncteam1,2\n"
    close_databases()
