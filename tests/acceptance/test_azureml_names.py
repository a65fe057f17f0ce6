"""The `azureml` import names: all there, the very classes of Batchmill, and light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "azureml.core": "Experiment Run Workspace Datastore Dataset Environment Model ComputeTarget RunConfiguration ScriptRunConfig ScriptRun "
    "VERSION",
    "azureml.core.workspace": "Workspace",
    "azureml.core.experiment": "Experiment",
    "azureml.core.run": "Run",
    "azureml.core.script_run": "ScriptRun",
    "azureml.core.script_run_config": "ScriptRunConfig",
    "azureml.widgets": "RunDetails ParallelRunStepDetails",
    "azureml.core.datastore": "Datastore",
    "azureml.core.dataset": "Dataset",
    "azureml.core.model": "Model",
    "azureml.core.environment": "Environment CondaDependencies",
    "azureml.core.compute": "AmlCompute ComputeTarget",
    "azureml.core.compute_target": "ComputeTargetException",
    "azureml.core.conda_dependencies": "CondaDependencies",
    "azureml.core.runconfig": "CondaDependencies RunConfiguration DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE ContainerRegistry",
    "azureml.core.authentication": "ServicePrincipalAuthentication AzureCliAuthentication InteractiveLoginAuthentication",
    "azureml.data": "FileDataset TabularDataset DataType OutputFileDatasetConfig",
    "azureml.data.output_dataset_config": "OutputFileDatasetConfig OutputTabularDatasetConfig OutputDatasetConfig",
    "azureml.data.data_reference": "DataReference",
    "azureml.data.datapath": "DataPath DataPathComputeBinding",
    "azureml.data.dataset_consumption_config": "DatasetConsumptionConfig",
    "azureml.data.dataset_factory": "DataType",
    "azureml.pipeline.core": "Pipeline PipelineData PipelineParameter PipelineRun StepRun PublishedPipeline PipelineEndpoint Schedule "
    "ScheduleRecurrence StepSequence PipelineDataset PortDataReference InputPortBinding OutputPortBinding PipelineStep TimeZone",
    "azureml.pipeline.core.graph": "PipelineParameter PublishedPipeline",
    "azureml.pipeline.core.schedule": "ScheduleRecurrence Schedule TimeZone",
    "azureml.pipeline.core.pipeline_endpoint": "PipelineEndpoint PipelineVersion",
    "azureml.pipeline.core.builder": "PipelineData PipelineStep StepSequence",
    "azureml.pipeline.core.pipeline_output_dataset": "PipelineOutputFileDataset PipelineOutputTabularDataset",
    "azureml.pipeline.core.run": "PipelineRun StepRun",
    "azureml.pipeline.steps": "PythonScriptStep CommandStep ParallelRunStep ParallelRunConfig",
    "azureml.contrib.pipeline.steps": "ParallelRunStep ParallelRunConfig",
    "azureml.exceptions": "ComputeTargetException AuthenticationException UserErrorException DatasetTimestampMissingError "
    "ActivityFailedException ExperimentExecutionException WebserviceException ModelNotFoundException WorkspaceException "
    "RunConfigurationException AzureMLException ParallelRunException",
}
"""Specification A1."""

HEAVY = (
    "sqlalchemy",
    "alembic",
    "pandas",
    "numpy",
    "pyarrow",
    "obstore",
    "pydantic",
    "duckdb",
    "cryptography",
    "yaml",
    "typer",
    "rich",
    "psutil",
)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names.split()])
def test_name_is_the_one_of_batchmill(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, type):
        assert value.__module__.startswith(("batchmill.workspace.", "batchmill.pipeline."))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "azureml-compat" / "azureml").rglob("*.py")), ids=lambda path: path.parent.name + "." + path.stem
)
def test_second_distribution_holds_no_logic(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        alias = isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
        assert text or alias or isinstance(node, ast.ImportFrom), f"{path} has more than names in line {node.lineno}"


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, {', '.join(NAMES)}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert not loaded
