"""Batchmill: self-hosted batch inference with one fate for every item.

>>> import batchmill
>>> run = batchmill.run("score.py", inputs="images/", mini_batch_size=10)   # doctest: +SKIP
>>> run.wait().status                                                        # doctest: +SKIP
<RunStatus.COMPLETED: 'Completed'>

Public names load on first use (PEP 562), so ``import batchmill`` costs next to nothing. This module is also read by worker
processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # what a type checker takes for true; typing itself would be most of the time that this import takes
if TYPE_CHECKING:
    from typing import Any

    from batchmill.errors import BatchmillError as BatchmillError
    from batchmill.parallel_run.run import Run as Run
    from batchmill.parallel_run.run import run as run
    from batchmill.pipeline.command_step import CommandStep as CommandStep
    from batchmill.pipeline.experiment import Experiment as Experiment
    from batchmill.pipeline.experiment_run import ExperimentRun as ExperimentRun
    from batchmill.pipeline.output_dataset import OutputFileDatasetConfig as OutputFileDatasetConfig
    from batchmill.pipeline.parallel_run_config import ParallelRunConfig as ParallelRunConfig
    from batchmill.pipeline.parallel_run_step import ParallelRunStep as ParallelRunStep
    from batchmill.pipeline.parameter import PipelineParameter as PipelineParameter
    from batchmill.pipeline.pipeline import Pipeline as Pipeline
    from batchmill.pipeline.pipeline_data import PipelineData as PipelineData
    from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint as PipelineEndpoint
    from batchmill.pipeline.pipeline_run import PipelineRun as PipelineRun
    from batchmill.pipeline.published_pipeline import PublishedPipeline as PublishedPipeline
    from batchmill.pipeline.python_script_step import PythonScriptStep as PythonScriptStep
    from batchmill.pipeline.recurrence import ScheduleRecurrence as ScheduleRecurrence
    from batchmill.pipeline.run_details import RunDetails as RunDetails
    from batchmill.pipeline.schedule import Schedule as Schedule
    from batchmill.pipeline.script_run import ScriptRun as ScriptRun
    from batchmill.pipeline.step_run import StepRun as StepRun
    from batchmill.pipeline.step_sequence import StepSequence as StepSequence
    from batchmill.worker.entry_script import EntryScript as EntryScript
    from batchmill.workspace.compute import AmlCompute as AmlCompute
    from batchmill.workspace.compute import ComputeTarget as ComputeTarget
    from batchmill.workspace.conda_dependencies import CondaDependencies as CondaDependencies
    from batchmill.workspace.consumption import DatasetConsumptionConfig as DatasetConsumptionConfig
    from batchmill.workspace.data_path import DataPath as DataPath
    from batchmill.workspace.data_path import DataReference as DataReference
    from batchmill.workspace.data_type import DataType as DataType
    from batchmill.workspace.dataset import Dataset as Dataset
    from batchmill.workspace.datastore import Datastore as Datastore
    from batchmill.workspace.environment import Environment as Environment
    from batchmill.workspace.file_dataset import FileDataset as FileDataset
    from batchmill.workspace.model import Model as Model
    from batchmill.workspace.ray_compute import RayCompute as RayCompute
    from batchmill.workspace.run_configuration import RunConfiguration as RunConfiguration
    from batchmill.workspace.run_configuration import ScriptRunConfig as ScriptRunConfig
    from batchmill.workspace.tabular_dataset import TabularDataset as TabularDataset
    from batchmill.workspace.workspace import Workspace as Workspace

__version__ = "0.1.0"
__all__ = [
    "AmlCompute",
    "BatchmillError",
    "CommandStep",
    "ComputeTarget",
    "CondaDependencies",
    "DataPath",
    "DataReference",
    "DataType",
    "Dataset",
    "DatasetConsumptionConfig",
    "Datastore",
    "EntryScript",
    "Environment",
    "Experiment",
    "ExperimentRun",
    "FileDataset",
    "Model",
    "OutputFileDatasetConfig",
    "ParallelRunConfig",
    "ParallelRunStep",
    "Pipeline",
    "PipelineData",
    "PipelineEndpoint",
    "PipelineParameter",
    "PipelineRun",
    "PublishedPipeline",
    "PythonScriptStep",
    "RayCompute",
    "Run",
    "RunConfiguration",
    "RunDetails",
    "Schedule",
    "ScheduleRecurrence",
    "ScriptRun",
    "ScriptRunConfig",
    "StepRun",
    "StepSequence",
    "TabularDataset",
    "Workspace",
    "__version__",
    "run",
]

_HOMES = {
    "BatchmillError": "batchmill.errors",
    "EntryScript": "batchmill.worker.entry_script",
    "Run": "batchmill.parallel_run.run",
    "run": "batchmill.parallel_run.run",
    "testing": "batchmill.testing",
    "CommandStep": "batchmill.pipeline.command_step",
    "OutputFileDatasetConfig": "batchmill.pipeline.output_dataset",
    "ParallelRunConfig": "batchmill.pipeline.parallel_run_config",
    "ParallelRunStep": "batchmill.pipeline.parallel_run_step",
    "Pipeline": "batchmill.pipeline.pipeline",
    "PipelineData": "batchmill.pipeline.pipeline_data",
    "PipelineEndpoint": "batchmill.pipeline.pipeline_endpoint",
    "PipelineParameter": "batchmill.pipeline.parameter",
    "PublishedPipeline": "batchmill.pipeline.published_pipeline",
    "PythonScriptStep": "batchmill.pipeline.python_script_step",
    "Schedule": "batchmill.pipeline.schedule",
    "ScheduleRecurrence": "batchmill.pipeline.recurrence",
    "StepSequence": "batchmill.pipeline.step_sequence",
    "AmlCompute": "batchmill.workspace.compute",
    "ComputeTarget": "batchmill.workspace.compute",
    "CondaDependencies": "batchmill.workspace.conda_dependencies",
    "DataPath": "batchmill.workspace.data_path",
    "DataReference": "batchmill.workspace.data_path",
    "DataType": "batchmill.workspace.data_type",
    "Dataset": "batchmill.workspace.dataset",
    "DatasetConsumptionConfig": "batchmill.workspace.consumption",
    "Datastore": "batchmill.workspace.datastore",
    "Environment": "batchmill.workspace.environment",
    "FileDataset": "batchmill.workspace.file_dataset",
    "Model": "batchmill.workspace.model",
    "RayCompute": "batchmill.workspace.ray_compute",
    "RunConfiguration": "batchmill.workspace.run_configuration",
    "ScriptRunConfig": "batchmill.workspace.run_configuration",
    "TabularDataset": "batchmill.workspace.tabular_dataset",
    "Experiment": "batchmill.pipeline.experiment",
    "ExperimentRun": "batchmill.pipeline.experiment_run",
    "PipelineRun": "batchmill.pipeline.pipeline_run",
    "RunDetails": "batchmill.pipeline.run_details",
    "ScriptRun": "batchmill.pipeline.script_run",
    "StepRun": "batchmill.pipeline.step_run",
    "Workspace": "batchmill.workspace.workspace",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'batchmill' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"batchmill.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
