"""Whole runs of pipelines of script steps: a runner of its own, real processes, folders and the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchmill.pipeline.graph import Parameter, Reference
from batchmill.workspace.workspace import Workspace
from tests.pipeline_runs import ended, input_from, log, node, output, std_log, steps, submitted

MAKES = """
import os, sys
print("made by", os.environ["AZUREML_RUN_ID"])
assert not os.path.exists(sys.argv[1]), sys.argv[1]
os.makedirs(sys.argv[1])
with open(os.path.join(sys.argv[1], "a.txt"), "w") as file:
    file.write(sys.argv[2])
"""
READS = """
import os, sys
print(open(os.path.join(sys.argv[1], "a.txt")).read() + "!", os.environ["scores"], os.environ["AZUREML_DATAREFERENCE_scores"])
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    return Workspace.create("team", show_output=False)


def test_two_steps_and_what_flows_between_them(ws: Workspace, tmp_path: Path) -> None:
    out = Reference("output", "scores")
    first = node(ws, tmp_path, "first", MAKES, [out, Reference("parameter", "word")], outputs=(output("scores"),))
    second = node(ws, tmp_path, "second", READS, [Reference("input", "scores")], inputs=(input_from(first, "scores"),))
    run = ended(ws, submitted(ws, [first, second], {"word": Parameter("word", "string", "hello")}).id)
    assert (run.status, run.error) == ("Completed", None), log(ws, run.id)
    found = steps(ws, run.id)
    assert {name: step.status for name, step in found.items()} == {"first": "Completed", "second": "Completed"}
    folder = ws.folder / "workspaceblobstore" / "azureml" / found["first"].id / "scores"
    assert std_log(found["second"]) == f"hello! {folder} {folder}\n"
    place = {"datastore": "workspaceblobstore", "path": f"azureml/{found['first'].id}/scores"}
    assert found["first"].details["outputs"] == {"scores": place}
    kept = ws.folder / "workspaceblobstore" / "azureml" / "ExperimentRun" / f"dcid.{found['first'].id}" / "user_logs" / "std_log.txt"
    assert kept.read_text() == f"made by {found['first'].id}\n"
    assert found["first"].tags == {"azureml.nodeid": first.id, "azureml.pipeline": run.id}
    assert json.dumps(run.as_dict())
