"""Submitting a graph: what must hold before a run begins, the run's record, and the process that carries it out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from batchmill.pipeline.graph import DatasetSource, Graph, InputPort, Parameter
from batchmill.workspace.exceptions import ComputeTargetException, UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.run_index import RegisteredRun
    from batchmill.workspace.workspace import Workspace

PIPELINE_RUN = "azureml.PipelineRun"
FOLDER = "pipeline_runs"
LOCAL = "local"
UNKNOWN_PARAMETER = "Pipeline parameter with name {0} does not exist"
WRONG_TYPE = "Pipeline parameter with name {} is of incorrect type {}. Expected type: {}"
SCALARS = (str, int, float, bool)


def submit_graph(
    workspace: Workspace,
    graph: Graph,
    experiment: str,
    *,
    graph_id: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    continue_on_step_failure: bool = False,
    regenerate_outputs: bool = False,
    parent: str | None = None,
    name: str | None = None,
    source: str = "SDK",
    pipeline: str | None = None,
    run_id: str | None = None,
    kind: str = PIPELINE_RUN,
    unknown: Literal["refuse", "ignore"] = "refuse",
) -> RegisteredRun:
    """Start a run of a kept graph (`keep_graph`) in a process of its own; returns its record at once.

    Args:
        parameters: values by name; others have their defaults. A dataset or `DataPath` is taken as the object or as `graph.Parameter` says.
        unknown: what to do with names that are no parameters of the graph.
        source: who asks: "SDK", "CLI", "Schedule".
        pipeline: the id of the published pipeline that this is.
        run_id: that of the new run, where it has been decided already; no run has it yet.
        kind: what the run is called: that of a pipeline, or of a single script.

    Raises:
        Exception: the graph has no such parameter (Azure ML: no class of its own).
        TypeError: a parameter is of the wrong type.
        ComputeTargetException: a step names a compute target that does not exist; nothing was started.
    """
    from batchmill.pipeline.runner import start_runner

    values = parameter_values(workspace, graph, parameters or {}, unknown)
    check_compute_targets(workspace, graph)
    kept = graph_id or keep_graph(workspace, graph)
    workspace.registry.experiment(experiment)
    run_id = run_id or str(uuid.uuid4())
    folder = Path(workspace.folder, FOLDER, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    details = {
        "graph": kept,
        "parameters": values,
        "continue_on_step_failure": bool(continue_on_step_failure),
        "regenerate_outputs": bool(regenerate_outputs),
        "description": graph.description,
        "source": source,
        "submitted_by": os.environ.get("LOGNAME") or os.environ.get("USER"),
        "pipeline": pipeline,
    }
    run = workspace.registry.add_run(
        run_id,
        kind=kind,
        name=name or graph.description or experiment,
        experiment=experiment,
        parent=parent,
        folder=str(folder),
        details=details,
        tags=tags,
        properties={"azureml.runsource": kind, "runSource": source, **(properties or {})},
    )
    start_runner(workspace, run_id)
    return run


def keep_graph(workspace: Workspace, graph: Graph) -> str:
    """Keep a graph whose sources are snapshots in the workspace; returns its id, the same for the same graph."""
    return workspace.registry.save("graph", graph.to_dict()).id


def kept_graph(workspace: Workspace, id: str) -> Graph:
    """The graph that was kept under an id.

    Raises:
        UserErrorException: there is none.
    """
    asset = workspace.registry.by_id("graph", id)
    if asset is None:
        raise UserErrorException(f"Workspace '{workspace.name}' has no graph {id}.")
    return Graph.from_dict(asset.definition)


def with_snapshots(workspace: Workspace, graph: Graph) -> Graph:
    """The graph as it can be kept: sources copied, datasets saved.

    Raises:
        SnapshotError: a source folder is missing or too large.
    """
    from batchmill.pipeline.source_snapshot import keep_snapshot

    taken: dict[tuple[str, str | None], str] = {}
    nodes = []
    for node in graph.nodes:
        if node.source is not None and node.snapshot is None:
            where = (node.source, node.script)
            taken[where] = taken.get(where) or keep_snapshot(workspace, Path(node.source), node.script)
            node = replace(node, snapshot=taken[where])
        nodes.append(replace(node, inputs=tuple(_saved_input(workspace, port) for port in node.inputs)))
    parameters = {name: _saved_parameter(workspace, one) for name, one in graph.parameters.items()}
    return replace(graph, nodes=tuple(nodes), parameters=parameters)


def _saved_input(workspace: Workspace, port: InputPort) -> InputPort:
    return replace(port, source=_saved(workspace, port.source)) if isinstance(port.source, DatasetSource) else port


def _saved(workspace: Workspace, source: DatasetSource) -> DatasetSource:
    return replace(source, id=workspace.registry.save("dataset", source.definition).id) if source.id is None else source


def _saved_parameter(workspace: Workspace, one: Parameter) -> Parameter:
    return replace(one, default=asdict(_saved(workspace, DatasetSource(**one.default)))) if one.kind == "dataset" else one


def check_compute_targets(workspace: Workspace, graph: Graph) -> None:
    """Raises:
    ComputeTargetException: a step names a compute target that the workspace does not have.
    """
    from batchmill.workspace.pool_lease import missing

    names = {node.compute: node for node in graph.nodes if node.compute not in (None, LOCAL)}
    there = set(workspace.registry.names("compute")) if names else set()
    for name, node in names.items():
        if name is not None and name not in there:
            raise ComputeTargetException(f"{missing(name)} (step {node.name})")


# --- parameters -------------------------------------------------------------------------------------------------------------------


def parameter_values(
    workspace: Workspace, graph: Graph, given: Mapping[str, Any], unknown: Literal["refuse", "ignore"] = "refuse"
) -> dict[str, Any]:
    """The value of every parameter of the graph in a run, as JSON: those given, and the defaults of the others.

    Raises:
        Exception: the graph has no parameter of a name.
        TypeError: a value is of the wrong type.
    """
    values = {name: one.default for name, one in graph.parameters.items()}
    for name, value in given.items():
        parameter = graph.parameters.get(name)
        if parameter is not None:
            values[name] = _value(workspace, parameter, value)
        elif unknown == "refuse":
            raise Exception(UNKNOWN_PARAMETER.format(name))  # Azure ML: no class of its own
    return values


def _value(workspace: Workspace, parameter: Parameter, value: Any) -> Any:
    if parameter.kind == "dataset":
        return _dataset_value(workspace, parameter, value)
    if parameter.kind == "datapath":
        return _path_value(parameter, value)
    if not isinstance(value, SCALARS):
        raise TypeError(WRONG_TYPE.format(parameter.name, type(value).__name__, parameter.kind))
    return value


def _dataset_value(workspace: Workspace, parameter: Parameter, value: Any) -> dict[str, Any]:
    from batchmill.pipeline.parameter import PipelineParameter, dataset_values

    if isinstance(value, Mapping) and value.get("of") == "dataset":
        found = dict(value)
    else:
        dataset = PipelineParameter(parameter.name, value).default_dataset if _may_be_dataset(value) else None
        if dataset is None:
            raise TypeError(WRONG_TYPE.format(parameter.name, type(value).__name__, _class_of(parameter.default["type"])))
        dataset.save(workspace)
        found = dataset_values(dataset)
    if found["type"] != parameter.default["type"]:
        raise TypeError(WRONG_TYPE.format(parameter.name, _class_of(found["type"]), _class_of(parameter.default["type"])))
    return asdict(_saved(workspace, DatasetSource(**found)))


def _may_be_dataset(value: Any) -> bool:
    return not isinstance(value, SCALARS) and hasattr(value, "__class__") and type(value).__module__.startswith("batchmill.")


def _class_of(type_: str) -> str:
    return "TabularDataset" if type_ == "tabular" else "FileDataset"


def _path_value(parameter: Parameter, value: Any) -> dict[str, str]:
    from batchmill.workspace.data_path import DataPath, relative_path

    if isinstance(value, DataPath) and value.datastore_name is not None:
        return {"datastore": value.datastore_name, "path": relative_path(value.path_on_datastore)}
    if isinstance(value, Mapping) and value.keys() == {"datastore", "path"}:
        return {"datastore": str(value["datastore"]), "path": relative_path(value["path"])}
    raise TypeError(WRONG_TYPE.format(parameter.name, type(value).__name__, "DataPath"))
