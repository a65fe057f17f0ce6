"""What is told of a run as a whole: ``run.get_details()``, the node of a step run, the error of a failed one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import DatasetSource, Graph, InputPort, Node, ParameterSource
from batchmill.pipeline.run_artifacts import RunArtifacts
from batchmill.pipeline.run_status_words import run_word
from batchmill.records import RunStatus
from batchmill.workspace.registered_run import SCRIPT_RUN, STEP_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

NODE_ID = "azureml.nodeid"
PIPELINE_ID = "azureml.pipeline"
REUSED_RUN_ID = "azureml.reusedrunid"


def graph_of(workspace: Workspace, run: RegisteredRun) -> Graph | None:
    """The graph that a pipeline run carries out, or that a step run belongs to; None for other runs."""
    if "graph" not in run.details:
        above = workspace.registry.run(run.parent) if run.parent is not None else None
        return None if above is None else graph_of(workspace, above)
    asset = workspace.registry.by_id("graph", str(run.details["graph"]))
    return None if asset is None else Graph.from_dict(asset.definition)


def node_of(workspace: Workspace, run: RegisteredRun, graph: Graph | None = None) -> Node | None:
    """The node that the run of a step or a script carries out; None for other runs."""
    node_id = label_of(run, NODE_ID)
    if run.kind == SCRIPT_RUN or node_id:
        graph = graph or graph_of(workspace, run)
    if run.kind == SCRIPT_RUN:
        return graph.nodes[0] if graph is not None else None
    return next((node for node in graph.nodes if node.id == node_id), None) if graph is not None else None


def label_of(run: RegisteredRun, key: str) -> str | None:
    """A property of a run, or the tag of that name."""
    return run.properties.get(key) or run.tags.get(key)


def places_of(workspace: Workspace, run: RegisteredRun) -> dict[str, dict[str, str]]:
    """Where the outputs of a step run lie: name -> ``{"datastore": NAME, "path": PATH}``; of a reused one where they were made."""
    kept = run.details.get("outputs")
    if kept:
        return {name: {"datastore": str(one["datastore"]), "path": str(one["path"])} for name, one in kept.items()}
    from batchmill.pipeline.step_outputs import destination

    node = node_of(workspace, run)
    maker = label_of(run, REUSED_RUN_ID) or run.id
    ports = () if node is None else node.outputs
    return {port.name: {"datastore": port.datastore, "path": destination(port, maker)} for port in ports}


def artifacts_of(workspace: Workspace, run: RegisteredRun) -> RunArtifacts:
    """The files of a run; of a step that was reused those of the run that stands for it."""
    reused = label_of(run, REUSED_RUN_ID)
    maker = workspace.registry.run(reused) if reused else None
    return RunArtifacts(workspace, (maker or run).id, (maker or run).folder)


def error_of(run: RegisteredRun) -> dict[str, Any] | None:
    """The error of a run that failed or that nobody works at any more, as Azure ML says it; None for others."""
    status = run.live_status
    if status == RunStatus.INTERRUPTED:
        message = interruption(run)
    elif status == RunStatus.FAILED:
        message = run.error or "No reason was recorded."
    else:
        return None
    code = "UserError" if status == RunStatus.FAILED else "Interrupted"
    return {"error": {"code": code, "message": message, "messageParameters": {}, "details": []}, "time": utc_text(run.ended)}


def interruption(run: RegisteredRun) -> str:
    """Why nothing happens any more, and what goes on with it."""
    whole = run.parent if run.kind == STEP_RUN and run.parent else run.id
    died = "the process that carried it out has died"
    return f"Run {run.id} ({run.name}) was interrupted: {died}. Go on with it: batchmill resume {whole}"


def details_of(workspace: Workspace, run: RegisteredRun) -> dict[str, Any]:
    """A run as a dict, in the terms of Azure ML; log files by name with where they lie."""
    node = node_of(workspace, run)
    above = workspace.registry.run(run.parent) if run.parent else None
    told: dict[str, Any] = {
        "runId": run.id,
        "target": run.compute or "local",
        "status": run_word(run),
        "startTimeUtc": utc_text(run.started),
        "endTimeUtc": utc_text(run.ended),
        "services": {},
        "properties": dict(run.properties),
        "inputDatasets": [] if node is None else list(_input_datasets(workspace, above or run, node)),
        "outputDatasets": list(_output_datasets(workspace, run)),
        "runDefinition": _definition(workspace, run, node),
        "logFiles": artifacts_of(workspace, run).urls(),
        "submittedBy": str((above or run).details.get("submitted_by") or ""),
    }
    error = error_of(run)
    return told if error is None else told | {"error": error}


def utc_text(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00.000000Z``."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _definition(workspace: Workspace, run: RegisteredRun, node: Node | None) -> dict[str, Any]:
    if node is None:
        return {key: value for key, value in run.details.items() if key in ("graph", "parameters", "pipeline")}
    plain = Graph((node,)).to_dict()["nodes"][0]
    return {
        "script": node.script,
        "command": plain["command"],
        "arguments": plain["arguments"],
        "target": node.compute or "local",
        "nodeCount": plain["node_count"],
        "environment": node.environment,
        "environmentVariables": dict(node.environment_variables),
    }


def _input_datasets(workspace: Workspace, whole: RegisteredRun, node: Node) -> Iterator[dict[str, Any]]:
    """``whole``: the run that has the values of the parameters."""
    given = whole.details.get("parameters") or {}
    for port in node.inputs:
        dataset_id = _dataset_id(port, given)
        if dataset_id is not None:
            consumed = {"type": "RunInput", "inputName": port.name, "mechanism": port.mode.capitalize()}
            yield {"dataset": _dataset(workspace, dataset_id), "consumptionDetails": consumed}


def _output_datasets(workspace: Workspace, run: RegisteredRun) -> Iterator[dict[str, Any]]:
    """Those that were registered of what the step left."""
    for name, one in (run.details.get("outputs") or {}).items():
        made = one.get("dataset")
        if made is not None:
            told = {"outputType": "RunOutput", "outputDetails": {"outputName": name}, "identifier": {"savedId": made["id"]}}
            yield told | {"dataset": _dataset(workspace, str(made["id"]))}


def _dataset_id(port: InputPort, parameters: dict[str, Any]) -> str | None:
    if isinstance(port.source, DatasetSource):
        return port.source.id
    value = parameters.get(port.source.parameter) if isinstance(port.source, ParameterSource) else None
    return value.get("id") if isinstance(value, dict) else None


def _dataset(workspace: Workspace, id: str) -> Any:
    from batchmill.workspace.dataset import Dataset
    from batchmill.workspace.exceptions import UserErrorException

    try:
        return Dataset.get_by_id(workspace, id)
    except UserErrorException:  # it has been removed since
        return {"id": id}


def folder_url(run: RegisteredRun) -> str:
    """The folder of a run as a URL: what stands where Azure ML has the page of the run."""
    return Path(run.folder).absolute().as_uri() if run.folder and "://" not in run.folder else run.folder or f"batchmill:runs/{run.id}"
