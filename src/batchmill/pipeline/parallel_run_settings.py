"""From a step of a pipeline to the settings of its parallel run: values that are known only now are put in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchmill.errors import SettingError
from batchmill.parallel_run.events import OUTPUT_HERE
from batchmill.pipeline.parallel_run_rules import checked_size
from batchmill.pipeline.special_arguments import OF_THE_PIPELINE, SPECIAL, checked_value
from batchmill.pipeline.step_text import step_variables, text_of, value_of
from batchmill.pipeline.step_work import BoundInput, BoundOutput, StepWork
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.settings import RunSettings

LOCAL, JOB_TEMP = "local", "AZ_BATCHAI_JOB_TEMP"
OUTPUT = "output"
"""Of the settings of a node: the name of the output port that the rows go to."""

NAMES = {"process_count_per_node": "workers"}
AS_THEY_ARE = (
    "error_threshold",
    "allowed_failed_count",
    "allowed_failed_percent",
    "output_action",
    "run_invocation_timeout",
    "run_max_try",
    "append_row_file_name",
    "process_count_per_node",
    "logging_level",
    "isolate_failures",
    "gpus_per_process",
)


def settings_of(work: StepWork) -> RunSettings:
    """The settings of the parallel run that carries a step out.

    Raises:
        SettingError: a value cannot be meant.
        UserErrorException: the step refers to something that it does not have, or its environment cannot be registered.
    """
    from batchmill.settings import RunSettings

    cluster = is_on_cluster(work)
    work = _on_cluster(work) if cluster else work
    node, folder = work.node, work.folder / "snapshot"
    values: dict[str, Any] = {
        "script": str(folder / (node.script or "")),
        "source": str(folder),
        "workspace": work.workspace.name,
        "name": node.name,
        "nodes": _number_of_nodes(work),
        "compute": None if node.compute == LOCAL else node.compute,
        "environment": _environment(work),
        "environment_variables": variables_of(work),
        "arguments": arguments_of(work),
        **_inputs(work),
        **_given(work),
    }
    if cluster:
        values["environment_variables"].pop(JOB_TEMP)  # its nodes have folders of their own
    output = output_of(work)
    if output is not None:
        values["output"] = output.place if output.path == OUTPUT_HERE else output.path
    if node.reuse == "mini_batch":
        values["reuse"] = "mini-batch"
    return RunSettings.parse({name: value for name, value in values.items() if value is not None})


def _on_cluster(work: StepWork) -> StepWork:
    """The work as the nodes of a cluster see it: the rows go to a remote datastore without a stop here.

    Raises:
        UserErrorException: there are several outputs, of which one would be a folder of this machine.
    """
    rows, outputs = output_of(work), dict(work.outputs)
    for name, one in work.outputs.items():
        if not _is_remote(work, one):
            continue
        if one is not rows:
            raise UserErrorException(
                f"Output {name} of step {work.node.name} lies in datastore {one.port.datastore}, which the nodes of compute target "
                f"{work.node.compute} cannot be given as a folder. Only the first output can be."
            )
        outputs[name] = replace(one, path=OUTPUT_HERE)
    return replace(work, outputs=outputs)


def is_on_cluster(work: StepWork) -> bool:
    """Whether the compute target of the step is on a Ray cluster."""
    from batchmill.workspace.compute_provider import cluster_of

    return work.node.compute not in (None, LOCAL) and cluster_of(work.workspace, str(work.node.compute)) is not None


def _is_remote(work: StepWork, one: BoundOutput) -> bool:
    from batchmill.workspace.datastore import Datastore
    from batchmill.workspace.storage_datastore import StorageDatastore

    datastore = Datastore.get(work.workspace, one.port.datastore)
    return isinstance(datastore, StorageDatastore) and bool(datastore.place().remote)


def pipeline_options(work: StepWork) -> dict[str, Any]:
    """The special arguments that the step itself looks after, by name, those that were given."""
    return {name: value for name, value in _specials(work) if name in OF_THE_PIPELINE}


def output_of(work: StepWork) -> BoundOutput | None:
    """Where the rows go; None where the step names no output."""
    name = work.node.settings.get(OUTPUT)
    return None if name is None else work.outputs[name]


def arguments_of(work: StepWork) -> list[str]:
    """What the script is told: ``--output FOLDER``, then the words of its user (Azure ML: among other words of the system)."""
    output = output_of(work)
    own = [] if output is None else ["--output", output.path]
    return [*own, *(text_of(word, work) for word in work.node.arguments)]


def variables_of(work: StepWork) -> dict[str, str]:
    """The variables of the worker processes (specification C8), the user's own last."""
    places = {name: text for name, text in ((one.port.name, one.text or one.place) for one in work.inputs.values()) if text}
    return {**step_variables(work), **places, "AZUREML_NODE_COUNT": str(_number_of_nodes(work)), **work.node.environment_variables}


def _number_of_nodes(work: StepWork) -> int:
    wanted = value_of(work.node.node_count, work)
    try:
        return int(str(1 if wanted is None else wanted))
    except ValueError:
        raise SettingError(f"Setting 'node_count' has the value {wanted!r}: it must be a whole number.") from None


def _inputs(work: StepWork) -> dict[str, Any]:
    """Datasets by their ids; folders of other steps and of datastores as files. Without input, the number of mini-batches."""
    if work.node.settings.get("rank_mini_batch_count"):
        return {"inputs": []}
    bound = [work.inputs[port.name] for port in work.node.inputs if not port.side]
    plain = any(one.dataset_id is None for one in bound)
    return {"inputs": [_input(one) for one in bound], "format": "files" if plain else None}


def _input(one: BoundInput) -> str:
    if one.dataset_id is not None:
        return f"dataset:id:{one.dataset_id}"
    if one.place is None:
        raise UserErrorException(f"Input {one.port.name} is nothing that can be cut into mini-batches.")
    return one.place


def _given(work: StepWork) -> dict[str, Any]:
    """What the configuration says, and the special arguments."""
    given = {name: value_of(work.node.settings.get(name), work) for name in (*AS_THEY_ARE, "mini_batch_size", "partition_keys")}
    found = {NAMES.get(name, name): given[name] for name in AS_THEY_ARE if given[name] is not None}
    if given["mini_batch_size"] is not None:
        found["mini_batch_size"] = _size(given["mini_batch_size"])
    if given["partition_keys"]:
        found["partition_keys"] = _keys(given["partition_keys"])
    return {**found, **{name: value for name, value in _specials(work) if name not in OF_THE_PIPELINE}}


def _size(value: Any) -> str:
    try:
        return str(checked_size(value))
    except ValueError as error:
        raise SettingError(f"Setting 'mini_batch_size' has the value {value!r}: {error}") from None


def _keys(value: Any) -> list[str]:
    if not isinstance(value, str):
        return list(value)
    try:
        keys = json.loads(value)
    except ValueError:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise SettingError(f"Setting 'partition_keys' has the value {value!r}: it must be the JSON text of a list of texts.")
    return keys


def _specials(work: StepWork) -> Iterator[tuple[str, Any]]:
    for name in SPECIAL:
        value = value_of(work.node.settings.get(name), work)
        if value is None:
            continue
        try:
            yield name, checked_value(name, value)
        except ValueError as error:
            raise SettingError(str(error)) from None


def _environment(work: StepWork) -> str | None:
    """The environment by name and version; one that is not registered yet is registered now."""
    values: Mapping[str, Any] | None = work.node.environment
    if values is None:
        return None
    from batchmill.workspace.environment import Environment

    registered = Environment.from_dict(dict(values)).register(work.workspace)
    return f"{registered.name}:{registered.version}"
