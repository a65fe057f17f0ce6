"""Pipelines whose compute target is a Ray cluster: script steps stay here, parallel-run steps go there, rows come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.workspace.ray_compute import RayCompute
from tests import stores
from tests.acceptance.pipelines.conftest import rows_of, write
from tests.ray_cluster import RayCluster, disconnected, ray_cluster

MAKE = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--output")
folder = parser.parse_args().output
os.makedirs(folder, exist_ok=True)
for number in range(12):
    with open(os.path.join(folder, f"{number:02d}.txt"), "w") as file:
        file.write("x" * number)
print("made on this machine")
"""
SCORE = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--words")
parser.add_argument("--output")
known, _ = parser.parse_known_args()
WORDS = open(os.path.join(known.words, "07.txt")).read()

def run(mini_batch):
    assert os.path.isdir(known.output) and "RAY_RAYLET_PID" in os.environ, "not on the cluster"
    return [f"{os.path.basename(path)}: {os.path.getsize(path)} of {len(WORDS)}" for path in mini_batch]
"""
ROWS = [f"{number:02d}.txt: {number} of 7" for number in range(12)]


@pytest.fixture(scope="module")
def machines() -> Iterator[RayCluster]:
    with ray_cluster(nodes=2, cpus=1) as started:
        yield started
    disconnected()


@pytest.fixture
def target(ws: Any, machines: RayCluster) -> RayCompute:
    return RayCompute.attach(ws, "ray-one", machines.address, max_nodes=2)


def pipeline_of(ws: Any, target: RayCompute, scores: Any) -> Any:
    """A script that makes files, and a parallel run over them with the same files beside."""
    from azureml.core import Environment
    from azureml.data import OutputFileDatasetConfig
    from azureml.pipeline.core import Pipeline
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep, PythonScriptStep

    write(Path("scripts"), {"make.py": MAKE, "score.py": SCORE})
    files = OutputFileDatasetConfig("files")
    make = PythonScriptStep(
        "make.py", name="make", arguments=["--output", files], compute_target=target, source_directory="scripts", allow_reuse=False
    )
    config = ParallelRunConfig(
        environment=Environment("batch"),
        entry_script="score.py",
        source_directory="scripts",
        error_threshold=0,
        output_action="append_row",
        mini_batch_size=2,
        compute_target=target,
        node_count=2,
        process_count_per_node=1,
    )
    score = ParallelRunStep(
        "score",
        parallel_run_config=config,
        inputs=[files.as_input("images")],
        side_inputs=[words := files.as_input("words")],
        arguments=["--words", words],
        output=scores,
        allow_reuse=False,
    )
    return Pipeline(ws, steps=[make, score])


def test_steps_on_a_cluster(ws: Any, target: RayCompute, tmp_path: Path) -> None:
    from azureml.core import Experiment
    from azureml.pipeline.core import PipelineData

    scores = PipelineData("scores", datastore=ws.get_default_datastore())
    run = Experiment(ws, "on-ray").submit(pipeline_of(ws, target, scores))
    assert run.wait_for_completion(show_output=False) == "Finished"
    assert rows_of(run, "score", "scores", tmp_path / "down") == ROWS
    assert [node["nodeState"] for node in target.list_nodes()] == ["idle", "idle"]


def test_rows_go_to_a_bucket(ws: Any, target: RayCompute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the step hands out lies in an object store: nodes write there, nothing passes through this machine."""
    from azureml.core import Datastore, Experiment
    from azureml.pipeline.core import PipelineData

    with stores.s3_server() as server:
        server.create("scores")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = Datastore.register_s3_bucket(ws, "bucket", "scores", endpoint=server.url)
        run = Experiment(ws, "on-ray").submit(pipeline_of(ws, target, PipelineData("scores", datastore=bucket)))
        assert run.wait_for_completion(show_output=False) == "Finished"
        assert rows_of(run, "score", "scores", tmp_path / "down") == ROWS
        assert [path.name for path in (tmp_path / "down").rglob("*") if path.is_file()] == ["parallel_run_step.txt"]
