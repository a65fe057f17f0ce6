"""One step for all sensors: the readings are partitioned by device and sensor, and each partition finds its model.

    python examples/sensors/pipeline_recommended.py FOLDER [--workers N]

FOLDER is what make_data.py made, for 15 sensors or for 10,000.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from azureml.core import Dataset, Environment, Experiment, Model, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.data import OutputFileDatasetConfig
from azureml.pipeline.core import Pipeline, PipelineRun
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep
from pipeline_as_microsoft import SCRIPTS

EXPERIMENT = "sensors-in-one-step"
KEYS = ["Device", "Sensor"]


def register(ws: Workspace, folder: Path) -> None:
    """Bring the models and the readings into the workspace: what changes at another pace than the pipeline."""
    Model.register(ws, model_path=str(folder / "models"), model_name="sensor-models", description="One-Class SVM, a file for each sensor")
    store = ws.get_default_datastore()
    store.upload(str(folder / "data"), target_path="readings", overwrite=True, show_progress=False)
    readings = Dataset.Tabular.from_delimited_files(store.path("readings/sensor_data.csv"))
    readings.partition_by(KEYS, target=store.path("readings-by-sensor"), name="readings-by-sensor", show_progress=False)


def build(ws: Workspace, workers: int = 2, target: str = "sensor-nodes") -> Pipeline:
    """The pipeline over the readings that are registered, whatever sensors they are of."""
    if target not in ws.compute_targets:
        sizes = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=2)
        ComputeTarget.create(ws, target, sizes).wait_for_completion()
    environment = Environment("sensors")
    environment.python.user_managed_dependencies = True  # the interpreter of this very environment
    config = ParallelRunConfig(
        source_directory=str(SCRIPTS),
        entry_script="score_sensors.py",
        partition_keys=KEYS,
        error_threshold=0,
        output_action="append_row",
        append_row_file_name="predictions.txt",
        environment=environment,
        compute_target=target,
        node_count=1,
        process_count_per_node=workers,
    )
    step = ParallelRunStep(
        name="score-sensors",
        parallel_run_config=config,
        inputs=[Dataset.get_by_name(ws, "readings-by-sensor").as_named_input("readings")],
        output=OutputFileDatasetConfig("predictions"),
        arguments=["--append_row_dataframe_header", "True"],
        allow_reuse=False,
    )
    return Pipeline(workspace=ws, steps=[step])


def run(ws: Workspace, workers: int = 2) -> PipelineRun:
    """Submit the pipeline and wait for its end."""
    submitted = Experiment(ws, EXPERIMENT).submit(build(ws, workers))
    submitted.wait_for_completion(show_output=False)
    return submitted


def main() -> None:
    parser = argparse.ArgumentParser(description="Score all sensors in one step.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    ws = Workspace.from_config()
    began = time.monotonic()
    register(ws, arguments.folder.resolve())
    ready = time.monotonic()
    run(ws, arguments.workers)
    count = sum(1 for _ in (arguments.folder / "models").iterdir())
    print(f"{count:,} sensors: registered and partitioned in {ready - began:.1f} s, scored in {time.monotonic() - ready:.1f} s.")


if __name__ == "__main__":
    main()
