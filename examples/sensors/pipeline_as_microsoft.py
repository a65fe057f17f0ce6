"""One step a sensor, published and scheduled hourly: the reference architecture as it was described.

    python examples/sensors/pipeline_as_microsoft.py FOLDER [--schedule]

FOLDER is what make_data.py made. Without --schedule the pipeline runs once, here and now.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from azureml.core import Datastore, Experiment, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.runconfig import RunConfiguration
from azureml.data.data_reference import DataReference
from azureml.pipeline.core import Pipeline, PipelineData, PublishedPipeline
from azureml.pipeline.core.schedule import Schedule, ScheduleRecurrence
from azureml.pipeline.steps import PythonScriptStep

SCRIPTS = Path(__file__).resolve().parent / "scripts"
EXPERIMENT = "sensors-step-by-step"


def build(ws: Workspace, folder: Path, target: str = "sensor-nodes") -> tuple[Pipeline, int]:
    """The pipeline, and how many steps it has. Readings, models and predictions lie in containers of the workspace's own account."""
    default = ws.get_default_datastore()
    stores = {}
    for name in ("data", "models", "preds"):
        stores[name] = Datastore.register_azure_blob_container(
            ws, datastore_name=name, container_name=name, account_name=default.account_name, account_key=default.account_key,
            create_if_not_exists=True,
        )  # fmt: skip
    stores["data"].upload(str(folder / "data"), overwrite=True, show_progress=False)
    stores["models"].upload(str(folder / "models"), overwrite=True, show_progress=False)

    if target not in ws.compute_targets:
        sizes = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=2)
        ComputeTarget.create(ws, target, sizes).wait_for_completion()
    config = RunConfiguration()
    config.environment.python.user_managed_dependencies = True  # the interpreter of this very environment

    data = DataReference(stores["data"], data_reference_name="data")
    models = DataReference(stores["models"], data_reference_name="models")
    steps = []
    for name in sorted(path.name for path in (folder / "models").iterdir()):
        device, sensor = map(int, name.split("_")[1:])
        preds = PipelineData(name="preds", datastore=stores["preds"], is_directory=True)
        steps.append(
            PythonScriptStep(
                name=f"{device}_{sensor}",
                script_name="predict.py",
                source_directory=str(SCRIPTS),
                arguments=[device, sensor, models, data, "sensor_data", preds],
                inputs=[models, data],
                outputs=[preds],
                compute_target=target,
                runconfig=config,
                allow_reuse=False,
            )
        )
    return Pipeline(workspace=ws, steps=steps), len(steps)


def schedule(ws: Workspace, pipeline: Pipeline) -> Schedule:
    """Publish the pipeline and let it run every hour; its first run begins at once, its others while `batchmill serve` runs."""
    published: PublishedPipeline = pipeline.publish(name="sensors", description="A step for each sensor")
    hourly = ScheduleRecurrence(frequency="Hour", interval=1)
    return Schedule.create(ws, name="sensors-hourly", pipeline_id=published.id, experiment_name=EXPERIMENT, recurrence=hourly)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score sensors, one step each.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--schedule", action="store_true", help="publish the pipeline and run it every hour")
    arguments = parser.parse_args()
    ws = Workspace.from_config()
    pipeline, count = build(ws, arguments.folder.resolve())
    if arguments.schedule:
        made = schedule(ws, pipeline)
        print(f"Schedule {made.name} is {made.status}: every hour, {count} steps.")
        return
    run = Experiment(ws, EXPERIMENT).submit(pipeline)
    status = run.wait_for_completion(show_output=False)
    print(f"{status}: {count} steps, each with a file of predictions in datastore preds.")


if __name__ == "__main__":
    main()
