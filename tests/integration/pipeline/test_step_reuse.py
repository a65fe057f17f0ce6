"""Reuse of steps: an earlier run stands for the same step, and the reason is told both ways."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.graph import DatasetSource, InputPort, Node, Parameter, PathSource, Reference
from batchmill.pipeline.reuse import NODE_ID, PIPELINE_ID, RUN_ID
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.environment import Environment
from batchmill.workspace.model import Model
from batchmill.workspace.registered_run import RegisteredRun
from batchmill.workspace.workspace import Workspace
from tests import pipeline_runs
from tests.pipeline_runs import ended, input_from, log, output, steps, submitted

MAKES = """
import os, sys
os.makedirs(sys.argv[1], exist_ok=True)
with open(os.path.join(sys.argv[1], "a.txt"), "w") as file:
    file.write(sys.argv[2])
"""
READS = """
import os, sys
print(sorted(os.listdir(sys.argv[1])))
"""
ASKS = """
from azureml.core.model import Model
print(Model.get_model_path("churn"))
"""


def node(ws: Workspace, folder: Path, name: str, text: str, arguments: Any = (), **more: Any) -> Node:
    return pipeline_runs.node(ws, folder, name, text, arguments, **{"allow_reuse": True, **more})


def carried_out(ws: Workspace, nodes: list[Node], declared: dict[str, Parameter] | None = None, **details: Any) -> dict[str, RegisteredRun]:
    run = ended(ws, submitted(ws, nodes, declared, **details).id)
    assert run.status == "Completed", log(ws, run.id)
    return steps(ws, run.id)


def told(step: RegisteredRun) -> str:
    return str(step.details["reuse"])


def two(ws: Workspace, folder: Path, word: str = "hello", **more: Any) -> list[Node]:
    first = node(ws, folder, "first", MAKES, [Reference("output", "scores"), word], outputs=(output("scores"),), **more)
    return [first, node(ws, folder, "second", READS, [Reference("input", "scores")], inputs=(input_from(first, "scores"),), **more)]


def test_the_same_pipeline_again_is_reused(ws: Workspace, tmp_path: Path) -> None:
    before = carried_out(ws, two(ws, tmp_path))
    assert told(before["first"]) == "runs: no earlier run of this step has completed"
    for _ in range(2):
        after = carried_out(ws, two(ws, tmp_path))
        assert told(after["first"]) == "reused: same script, environment"
        assert told(after["second"]) == "reused: same script, inputs, environment"
        first = before["first"]
        labels = {RUN_ID: first.id, NODE_ID: first.tags["azureml.nodeid"], PIPELINE_ID: first.parent}
        assert {name: after["first"].properties[name] for name in labels} == labels
        assert after["first"].details["outputs"] == first.details["outputs"]
        assert after["first"].status == "Completed"
        assert not (Path(after["first"].folder) / "logs").exists()


def test_what_changed_is_named(ws: Workspace, tmp_path: Path) -> None:
    carried_out(ws, two(ws, tmp_path))
    after = carried_out(ws, two(ws, tmp_path, "there"))
    assert told(after["first"]) == "runs again: argument hello -> there"
    assert told(after["second"]) == "runs again: input 'scores': 1 file changed"
    again = carried_out(ws, two(ws, tmp_path, environment_variables={"LEVEL": "2"}))
    assert told(again["first"]) == "runs again: argument there -> hello, variable LEVEL changed"
    nodes = two(ws, tmp_path)
    nodes[0] = node(ws, tmp_path, "first", MAKES + "# better\n", nodes[0].arguments, outputs=nodes[0].outputs)
    assert told(carried_out(ws, nodes)["first"]).startswith("runs again: script script.py changed")


def test_content_of_inputs_counts(ws: Workspace, tmp_path: Path) -> None:
    store = ws.folder / "workspaceblobstore" / "images"
    store.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (store / name).write_text(name)
    dataset = Dataset.File.from_files((ws.get_default_datastore(), "images/*"))
    dataset.save(ws)
    source = DatasetSource("file", dataset.definition.to_dict(), dataset.id)
    ports = (InputPort("images", source), InputPort("place", PathSource("workspaceblobstore", "images")))
    one = node(ws, tmp_path, "reads", READS, [Reference("input", "images")], inputs=ports)
    carried_out(ws, [one])
    assert told(carried_out(ws, [one])["reads"]) == "reused: same script, inputs, environment"
    (store / "d").write_text("d")
    (store / "a").write_text("changed")
    (store / "b").unlink()
    found = told(carried_out(ws, [one])["reads"])
    assert found == "runs again: input 'images': 1 file changed, 1 new, 1 gone, input 'place': 1 file changed, 1 new, 1 gone"
    os.utime(store / "c", (1, 1))
    assert told(carried_out(ws, [one])["reads"]).startswith("runs again: input 'images': 1 file changed")
    assert told(carried_out(ws, [one])["reads"]) == "reused: same script, inputs, environment"


def test_parameters_count_by_their_values(ws: Workspace, tmp_path: Path) -> None:
    size = {"size": Parameter("size", "int", 1)}
    one = node(ws, tmp_path, "one", "print('x')", [Reference("parameter", "size")], params={"size": Reference("parameter", "size")})
    carried_out(ws, [one], size)
    found = carried_out(ws, [one], {"size": Parameter("size", "int", 2)})
    assert told(found["one"]) == "runs again: argument 1 -> 2, parameter size: 1 -> 2"
    assert told(carried_out(ws, [one], size)["one"]) == "reused: same script, environment"


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_outputs_must_be_as_they_were_left(ws: Workspace, tmp_path: Path, how: str) -> None:
    before = carried_out(ws, two(ws, tmp_path))["first"]
    kept = ws.folder / "workspaceblobstore" / before.details["outputs"]["scores"]["path"] / "a.txt"
    if how == "gone":
        kept.unlink()
    else:
        kept.write_text("mine")
    found = told(carried_out(ws, two(ws, tmp_path))["first"])
    assert found == f"runs again: output 'scores' of run {before.id}{' is gone' if how == 'gone' else ': 1 file changed'}"


@pytest.mark.parametrize("more", [{"source_globs": "*.csv", "mode": "upload"}, {"path_on_compute": "made"}], ids=["globs", "path"])
def test_how_outputs_are_written_counts(ws: Workspace, tmp_path: Path, more: dict[str, Any]) -> None:
    for kept in ({"mode": more.get("mode", "mount")}, more):
        one = node(ws, tmp_path, "one", MAKES, [Reference("output", "o"), "x"], outputs=(output("o", **kept),))
        found = told(carried_out(ws, [one])["one"])
    assert found == "runs again: output 'o' is another"


def test_datasets_as_parameters_count_by_what_they_are(ws: Workspace, tmp_path: Path) -> None:
    one = node(ws, tmp_path, "one", "print('x')", params={"data": Reference("parameter", "data")})
    for name in ("a", "b"):
        path = ws.folder / "workspaceblobstore" / name / "file"
        path.parent.mkdir(parents=True)
        path.write_text(name)
        dataset = Dataset.File.from_files((ws.get_default_datastore(), name))
        dataset.save(ws)
        given = {"type": "file", "definition": dataset.definition.to_dict(), "id": dataset.id}
        found = told(carried_out(ws, [one], {"data": Parameter("data", "dataset", given)})["one"])
    assert found == "runs again: parameter data is another"


def test_never_and_regenerate(ws: Workspace, tmp_path: Path) -> None:
    never = node(ws, tmp_path, "never", "print('x')", allow_reuse=False)
    one = node(ws, tmp_path, "one", "print('x')")
    carried_out(ws, [never, one])
    found = carried_out(ws, [never, one], regenerate_outputs=True)
    assert told(found["never"]) == "runs: allow_reuse is False"
    assert told(found["one"]) == "runs again: regenerate_outputs"
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, environment"
    assert found["one"].id in carried_out(ws, [one])["one"].properties[RUN_ID]


def test_a_failed_run_is_never_reused(ws: Workspace, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    one = node(ws, tmp_path, "one", f"import os, sys; sys.exit(0 if os.path.exists({str(flag)!r}) else 'no')")
    assert ended(ws, submitted(ws, [one]).id).status == "Failed"
    flag.touch()
    assert told(carried_out(ws, [one])["one"]) == "runs: no earlier run of this step has completed"


def test_names_that_the_script_asked_for_are_resolved_again(ws: Workspace, tmp_path: Path) -> None:
    weights = tmp_path / "weights.txt"
    weights.write_text("1")
    Model.register(ws, str(weights), "churn")
    one = node(ws, tmp_path, "one", ASKS)
    carried_out(ws, [one])
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, model v1, environment"
    weights.write_text("2")
    Model.register(ws, str(weights), "churn")
    assert told(carried_out(ws, [one])["one"]) == "runs again: model v1 -> v2"
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, model v2, environment"


def test_never_across_workspaces(ws: Workspace, tmp_path: Path) -> None:
    carried_out(ws, [node(ws, tmp_path, "one", "print('x')")])
    other = Workspace.create("other", show_output=False)
    assert told(carried_out(other, [node(other, tmp_path, "one", "print('x')")])["one"]).startswith("runs: no earlier run")


READS_BY_NAME = """
from azureml.core import Dataset, Run
print(len(Dataset.get_by_name(Run.get_context().experiment.workspace, "labels").to_path()))
"""


def test_what_an_asked_dataset_holds_counts(ws: Workspace, tmp_path: Path) -> None:
    store = ws.folder / "workspaceblobstore" / "labels"
    store.mkdir(parents=True)
    (store / "a").write_text("a")
    Dataset.File.from_files((ws.get_default_datastore(), "labels")).register(ws, "labels")
    one = node(ws, tmp_path, "one", READS_BY_NAME)
    carried_out(ws, [one])
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, environment"
    (store / "a").write_text("another")
    (store / "b").write_text("b")
    assert told(carried_out(ws, [one])["one"]) == "runs again: dataset labels: 1 file changed, 1 new"
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, environment"
    shutil.rmtree(store)
    store.mkdir()
    (store / "c").write_text("c")
    assert told(carried_out(ws, [one])["one"]) == "runs again: dataset labels: 1 file new, 2 gone"


def test_packages_of_an_interpreter_of_one_s_own_count(ws: Workspace, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "own")], check=True)
    environment = Environment("mine")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = str(tmp_path / "own" / "bin" / "python")
    one = node(ws, tmp_path, "one", "print('x')", environment=environment.to_dict())
    carried_out(ws, [one])
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, environment"
    (packages,) = (tmp_path / "own" / "lib").glob("python*/site-packages")
    (packages / "made_up-1.9.dist-info").mkdir()
    assert told(carried_out(ws, [one])["one"]) == "runs again: package made_up none -> 1.9"


def test_a_datastore_that_leads_elsewhere_is_another_place(ws: Workspace, tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name[-4:])
        os.utime(tmp_path / name / "file", (1, 1))
    Datastore.register_local_folder(ws, "store", str(tmp_path / "here"))
    port = InputPort("place", PathSource("store", ""))
    one = node(ws, tmp_path, "one", READS, [Reference("input", "place")], inputs=(port,))
    carried_out(ws, [one])
    assert told(carried_out(ws, [one])["one"]) == "reused: same script, inputs, environment"
    Datastore.register_local_folder(ws, "store", str(tmp_path / "there"), overwrite=True)
    assert told(carried_out(ws, [one])["one"]) == "runs again: input 'place' is another"
