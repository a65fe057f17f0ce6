"""The words that a step is told: values of the graph as text, and the environment variables of its script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchmill.pipeline.graph import Reference, Value
from batchmill.pipeline.step_work import StepWork
from batchmill.workspace.exceptions import UserErrorException


def text_of(value: Value, work: StepWork) -> str:
    """A value as scripts get it.

    Raises:
        UserErrorException: it refers to something that the step does not have.
    """
    found = value_of(value, work)
    if isinstance(found, Mapping):  # a path on a datastore, or a dataset
        return str(found.get("path", found.get("id")))
    return str(found)


def value_of(value: Value, work: StepWork) -> Any:
    """A value with what it refers to put in: a parameter as it was given, an input or output as its text.

    Raises:
        UserErrorException: it refers to something that the step does not have.
    """
    if not isinstance(value, Reference):
        return value
    if value.to == "parameter" and value.name in work.parameters:
        return work.parameters[value.name]
    if value.to == "input" and value.name in work.inputs:
        return work.inputs[value.name].text
    if value.to == "output" and value.name in work.outputs:
        return work.outputs[value.name].path
    raise UserErrorException(f"Step {work.node.name} refers to {value.to} {value.name}, which it does not have.")


def step_variables(work: StepWork) -> dict[str, str]:
    """The environment variables of the script of a step (Azure ML: the same names)."""
    ws, node = work.workspace, work.node
    consumed = [one for one in work.inputs.values() if one.dataset_id is not None]
    made = [one.port.name for one in work.outputs.values() if one.port.exists]
    named = {name: one.text for name, one in work.inputs.items()} | {name: one.path for name, one in work.outputs.items()}
    return {
        **named,
        **{f"AZUREML_DATAREFERENCE_{name}": path for name, path in named.items()},
        **{f"AML_PARAMETER_{name}": text_of(value, work) for name, value in node.params.items()},
        "AZUREML_DATASET_ENVIRONMENT_VARS": ",".join(f"{one.port.name}:{one.port.mode}" for one in consumed),
        "AZUREML_DATASET_FILE_OUTPUTS": ";".join(made),
        "AZUREML_RUN_ID": work.step_run_id,
        "AZUREML_ROOT_RUN_ID": work.pipeline_run_id,
        "AZUREML_ARM_SUBSCRIPTION": ws.subscription_id,
        "AZUREML_ARM_RESOURCEGROUP": ws.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": ws.name,
        "AZUREML_ARM_PROJECT_NAME": work.experiment,
        "AZUREML_EXPERIMENT_ID": ws.registry.experiment(work.experiment).id if work.experiment else "",
        "AZUREML_WORKSPACE_ID": ws.id,
        "AZUREML_SERVICE_ENDPOINT": ws.folder.as_uri(),
        "AZUREML_NODE_COUNT": "1",
        "AZ_BATCHAI_INPUT_AZUREML": str(work.folder / "inputs"),
        "AZ_BATCHAI_JOB_TEMP": str(work.folder),
        "AZ_BATCH_MASTER_NODE": "localhost:6000",
        "BATCHMILL_WORKSPACE": ws.name,
        **node.environment_variables,
    }
