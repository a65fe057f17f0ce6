"""The tutorial of batch scoring and the introductory notebooks of pipelines, as their users run them; and what scripts leave behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from azureml.core import Dataset, Datastore, Environment, Experiment, Model, ScriptRunConfig
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.runconfig import DEFAULT_GPU_IMAGE
from azureml.data import OutputFileDatasetConfig
from azureml.exceptions import ComputeTargetException
from azureml.pipeline.core import Pipeline, PipelineEndpoint, PipelineParameter, PublishedPipeline
from azureml.pipeline.core.run import PipelineRun
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep, PythonScriptStep

from tests.acceptance.pipelines.conftest import rows_of, write

SCORING = """
import argparse, os
from azureml.core.model import Model

def init():
    global label, model
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--labels_dir", required=True)
    args, _ = parser.parse_known_args()
    with open(os.path.join(args.labels_dir, "labels.txt")) as labels, open(Model.get_model_path(args.model_name)) as weights:
        label = labels.read().split()[int(weights.read())]

def run(mini_batch):
    return [f"{os.path.basename(path)}: {label}" for path in mini_batch]
"""


def getter_or_new(ws: Any) -> Any:
    try:
        return ComputeTarget(workspace=ws, name="gpu-cluster")
    except ComputeTargetException:
        config = AmlCompute.provisioning_configuration(vm_size="STANDARD_NC6", vm_priority="lowpriority", min_nodes=0, max_nodes=1)
        made = ComputeTarget.create(workspace=ws, name="gpu-cluster", provisioning_configuration=config)
        made.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
        return made


def test_the_tutorial_of_batch_scoring(ws: Any, mirror: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BATCHMILL_ENVIRONMENTS", "current")  # its packages are of 2019
    images = {f"images/{number}.jpg": "" for number in range(7)}
    write(mirror / "sampledata" / "batchscoring", {**images, "labels/labels.txt": "cat dog"})
    write(Path("."), {"scripts/batch_scoring.py": SCORING, "models/inception_v3.ckpt": "1"})
    store = Datastore.register_azure_blob_container(ws, "images_datastore", "sampledata", "pipelinedata", overwrite=True)
    for _ in range(2):  # it may be run again
        input_images = Dataset.File.from_files((store, "batchscoring/images/")).register(workspace=ws, name="input_images")
        labels = Dataset.File.from_files((store, "batchscoring/labels/")).register(workspace=ws, name="label_ds")
    Model.register(model_path="models/inception_v3.ckpt", model_name="inception", tags={"pretrained": "inception"}, workspace=ws)
    shutil.rmtree("models")
    env = Environment(name="parallelenv")
    env.python.conda_dependencies = CondaDependencies.create(
        python_version="3.7", conda_packages=["pip==20.2.4"], pip_packages=["tensorflow-gpu==1.15.2", "azureml-core"]
    )
    env.docker.base_image = DEFAULT_GPU_IMAGE
    config = ParallelRunConfig(
        environment=env,
        entry_script="batch_scoring.py",
        source_directory="scripts",
        output_action="append_row",
        append_row_file_name="parallel_run_step.txt",
        mini_batch_size=PipelineParameter(name="batch_size_param", default_value="20"),
        error_threshold=1,
        compute_target=getter_or_new(ws),
        process_count_per_node=PipelineParameter(name="process_count_param", default_value=2),
        node_count=1,
    )
    label_config = labels.as_named_input("labels_input").as_mount(str(tmp_path / "labels"))
    step = ParallelRunStep(
        name="batchscoring-20261121",
        inputs=[input_images.as_named_input("input_images")],
        output=OutputFileDatasetConfig(name="scores"),
        arguments=["--model_name", "inception", "--labels_dir", label_config],
        side_inputs=[label_config],
        parallel_run_config=config,
        allow_reuse=False,
    )
    run = Experiment(ws, "Tutorial-Batch-Scoring").submit(Pipeline(workspace=ws, steps=[step]))
    assert run.wait_for_completion(show_output=True) == "Finished"
    assert rows_of(run, step.name, "scores", tmp_path / "results") == [f"{number}.jpg: dog" for number in range(7)]
    assert next(run.get_children()).get_metrics()["Total Mini Batches"] == 1

    published = run.publish_pipeline(name="Inception_v3_scoring", description="Batch scoring", version="1.0")
    submitted = published.submit(ws, "Tutorial-Batch-Scoring", pipeline_parameters={"batch_size_param": "3", "process_count_param": 1})
    again = PipelineRun(ws.experiments["Tutorial-Batch-Scoring"], submitted.id)
    assert again.wait_for_completion(show_output=False) == "Finished"
    assert next(again.get_children()).get_metrics()["Total Mini Batches"] == 3


SAYS = "import sys\nprint('said', *sys.argv[1:])\n"


def test_versions_of_an_endpoint_are_submitted_with_parameters(ws: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("s"), {"says.py": SAYS})
    parameter = PipelineParameter(name="pipeline_arg", default_value=10)
    step = PythonScriptStep(script_name="says.py", arguments=[parameter], compute_target="local", source_directory="s")
    pipeline = Pipeline(workspace=ws, steps=[step])
    endpoint = PipelineEndpoint.publish(workspace=ws, name="Endpoint", pipeline=pipeline, description="of the notebook")
    write(Path("s"), {"says.py": SAYS.replace("said", "later")})  # what is published stays as it was
    endpoint.add_default(Pipeline(workspace=ws, steps=[step]).publish(name="Later"))
    found = PipelineEndpoint.get(workspace=ws, name="Endpoint")
    first = Experiment(ws, "endpoints").submit(found, pipeline_parameters={"pipeline_arg": 45}, pipeline_version="0")
    default = found.submit("endpoints", pipeline_parameters={"pipeline_arg": "text"})
    plain = PublishedPipeline.get(ws, found.get_pipeline("0").id).submit(ws, "endpoints")
    runs = [first, default, plain]
    told = capsys.readouterr().out.splitlines()
    for run in runs:
        assert told[told.index(f"Submitted PipelineRun {run.id}") + 1] == f"Link to Azure Machine Learning Portal: {run.get_portal_url()}"
    assert [run.wait_for_completion(show_output=False) for run in runs] == ["Finished"] * 3
    assert [run.find_step_run("says.py")[0].get_stdout_log() for run in runs] == ["said 45\n", "later text\n", "said 10\n"]


LEAVES = """
import os
os.makedirs("outputs/deep", exist_ok=True)
os.makedirs("logs", exist_ok=True)
for name in ("outputs/model.pkl", "outputs/deep/one.txt", "logs/train.txt", "elsewhere.txt"):
    with open(name, "w") as file:
        file.write(name)
"""


def test_what_a_script_leaves_in_outputs_belongs_to_its_run(ws: Any, tmp_path: Path) -> None:
    write(Path("s"), {"leaves.py": LEAVES, "fails.py": LEAVES + "raise SystemExit(3)\n", "outputs/of_the_source.txt": ""})
    leaves, fails = (PythonScriptStep(f"{name}.py", compute_target="local", source_directory="s") for name in ("leaves", "fails"))
    run = Experiment(ws, "train").submit(Pipeline(ws, [leaves, fails]), continue_on_step_failure=True)
    script = Experiment(ws, "train").submit(ScriptRunConfig("s", script="leaves.py", compute_target="local"))
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
    assert script.wait_for_completion()["status"] == "Completed"
    of_steps = [run.find_step_run(name)[0] for name in ("leaves.py", "fails.py")]
    for one in (*of_steps, script):
        names = set(one.get_file_names()) - {"logs/runner.txt"}
        assert names == {"outputs/model.pkl", "outputs/deep/one.txt", "logs/train.txt", "user_logs/std_log.txt"}
    of_steps[0].download_file("outputs/model.pkl", str(tmp_path / "model.pkl"))
    assert (tmp_path / "model.pkl").read_text() == "outputs/model.pkl"
    of_steps[0].download_files(prefix="outputs", output_directory=str(tmp_path / "all"))
    assert (tmp_path / "all" / "outputs" / "deep" / "one.txt").exists()
    assert of_steps[0].register_model("trained", model_path="outputs/model.pkl").version == 1

    again = Experiment(ws, "train").submit(Pipeline(ws, [leaves]))
    assert again.wait_for_completion(show_output=False) == "Finished"
    (reused,) = again.find_step_run("leaves.py")
    assert reused.properties["azureml.reusedrunid"] == of_steps[0].id
    assert "outputs/deep/one.txt" in reused.get_file_names()
