"""Notebooks of the SDK, in our own words: images, a table, partitions of files and of rows (acceptance cases K02, K03, K04)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from azureml.core import Dataset, Datastore, Environment, Experiment, Model
from azureml.core.runconfig import DEFAULT_CPU_IMAGE, CondaDependencies
from azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from azureml.pipeline.core import Pipeline, PipelineData, PipelineParameter
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

from tests.acceptance.pipelines.conftest import rows_of, write

IDENTIFY = """
import os
from azureml.core import Model

def init():
    global shift
    folder = Model.get_model_path("digits")
    with open(os.path.join(folder, "shift.txt")) as file:
        shift = int(file.read())

def run(mini_batch):
    print(f"run method start: {__file__}, run({mini_batch})")
    found = []
    for image in mini_batch:
        with open(image) as file:
            found.append("{}: {}".format(os.path.basename(image), (int(file.read()) + shift) % 10))
    return found
"""
SCORE = """
import argparse
from azureml.core.model import Model
from azureml_user.parallel_run import EntryScript

def init():
    global threshold
    log = EntryScript().logger
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_name", required=True)
    args, _ = parser.parse_known_args()
    log.info("model %s", args.model_name)
    with open(Model.get_model_path(args.model_name)) as file:
        threshold = float(file.read())

def run(input_data):
    input_data["variety"] = ["long" if value > threshold else "short" for value in input_data["petal.length"]]
    return input_data
"""
SIZES = """
import os

def init():
    pass

def run(mini_batch, mini_batch_context):
    print(mini_batch_context)
    keys = mini_batch_context.partition_key_value
    total = sum(os.path.getsize(path) for path in mini_batch)
    return [f"{os.path.basename(path)},{keys['user']},{keys['genres']},{total},{os.path.getsize(path) / total}" for path in mini_batch]
"""
INCOME = """
def run(mini_batch):
    mini_batch["total_income"] = (mini_batch["Quantity"] * mini_batch["Price"]).sum()
    return mini_batch
"""


@pytest.fixture
def environment() -> Environment:
    made = Environment(name="batch_environment")
    made.python.conda_dependencies = CondaDependencies.create(pip_packages=["azureml-core", "azureml-dataset-runtime[fuse]"])
    made.docker.base_image = DEFAULT_CPU_IMAGE
    return made


def config(environment: Environment, cluster: Any, **values: Any) -> ParallelRunConfig:
    given = {"source_directory": "scripts", "error_threshold": 10, "output_action": "append_row", "node_count": 2}
    return ParallelRunConfig(environment=environment, compute_target=cluster, process_count_per_node=1, **(given | values))


def test_k02_images_and_then_one_of_them(ws: Any, cluster: Any, mirror: Path, environment: Environment, tmp_path: Path) -> None:
    write(mirror / "sampledata" / "mnist", {f"{number}.png": str(number) for number in range(12)})
    write(Path("models"), {"shift.txt": "1", "labels/en.txt": "x"})
    write(Path("scripts"), {"identify.py": IDENTIFY})
    store = Datastore.register_azure_blob_container(
        ws, datastore_name="mnist_datastore", container_name="sampledata", account_name="pipelinedata", overwrite=True
    )
    images = Dataset.File.from_files(path=store.path("mnist/"), validate=False)
    parameter = PipelineParameter(name="mnist_param", default_value=images)
    named = DatasetConsumptionConfig("minist_param_config", parameter).as_mount()
    output = PipelineData(name="inferences", datastore=ws.get_default_datastore())
    Model.register(model_path="models/", model_name="digits", workspace=ws, tags={"pretrained": "mnist"})
    step = ParallelRunStep(
        name="predict-digits-mnist",
        parallel_run_config=config(
            environment,
            cluster,
            entry_script="identify.py",
            mini_batch_size=PipelineParameter(name="batch_size_param", default_value="5"),
            run_invocation_timeout=600,
        ),
        inputs=[named],
        output=output,
        allow_reuse=False,
    )
    pipeline = Pipeline(workspace=ws, steps=[step])
    experiment = Experiment(ws, "digit_identification")
    first = experiment.submit(pipeline)
    assert first.wait_for_completion(show_output=False) == "Finished"
    lines = rows_of(first, "predict-digits-mnist", "inferences", tmp_path / "first")
    assert lines == [f"{name}: {(int(name[:-4]) + 1) % 10}" for name in sorted(f"{number}.png" for number in range(12))]

    single = Dataset.File.from_files(path=store.path("mnist/0.png"), validate=False)
    second = experiment.submit(pipeline, pipeline_parameters={"mnist_param": single, "batch_size_param": "1"})
    assert second.wait_for_completion(show_output=False) == "Finished"
    assert rows_of(second, "predict-digits-mnist", "inferences", tmp_path / "second") == ["0.png: 1"]
    assert [run.id for run in experiment.get_runs()] == [second.id, first.id]


def test_k03_a_table_in_blocks(ws: Any, cluster: Any, mirror: Path, environment: Environment, tmp_path: Path) -> None:
    header = '"sepal.length","sepal.width","petal.length","petal.width","variety"\r\n'
    body = "".join(f'{5 + row % 3}.{row % 10},3.{row % 10},{1 + row % 6}.4,.2,"Setosa"\r\n' for row in range(150))
    write(mirror / "iris-data", {"iris.csv": header + body})
    write(Path("iris_model"), {"model.pkl": "3.5"})
    write(Path("scripts"), {"iris_score.py": SCORE})
    store = Datastore.register_azure_blob_container(
        ws, datastore_name="iris_datastore_data", container_name="iris-data", account_name="pipelinedata", overwrite=True
    )
    table = Dataset.Tabular.from_delimited_files(path=(store, "iris.csv"), validate=False)
    Model.register(model_path="iris_model/model.pkl", model_name="iris-prs", workspace=ws)
    step = ParallelRunStep(
        name="iris-predict",
        inputs=[table.as_named_input("iris_data")],
        output=PipelineData(name="inferences", datastore=ws.get_default_datastore(), output_path_on_compute="iris/results"),
        parallel_run_config=config(
            environment,
            cluster,
            entry_script="iris_score.py",
            mini_batch_size="1KB",
            append_row_file_name="iris_outputs.txt",
            run_invocation_timeout=600,
        ),
        arguments=["--model_name", "iris-prs"],
        allow_reuse=False,
    )
    run = Experiment(ws, "iris-prs").submit(Pipeline(workspace=ws, steps=[step]))
    assert run.wait_for_completion(show_output=False) == "Finished"
    lines = rows_of(run, "iris-predict", "inferences", tmp_path / "out", "iris_outputs.txt")
    frame = pd.DataFrame(list(csv.reader(lines, delimiter=" ")))
    assert frame.shape == (150, 5)
    assert list(frame[4][:6]) == ["short", "short", "short", "long", "long", "long"]
    (step_run,) = run.find_step_run("iris-predict")
    assert step_run.get_metrics()["Total Mini Batches"] == -(-len((header + body).encode()) // 1024)


def test_k04_partitions_of_files(ws: Any, cluster: Any, environment: Environment, tmp_path: Path) -> None:
    songs = {
        "user1/winter/disco.txt": "a",
        "user2/summer/piano.txt": "bb",
        "user3/fall/pop.txt": "ccc",
        "user4/spring/piano.txt": "dddd",
        "user4/fall/piano.txt": "dddd",
        "user4/spring/rap.txt": "e",
    }
    write(Path("data"), dict(songs))
    write(Path("scripts"), {"total_file_size.py": SIZES})
    store = ws.get_default_datastore()
    store.upload(src_dir="data", target_path="dataset/songs", overwrite=True, show_progress=False)
    dataset = Dataset.File.from_files((store, "dataset/songs"), partition_format="{user}/{season}/{genres}.txt", validate=False)
    assert dataset.partition_keys == ["user", "season", "genres"]
    step = ParallelRunStep(
        name="summarize-songs",
        inputs=[dataset.as_named_input("partitioned_songs")],
        output=PipelineData(name="file_dataset_inferences", datastore=store),
        parallel_run_config=config(
            environment,
            cluster,
            entry_script="total_file_size.py",
            partition_keys=["user", "genres"],
            append_row_file_name="summary.txt",
            allowed_failed_count=-1,
        ),
        allow_reuse=False,
    )
    run = Experiment(ws, "file-dataset-partition").submit(Pipeline(workspace=ws, steps=[step]))
    assert run.wait_for_completion(show_output=False) == "Finished"
    rows = [line.split(",") for line in rows_of(run, "summarize-songs", "file_dataset_inferences", tmp_path / "out", "summary.txt")]
    assert len(rows) == 6
    assert {(row[1], row[2], row[3], row[4]) for row in rows} == {
        ("user1", "disco", "1", "1.0"),
        ("user2", "piano", "2", "1.0"),
        ("user3", "pop", "3", "1.0"),
        ("user4", "piano", "8", "0.5"),
        ("user4", "rap", "1", "1.0"),
    }


def test_partitions_of_rows(ws: Any, cluster: Any, environment: Environment, tmp_path: Path) -> None:
    sales = "WeekStarting,Store,Brand,Quantity,Price\n" + "".join(
        f"1990-06-{14 + 7 * (row % 2)},{2 + row % 2},{'dominicks' if row % 3 else 'tropicana'},{row},2\n" for row in range(24)
    )
    write(Path(), {"oj.csv": sales})
    write(Path("scripts"), {"total_income.py": INCOME})
    store = ws.get_default_datastore()
    store.upload_files(["./oj.csv"], ".", "oj_sales_data", True, False)
    table = Dataset.Tabular.from_delimited_files(path=(store, "oj_sales_data/*.csv"))
    partitioned = table.partition_by(partition_keys=["Store", "Brand"], target=(store, "partitions"), name="partitioned_oj_data")
    step = ParallelRunStep(
        name="summarize",
        inputs=[partitioned.as_named_input("partitioned_tabular_input")],
        output=PipelineData(name="tabular_dataset_inferences", datastore=store),
        parallel_run_config=config(
            environment, cluster, entry_script="total_income.py", partition_keys=["Store", "Brand"], error_threshold=-1
        ),
        arguments=["--append_row_dataframe_header", "True"],
    )
    run = Experiment(ws, "tabular-dataset-partition").submit(Pipeline(workspace=ws, steps=[step]))
    assert run.wait_for_completion(show_output=False) == "Finished"
    header, *rows = rows_of(run, "summarize", "tabular_dataset_inferences", tmp_path / "out")
    assert header.split(" ") == ["WeekStarting", "Quantity", "Price", "Store", "Brand", "total_income"]
    assert len(rows) == 24
    incomes = {tuple(row[-3:]) for row in csv.reader(rows, delimiter=" ")}
    assert len(incomes) == 4
    assert sum(int(row[2]) for row in incomes) == 2 * sum(range(24))
