"""Identity of a step: all that its outputs depend on, in parts, so that two runs of it can be compared and the difference be named.

Unlike in Azure ML the content of inputs counts, not only their definitions: path, size, and etag or time of each file.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError
from batchmill.pipeline.graph import PARALLEL_RUN, OutputPort, OutputSource, Reference, Value
from batchmill.pipeline.step_work import BoundInput, StepWork
from batchmill.workspace.input_listing import QUERY, hash_of_dataset, keep_listing, listing_of_place

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

NOT_RESULTS = ("process_count_per_node", "gpus_per_process", "logging_level", "run_invocation_timeout", "run_max_try", "workers")
"""Settings of parallel runs that say how fast and how patiently, and change no row."""
Parts = dict[str, Any]


def parts_of(work: StepWork) -> Parts:
    """The parts, as JSON values; equal parts mean equal outputs.

    Raises:
        BatchmillError: an input cannot be listed, or there is no such model.
    """
    node = work.node
    return {
        "kind": node.kind,
        "script": node.script,
        "snapshot": node.snapshot,
        "command": words_of(node.command, work),
        "arguments": words_of(node.arguments, work),
        "parameters": {name: _word(value, work) for name, value in node.params.items()},
        "environment": _environment(work),
        "variables": {name: _digest(value) for name, value in sorted(node.environment_variables.items())},
        "settings": {name: _word(value, work) for name, value in sorted(node.settings.items()) if name not in NOT_RESULTS},
        "models": {text: _model(work.workspace, text) for text in node.models},
        "compute": _compute_kind(work.workspace, node.compute),
        "inputs": {name: input_part(work.workspace, one) for name, one in sorted(work.inputs.items())},
        "order": [port.name for port in node.inputs if not port.side] if node.kind == PARALLEL_RUN else [],
        "outputs": {port.name: _output_part(port) for port in node.outputs},
    }


def key_of(parts: Parts) -> str | None:
    """The key under which a run with these parts is found; None where an input is a query, whose answer may be another each time."""
    if any(one["files"] == QUERY for one in parts["inputs"].values()):
        return None
    return _digest(parts)


def words_of(words: tuple[Value, ...], work: StepWork) -> list[str]:
    """Words as they are the same in every run: inputs and outputs by their names, parameters by their values."""
    return [str(_word(word, work)) for word in words]


def _word(value: Any, work: StepWork) -> Any:
    if not isinstance(value, Reference):
        return value
    return work.parameters.get(value.name) if value.to == "parameter" else f"{{{value.to} {value.name}}}"


def input_part(ws: Workspace, one: BoundInput) -> dict[str, Any]:
    """What an input is, and the hash of the listing of what it holds now (`input_listing`)."""
    port = one.port
    what: dict[str, Any] = {"mode": port.mode, "at": port.path_on_compute, "side": port.side}
    if isinstance(port.source, OutputSource):
        what |= {"type": port.source.type, "read": port.source.read}
        return what | {"files": keep_listing(ws, listing_of_place(ws, one.place or ""))}
    if one.dataset_id is None:
        from batchmill.workspace.sources import physical

        what |= {"place": one.place, "on": _digest(physical(one.place or "", ws))}  # its datastore may lead elsewhere now
        return what | {"files": None if port.mode == "upload" else keep_listing(ws, listing_of_place(ws, one.place or ""))}
    asset = ws.registry.by_id("dataset", one.dataset_id)
    definition = asset.definition if asset is not None else {}
    return what | {"definition": _digest(definition), "files": hash_of_dataset(ws, definition)}


def _output_part(port: OutputPort) -> dict[str, Any]:
    place = [port.datastore, port.destination, port.mode, port.path_on_compute, port.source_globs]
    return {"at": place, "register": port.register, "read": port.read}


def _environment(work: StepWork) -> dict[str, Any]:
    from batchmill.parallel_run.run_identity import installed, installed_in

    if work.node.environment is None:
        return {"name": None, "installed": installed()}
    from batchmill.pipeline.source_snapshot import snapshot_folder
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.environment_policy import environment_policy
    from batchmill.workspace.environment_preparation import own_interpreter
    from batchmill.workspace.environment_recipe import recipe_of

    values, ws = dict(work.node.environment), work.workspace
    told = {"name": values.get("name"), "version": values.get("version"), "definition": _digest(values)}
    environment = Environment.from_dict(values)
    folder = None if work.node.snapshot is None else snapshot_folder(ws, work.node.snapshot)
    recipe = recipe_of(environment, folder)
    if environment.python.user_managed_dependencies:
        return told | {"installed": installed_in(own_interpreter(environment.python.interpreter_path, recipe, folder or Path.cwd()))}
    policy = environment_policy(None, ws, environment, recipe)
    return told | {"policy": policy, "installed" if policy == "current" else "recipe": installed() if policy == "current" else recipe.key}


def _model(ws: Workspace, text: str) -> dict[str, Any]:
    from batchmill.workspace.model_lookup import resolve_model

    name, _, version = text.partition(":")
    asset = resolve_model(ws, name, version or None)
    return {"id": asset.id, "version": asset.version}


def _compute_kind(ws: Workspace, compute: str | None) -> str:
    if compute in (None, "local"):
        return "local"
    from batchmill.workspace.compute import ComputeTarget

    try:
        return str(ComputeTarget(ws, compute).type)
    except BatchmillError:
        return "unknown"


def beside_of(work: StepWork) -> dict[str, Any]:
    """What the results of the parallel run of a step depend on, in words that are the same in every run of the step: what
    `batchmill.parallel_run.run_identity` takes for the arguments and variables themselves, and the content of side inputs."""
    node = work.node
    side = {name: one for name, one in work.inputs.items() if one.port.side}
    return {
        "arguments": words_of(node.arguments, work),
        "variables": {
            **{f"AML_PARAMETER_{name}": str(_word(value, work)) for name, value in node.params.items()},
            **node.environment_variables,
        },
        "beside": {f"side input '{name}'": _side_part(work.workspace, one) for name, one in side.items()},
    }


def _side_part(ws: Workspace, one: BoundInput) -> str:
    part = input_part(ws, one)
    return _digest(part | {"files": uuid.uuid4().hex} if part["files"] == QUERY else part)  # an answer is the same as no other


def _digest(value: Mapping[str, Any] | str) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
