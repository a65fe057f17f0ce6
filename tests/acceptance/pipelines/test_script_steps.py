"""Pipelines of Python scripts as the SDK's notebooks write them: data between steps, parameters, order, failures (K70, K71, K74, K75)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from azureml.core import Dataset, Experiment, Run
from azureml.core.runconfig import RunConfiguration
from azureml.data import OutputFileDatasetConfig
from azureml.data.data_reference import DataReference
from azureml.data.datapath import DataPath, DataPathComputeBinding
from azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from azureml.exceptions import ActivityFailedException
from azureml.pipeline.core import Pipeline, PipelineData, PipelineParameter, StepSequence
from azureml.pipeline.core.run import PipelineRun, StepRun
from azureml.pipeline.steps import CommandStep, PythonScriptStep

from tests.acceptance.pipelines.conftest import write

TRAIN = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--input_data")
parser.add_argument("--output_train")
args = parser.parse_args()
os.makedirs(args.output_train, exist_ok=True)
with open(os.path.join(args.input_data, "in.txt")) as source, open(os.path.join(args.output_train, "out.txt"), "w") as target:
    target.write(source.read().upper())
"""
COMPARE = """
import sys, os
assert os.environ["AML_PARAMETER_mode"] == "strict"
print("compared", open(os.path.join(sys.argv[1], "out.txt")).read(), sys.argv[2])
"""


@pytest.fixture
def experiment(ws: Any) -> Experiment:
    return Experiment(ws, "scripts")


def test_data_from_step_to_step(ws: Any, cluster: Any, experiment: Experiment) -> None:
    write(Path("train"), {"train.py": TRAIN})
    write(Path("compare"), {"compare.py": COMPARE})
    store = ws.get_default_datastore()
    write(Path("upload"), {"in.txt": "words"})
    store.upload("upload", target_path="raw", show_progress=False)
    raw = DataReference(datastore=store, data_reference_name="raw_data", path_on_datastore="raw")
    trained = PipelineData("trained_data", datastore=store)
    PythonScriptStep(
        script_name="train.py",
        arguments=["--input_data", raw, "--output_train", trained],
        inputs=[raw],
        outputs=[trained],
        compute_target=cluster,
        runconfig=RunConfiguration(),
        source_directory="train",
    )
    compare = PythonScriptStep(
        script_name="compare.py",
        name="compare",
        arguments=[trained, PipelineParameter("count", 3)],
        inputs=[trained],
        params={"mode": "strict"},
        compute_target="cpu-cluster",
        source_directory="compare",
    )
    pipeline = Pipeline(workspace=ws, steps=[compare])
    assert pipeline.validate() == []
    run = experiment.submit(pipeline, pipeline_parameters={"count": 4}, tags={"who": "me"})
    assert run.wait_for_completion(show_output=False) == "Finished"
    assert [type(one) for one in run.get_steps()] == [StepRun, StepRun]
    (step,) = run.find_step_run("train.py")
    assert step.get_status() == "Finished"
    port = step.get_output_data("trained_data")
    assert port.path_on_datastore == f"azureml/{step.id}/trained_data"
    assert list(step.get_outputs()) == ["trained_data"]
    port.download("got")
    assert Path("got", port.path_on_datastore, "out.txt").read_text() == "WORDS"
    assert "compared WORDS 4" in run.find_step_run("compare")[0].get_stdout_log()
    assert run.find_step_run("nobody") == []
    assert run.get_details()["status"] == "Completed"
    again = PipelineRun(experiment, run.id)
    assert (again.get_status(), again.tags["who"]) == ("Finished", "me")
    assert isinstance(ws.get_run(run.id), PipelineRun)
    assert [one.id for one in ws.experiments["scripts"].get_runs()] == [run.id]
    logs = Path(store.connection.root, "azureml", "ExperimentRun", f"dcid.{step.id}", "user_logs", "std_log.txt")
    assert logs.exists()


def test_a_step_after_the_pipeline_was_constructed(ws: Any, experiment: Experiment) -> None:
    write(Path("s"), {"a.py": "print('a')", "b.py": "print('b')"})
    a, b = (PythonScriptStep(f"{name}.py", name=name, compute_target="local", source_directory="s", allow_reuse=False) for name in "ab")
    first = Pipeline(ws, [a, b])
    b.run_after(a)
    second = Pipeline(ws, b)
    runs = [experiment.submit(first), experiment.submit(second)]
    assert [run.wait_for_completion(show_output=False) for run in runs] == ["Finished", "Finished"]
    later, earlier = (ws.registry.run(one.id) for one in (runs[1].find_step_run("b")[0], runs[1].find_step_run("a")[0]))
    assert later.started >= earlier.ended


SLEEPY = """
import sys, time, os
folder, name, needs = sys.argv[1], sys.argv[2], sys.argv[3]
open(os.path.join(folder, name + ".began"), "w").close()
deadline = time.monotonic() + 60
while not all(os.path.exists(os.path.join(folder, one)) for one in needs.split(",") if one):
    assert time.monotonic() < deadline, "the other one has not begun"
    time.sleep(0.01)
open(os.path.join(folder, name + ".ended"), "w").close()
"""


def test_k70_a_sequence_with_steps_side_by_side(ws: Any, cluster: Any, experiment: Experiment, tmp_path: Path) -> None:
    write(Path("s"), {"sleepy.py": SLEEPY})
    meet = tmp_path / "meet"
    meet.mkdir()

    def step(name: str, needs: str = "") -> PythonScriptStep:
        return PythonScriptStep(
            "sleepy.py", name=name, arguments=[str(meet), name, needs], compute_target=cluster, source_directory="s", allow_reuse=False
        )

    # b and c each wait for the other to have begun: they can only end when they overlap
    steps = StepSequence(steps=[step("a"), [step("b", "a.ended,c.began"), step("c", "a.ended,b.began")], step("d", "b.ended,c.ended")])
    run = experiment.submit(Pipeline(ws, steps=steps))
    assert run.wait_for_completion(show_output=False) == "Finished"
    facts = {one.name: ws.registry.run(one.id) for one in run.get_steps()}
    assert facts["a"].ended <= min(facts["b"].started, facts["c"].started)
    assert facts["d"].started >= max(facts["b"].ended, facts["c"].ended)


def failing(cluster: Any) -> list[PythonScriptStep]:
    write(Path("s"), {"bad.py": "raise ValueError('no such thing')", "good.py": "print('fine')"})
    bad = PythonScriptStep("bad.py", name="bad", compute_target=cluster, source_directory="s")
    after = PythonScriptStep("good.py", name="after", compute_target=cluster, source_directory="s", allow_reuse=False)
    after.run_after(bad)
    first = PythonScriptStep("good.py", name="first", compute_target=cluster, source_directory="s", allow_reuse=False)
    second = PythonScriptStep("good.py", name="second", compute_target=cluster, source_directory="s", allow_reuse=False)
    first.run_after(hold := PythonScriptStep("good.py", name="hold", compute_target=cluster, source_directory="s", allow_reuse=False))
    second.run_after(first)
    return [bad, after, hold, first, second]


def test_k71_a_step_that_fails(ws: Any, cluster: Any, experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(ws, steps=failing(cluster))
    run = experiment.submit(pipeline)
    with pytest.raises(ActivityFailedException, match="no such thing"):
        run.wait_for_completion(show_output=False)
    assert run.get_status() == "Failed"
    assert run.find_step_run("bad")[0].get_status() == "Failed"
    assert all(one.get_status() != "Running" for one in run.get_steps())

    going_on = experiment.submit(pipeline, continue_on_step_failure=True)
    assert going_on.wait_for_completion(show_output=True, raise_on_error=False) == "Failed"
    ended = {one.name: one.get_status() for one in going_on.get_steps()}
    assert ended == {"bad": "Failed", "after": "Canceled", "hold": "Finished", "first": "Finished", "second": "Finished"}
    printed = capsys.readouterr().out
    for line in (f"PipelineRunId: {going_on.id}", "PipelineRun Execution Summary", "StepRun( bad ) Status: Failed", "Error:"):
        assert line in printed


PLACES = """
import os, sys
print("path", sys.argv[1], sorted(os.listdir(sys.argv[1])))
"""


def test_k74_a_path_as_parameter(ws: Any, experiment: Experiment) -> None:
    write(Path("s"), {"places.py": PLACES})
    store = ws.get_default_datastore()
    write(Path("u"), {"one/a.txt": "", "two/b.txt": ""})
    store.upload("u", target_path="p", show_progress=False)
    parameter = PipelineParameter(name="input_datapath", default_value=DataPath(datastore=store, path_on_datastore="p/one"))
    bound = (parameter, DataPathComputeBinding(mode="mount"))
    step = PythonScriptStep("places.py", arguments=[bound], inputs=[bound], compute_target="local", source_directory="s")
    pipeline = Pipeline(ws, [step])
    runs = [experiment.submit(pipeline), experiment.submit(pipeline, pipeline_parameters={"input_datapath": DataPath(store, "p/two")})]
    assert [run.wait_for_completion(show_output=False) for run in runs] == ["Finished"] * 2
    said = [run.find_step_run("places.py")[0].get_stdout_log() for run in runs]
    assert "p/one ['a.txt']" in said[0]
    assert "p/two ['b.txt']" in said[1]


SEEN = """
import json
from azureml.core import Run
run = Run.get_context()
print("file", open(run.input_datasets["file_dataset"]).read())
frame = run.input_datasets["tabular_dataset"].to_pandas_dataframe()
print("rows", len(frame), list(frame.columns))
run.log("rows", len(frame))
run.parent.log("total", len(frame))
print("experiment", run.experiment.name, run.experiment.workspace.name)
"""


def test_k75_datasets_as_parameters(ws: Any, cluster: Any, experiment: Experiment, mirror: Path) -> None:
    write(Path("s"), {"seen.py": SEEN})
    write(mirror / "public", {"one.csv": "a,b\n1,2\n", "two.csv": "a,b\n1,2\n3,4\n", "one.txt": "ONE", "two.txt": "TWO"})
    url = "https://pipelinedata.blob.core.windows.net/public/"
    files = {name: Dataset.File.from_files(f"{url}{name}.txt") for name in ("one", "two")}
    tables = {name: Dataset.Tabular.from_delimited_files(f"{url}{name}.csv") for name in ("one", "two")}
    file = DatasetConsumptionConfig("file_dataset", PipelineParameter("file_ds_param", files["one"])).as_mount()
    table = DatasetConsumptionConfig("tabular_dataset", PipelineParameter("tabular_ds_param", tables["one"]))
    step = PythonScriptStep("seen.py", inputs=[file, table], compute_target=cluster, source_directory="s")
    pipeline = Pipeline(ws, [step])
    first = experiment.submit(pipeline)
    assert files["one"].id is not None
    second = experiment.submit(pipeline, pipeline_parameters={"file_ds_param": files["two"], "tabular_ds_param": tables["two"]})
    assert [run.wait_for_completion(show_output=False) for run in (first, second)] == ["Finished"] * 2
    said = [run.find_step_run("seen.py")[0].get_stdout_log() for run in (first, second)]
    assert "file ONE" in said[0]
    assert "rows 1 ['a', 'b']" in said[0]
    assert "file TWO" in said[1]
    assert "rows 2 ['a', 'b']" in said[1]
    assert "experiment scripts team" in said[0]
    assert second.find_step_run("seen.py")[0].get_metrics() == {"rows": 2}
    assert second.get_metrics() == {"total": 2}


PREPARE = """
import os, sys
for name in ("b.csv", "a.csv"):
    with open(os.path.join(sys.argv[1], name), "w") as file:
        file.write("x,y\\n1,2\\n")
"""
ROWS = """
from azureml.core import Run
print(len(Run.get_context().input_datasets["table"].to_pandas_dataframe()))
"""
READ = """
import os, sys
print("read", sorted(os.listdir(sys.argv[1])))
"""


def test_outputs_that_become_datasets(ws: Any, cluster: Any, experiment: Experiment) -> None:
    write(Path("s"), {"prepare.py": PREPARE, "read.py": READ, "rows.py": ROWS})
    made = OutputFileDatasetConfig(name="prepared", destination=(ws.get_default_datastore(), "made/{run-id}/{output-name}"))
    made = made.register_on_complete(name="prepared-data", tags={"from": "test"})
    prepare = PythonScriptStep("prepare.py", arguments=[made], compute_target=cluster, source_directory="s")
    read = PythonScriptStep("read.py", arguments=[made.as_input("taken")], compute_target=cluster, source_directory="s")
    table = made.read_delimited_files().as_input("table")
    rows = PythonScriptStep("rows.py", inputs=[table], compute_target=cluster, source_directory="s")
    run = experiment.submit(Pipeline(ws, [read, rows]))
    assert run.wait_for_completion(show_output=False) == "Finished"
    assert prepare.name == "prepare.py"
    assert "read ['a.csv', 'b.csv']" in run.find_step_run("read.py")[0].get_stdout_log()
    assert run.find_step_run("rows.py")[0].get_stdout_log().strip() == "2"
    registered = Dataset.get_by_name(ws, "prepared-data")
    assert [Path(path).name for path in registered.to_path()] == ["a.csv", "b.csv"]
    assert registered.tags["from"] == "test"


def test_a_command(ws: Any, experiment: Experiment) -> None:
    write(Path("s"), {"hello.txt": "hello"})
    step = CommandStep(command="cat hello.txt && echo $AZUREML_RUN_ID", name="say", compute_target="local", source_directory="s")
    run = experiment.submit(Pipeline(ws, [step]))
    assert run.wait_for_completion(show_output=False) == "Finished"
    (said,) = run.find_step_run("say")
    assert said.get_stdout_log() == f"hello{said.id}\n"


def test_a_run_outside_of_any(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.get_context()
    run.log("accuracy", 0.5)
    assert "accuracy" in capsys.readouterr().out
    assert json.loads(json.dumps(run.id)).startswith("OfflineRun")


def test_canceled_while_it_runs(ws: Any, cluster: Any, experiment: Experiment, tmp_path: Path) -> None:
    meet = tmp_path / "meet"
    meet.mkdir()
    write(Path("s"), {"sleepy.py": SLEEPY})
    step = PythonScriptStep(
        "sleepy.py", name="waits", arguments=[str(meet), "waits", "never"], compute_target=cluster, source_directory="s"
    )
    run = experiment.submit(Pipeline(ws, [step]))
    deadline = time.monotonic() + 60
    while not (meet / "waits.began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.cancel()
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Canceled"
    assert run.find_step_run("waits")[0].get_status() == "Canceled"
