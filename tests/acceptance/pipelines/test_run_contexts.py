"""What scripts see of their run: both kinds of steps of a pipeline, and a plain run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azureml.core import Dataset, Environment, Experiment, Model
from azureml.data import OutputFileDatasetConfig
from azureml.pipeline.core import Pipeline, PipelineData
from azureml.pipeline.steps import PythonScriptStep

from tests.acceptance.pipelines.conftest import rows_of, write
from tests.conftest import Project

TRAIN = """
import json, os, subprocess, sys
from azureml.core import Dataset, Model, Run
run = Run.get_context(allow_offline=False)
run.log("loss", 0.5)
run.log_row("row", a=1)
run.parent.log("of the pipeline", 2)
run.tag("seen", "yes")
labels = Dataset.get_by_name(run.experiment.workspace, "labels")
rows = run.input_datasets["rows"].to_pandas_dataframe()
with open(os.path.join(run.output_datasets["out"], "rows.txt"), "w") as file:
    file.write(str(len(rows)))
run.upload_file("outputs/rows.txt", os.path.join(run.output_datasets["out"], "rows.txt"))
model = run.register_model("made", model_path="outputs/rows.txt")
child = "from azureml.core import Run; run = Run.get_context(); run.log('child', run.experiment.name)"
subprocess.run([sys.executable, "-c", child], check=True)
print("told", labels.version, run.experiment.name, run.parent.id, open(Model.get_model_path("known")).read(), model.version)
"""
SCORE = """
import os
from azureml.core import Dataset, Model, Run

def init():
    global run_, labels
    run_ = Run.get_context(allow_offline=False)
    labels = Dataset.get_by_name(run_.experiment.workspace, "labels")
    assert Run.get_context().input_datasets["side"] and open(os.path.join(run_.input_datasets["side"], "a.txt")).read() == "side"

def run(mini_batch):
    run_.log("files", len(mini_batch))
    return [f"{os.path.basename(path)} {labels.version} {run_.parent.id} {run_.experiment.name}" for path in mini_batch]
"""


@pytest.fixture
def data(ws: Any) -> dict[str, Any]:
    write(Path("labels"), {"l.txt": "l"})
    write(Path("side"), {"a.txt": "side"})
    write(Path("files"), {f"{n}.txt": str(n) for n in range(4)})
    write(Path("."), {"rows.csv": "a,b\n1,2\n3,4\n", "m.txt": "model"})
    Dataset.File.from_files("labels").register(ws, "labels")
    Model.register(ws, "m.txt", "known")
    return {
        "rows": Dataset.Tabular.from_delimited_files("rows.csv"),
        "side": Dataset.File.from_files("side"),
        "files": Dataset.File.from_files("files"),
    }


def test_a_script_step_sees_its_run(ws: Any, data: dict[str, Any]) -> None:
    write(Path("s"), {"train.py": TRAIN})
    out = OutputFileDatasetConfig("out")
    step = PythonScriptStep(
        "train.py", compute_target="local", inputs=[data["rows"].as_named_input("rows")], outputs=[out], source_directory="s"
    )
    run = Experiment(ws, "contexts").submit(Pipeline(ws, [step]))
    run.wait_for_completion(show_output=False)
    (done,) = run.find_step_run("train.py")
    assert f"told 1 contexts {run.id} model 1" in done.get_job_log()
    assert done.get_metrics() == {"loss": 0.5, "row": {"a": 1}, "child": "contexts"}
    assert run.get_metrics() == {"of the pipeline": 2}
    assert done.get_tags()["seen"] == "yes"
    assert "outputs/rows.txt" in done.get_file_names()
    made = Model(ws, "made")
    assert (made.run_id, Path(made.download("got")).read_text()) == (done.id, "2")


def test_the_scripts_of_a_parallel_step_see_the_run_of_the_step(ws: Any, data: dict[str, Any]) -> None:
    from batchmill.pipeline.parallel_run_config import ParallelRunConfig
    from batchmill.pipeline.parallel_run_step import ParallelRunStep

    write(Path("p"), {"score.py": SCORE})
    config = ParallelRunConfig(
        environment=Environment("e"),
        entry_script="score.py",
        source_directory="p",
        error_threshold=0,
        output_action="append_row",
        compute_target="local",
        node_count=1,
        process_count_per_node=2,
        mini_batch_size="1",
    )
    out = PipelineData("out", datastore=ws.get_default_datastore())
    step = ParallelRunStep(
        name="score",
        parallel_run_config=config,
        inputs=[data["files"].as_named_input("files")],
        side_inputs=[data["side"].as_named_input("side").as_mount()],
        output=out,
    )
    run = Experiment(ws, "contexts").submit(Pipeline(ws, [step]))
    run.wait_for_completion(show_output=False)
    assert rows_of(run, "score", "out", Path("got")) == [f"{n}.txt 1 {run.id} contexts" for n in range(4)]
    (done,) = run.find_step_run("score")
    logged = done.get_metrics()["files"]
    assert logged == [1, 1, 1, 1]
    known = ws.registry.run(done.id)
    assert known.details["bound"]["datasets"]["labels"]["version"] == 1


PLAIN = """
from azureml.core import Run

def init():
    global context
    context = Run.get_context(allow_offline=False)
    context.tag("kind", "plain")

def run(mini_batch):
    context.log("files", len(mini_batch))
    told = context.id, "files" in context.get_metrics(), context.tags, context.parent, context.input_datasets
    return [" ".join(map(str, told))] * len(mini_batch)
"""


def test_a_plain_run_keeps_what_its_scripts_log_in_its_folder(project: Project) -> None:
    project.write({"s.py": PLAIN, "in/a.txt": "a", "in/b.txt": "b"})
    done = project.batchmill("run", "s.py", "--input", "in", "--mini-batch-size", "1", "--workers", "2", "--output", "out")
    assert done.returncode == 0, done.stderr
    (folder,) = (project.home / "runs").iterdir()
    rows = project.read("out/parallel_run_step.txt").splitlines()
    assert rows == [f"{folder.name} True {{'kind': 'plain'}} None {{}}"] * 2
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [one["value"] for one in lines if one["name"] == "files"] == [1, 1]
    assert not (project.home / "workspaces").exists()


def test_a_run_in_a_workspace_keeps_what_its_scripts_log_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchmill.workspace.workspace import Workspace

    project.write({"s.py": PLAIN, "in/a.txt": "a"})
    assert project.batchmill("workspace", "create", "team").returncode == 0
    monkeypatch.setenv("BATCHMILL_HOME", str(project.home))
    Dataset.File.from_files(str(project.folder / "in")).register(Workspace.get("team"), "texts")
    done = project.batchmill("run", "s.py", "--input", "dataset:texts", "--output", "out", "--workspace", "team")
    assert done.returncode == 0, done.stderr
    (folder,) = (project.home / "runs").iterdir()
    registry = Workspace.get("team").registry
    assert [(one.name, one.value) for one in registry.metrics(folder.name)] == [("files", 1)]
    assert not (folder / "metrics.jsonl").exists()
