"""The outputs of a step: their folders before it begins; brought to their datastores and registered when it has completed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import PARALLEL_RUN, InputPort, OutputPort, PathSource
from batchmill.pipeline.runner_record import patiently
from batchmill.pipeline.step_place import OUTPUTS, StepPlace, empty
from batchmill.pipeline.step_work import BoundOutput
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchmill.data.definition import Definition
    from batchmill.storage.transfer import StoreFile
    from batchmill.workspace.abstract_dataset import AbstractDataset
    from batchmill.workspace.workspace import Workspace

SENT = "sent."
"""How the files are called that say, in the folder of the step run, that an output was begun to be brought to its datastore: what lies
there is then its own, of a runner that was killed meanwhile."""
OWN = "{run-id}"
"""In the destination of an output: nobody else writes there."""


def destination(port: OutputPort, step_run_id: str) -> str:
    """The path of an output on its datastore.

    >>> destination(OutputPort("scores", "store"), "4711")
    'azureml/4711/scores'
    """
    path = port.destination.replace(OWN, step_run_id).replace("{output-name}", port.name)
    return path.strip("/")


def places_of_outputs(step: StepPlace) -> dict[str, dict[str, str]]:
    """Where the outputs will lie: ``{name: {"datastore": NAME, "path": PATH}}``, as `StepPlace.made` takes it."""
    return {port.name: {"datastore": port.datastore, "path": destination(port, step.step_run_id)} for port in step.node.outputs}


def bound_outputs(step: StepPlace, *, again: bool = False) -> dict[str, BoundOutput]:
    """The outputs with their folders on this machine.

    The parent of each is there, the folder itself where the output says so, and always for a parallel run. ``again``: what an attempt that
    was interrupted has left is removed first.

    Raises:
        BatchmillError: a folder cannot be made, or a datastore is not there or cannot be written to.
    """
    return {port.name: _bound(step, port, again=again) for port in step.node.outputs}


def _bound(step: StepPlace, port: OutputPort, *, again: bool) -> BoundOutput:
    path = destination(port, step.step_run_id)
    if ".." in path.split("/"):
        raise UserErrorException(f"Output {port.name} of step {step.node.name}: '{path}' leads out of datastore {port.datastore}.")
    step.datastore(port.datastore).require_writable()
    direct = _direct(step, port, path)
    local = direct or step.on_compute(port.path_on_compute, OUTPUTS, port.name)
    if again and step.node.kind != PARALLEL_RUN and (direct is None or OWN in port.destination):
        empty(local)
    made = port.exists or step.node.kind == PARALLEL_RUN
    try:
        (local if made else local.parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserErrorException(f"Output {port.name} of step {step.node.name}: {local} cannot be made: {error.strerror}.") from None
    return BoundOutput(port, str(local), f"datastore://{port.datastore}/{path}")


def _direct(step: StepPlace, port: OutputPort, path: str) -> Path | None:
    """The folder itself, where scripts can write to it; None where they write elsewhere and it is brought there at the end."""
    apart = port.mode == "upload" or port.path_on_compute is not None
    return None if apart and step.node.kind != PARALLEL_RUN else step.local(port.datastore, path)


def publish(step: StepPlace, outputs: Mapping[str, BoundOutput]) -> dict[str, dict[str, Any]]:
    """Bring what the step has left to its datastores, and register the datasets that are made of it.

    Returns what is known of the outputs: as `places_of_outputs`, and ``dataset`` where one was registered. May be done again.

    Raises:
        BatchmillError: a datastore refuses, something that may not be overwritten is there, or a dataset cannot be registered.
    """
    places: dict[str, dict[str, Any]] = dict(places_of_outputs(step))
    for name, one in outputs.items():
        path = places[name]["path"]
        if _direct(step, one.port, path) is None:
            _send(step, one.port, Path(one.path), path)
        elif not os.path.lexists(one.path):
            os.makedirs(one.path)  # an output that nothing was written to is empty
        if one.port.register:
            places[name]["dataset"] = patiently(partial(_registered, step, one, path))
    return places


def publish_inputs(step: StepPlace, ports: Mapping[str, str | None]) -> None:
    """Bring what the step put into inputs of mode upload to their datastores; ``ports``: name -> path on this machine."""
    for port in step.node.inputs:
        source, path = step.source_of(port), ports.get(port.name)
        if port.mode == "upload" and isinstance(source, PathSource) and path and step.local(source.datastore, source.path) is None:
            _send(step, port, Path(path), source.path)


def _send(step: StepPlace, port: OutputPort | InputPort, local: Path, path: str) -> None:
    if not os.path.lexists(local):
        return
    from batchmill.workspace.store_files import files_to_upload, folder_to_upload

    datastore = step.datastore(_datastore_of(step, port))
    if local.is_dir():
        files: Iterable[StoreFile] = _wanted(folder_to_upload(local), port)
    else:
        from batchmill.storage.transfer import StoreFile

        path, name = os.path.split(path)
        files = [StoreFile(name, one.path, one.size) for one in files_to_upload([local])]
    overwrite = port.overwrite or (isinstance(port, OutputPort) and (OWN in port.destination or port.mode == "mount"))
    begun = step.folder / f"{SENT}{port.name}"
    overwrite = overwrite or begun.exists()
    if not overwrite:
        files = list(files)
        lead = f"{path}/" if path else ""
        there = {one.name for one in datastore.files(lead)}
        taken = next((one.name for one in files if lead + one.name in there), None)
        if taken is not None:
            raise UserErrorException(
                f"Output {port.name} of step {step.node.name}: {lead}{taken} is in datastore {datastore.name} already. "
                "Use overwrite=True, or another destination."
            )
    begun.touch()
    datastore.send(files, path, overwrite, False)


def _datastore_of(step: StepPlace, port: OutputPort | InputPort) -> str:
    if isinstance(port, OutputPort):
        return port.datastore
    source = step.source_of(port)
    assert isinstance(source, PathSource)
    return source.datastore


def _wanted(files: Iterable[StoreFile], port: OutputPort | InputPort) -> Iterable[StoreFile]:
    """The files that the globs of an output name; all of them without any."""
    globs = port.source_globs if isinstance(port, OutputPort) else None
    if not globs:
        return files
    patterns = [one.strip() for one in globs.split(";")] if isinstance(globs, str) else list(globs)
    return (file for file in files if any(fnmatchcase(file.name, pattern) for pattern in patterns))


def _registered(step: StepPlace, one: BoundOutput, path: str) -> dict[str, Any]:
    from batchmill.pipeline.read_output import definition_of

    port = one.port
    assert port.register is not None
    kind = "tabular" if port.read and port.read.get("format", "files") != "files" else "file"
    local = step.local(port.datastore, path)
    definition = definition_of(port.read, one.place, kind, is_file=local is not None and local.is_file())
    dataset = register(step.workspace, definition, port.register)
    return {"id": dataset.id, "name": dataset.name, "version": dataset.version}


def register(workspace: Workspace, definition: Definition, names: Mapping[str, Any]) -> AbstractDataset:
    """Register a dataset as a graph names it: ``{"name", "description", "tags", "create_new_version"}``; the same one again is itself."""
    from batchmill.workspace.file_dataset import FileDataset
    from batchmill.workspace.tabular_dataset import TabularDataset

    dataset: AbstractDataset = (FileDataset if definition.kind == "file" else TabularDataset)(definition, workspace)
    new_version = bool(names.get("create_new_version", True))
    return dataset.register(workspace, names["name"], names.get("description"), names.get("tags"), create_new_version=new_version)
