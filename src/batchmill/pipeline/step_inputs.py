"""The inputs of a step: found, and brought to this machine where the script wants files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import PARALLEL_RUN, TABULAR, DatasetSource, InputPort, OutputSource, PathSource
from batchmill.pipeline.step_place import INPUTS, StepPlace, empty
from batchmill.pipeline.step_work import BoundInput
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.data.definition import Definition
    from batchmill.workspace.file_dataset import FileDataset


PLACES = "places.txt"
"""In the folder of the step run: what was put elsewhere on this machine for its script, a path a line."""


def found_inputs(step: StepPlace) -> dict[str, BoundInput]:
    """What the inputs are, before anything is brought here: datasets have their ids, paths of datastores their places.

    Raises:
        BatchmillError: one cannot be found.
    """
    return {port.name: _found(step, port) for port in step.node.inputs}


@contextmanager
def bound_inputs(step: StepPlace, found: dict[str, BoundInput]) -> Iterator[dict[str, BoundInput]]:
    """The inputs with their paths on this machine, for the block; what was mounted goes away at its end.

    The inputs of a parallel run that are cut into mini-batches are read where they lie.

    Raises:
        BatchmillError: one does not exist, cannot be read, or its place on this machine is taken.
    """
    empty(step.folder / INPUTS)
    notes = step.folder / PLACES
    for place in notes.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if notes.exists() else ():
        empty(Path(place))  # of an attempt that was killed
    notes.unlink(missing_ok=True)
    with ExitStack() as mounts:
        yield {name: _bound(step, one, mounts) for name, one in found.items()}


def _found(step: StepPlace, port: InputPort) -> BoundInput:
    source = step.source_of(port)
    if isinstance(source, DatasetSource):
        return BoundInput(port, dataset_id=source.id or _save(step, source.definition))
    if isinstance(source, PathSource):
        return BoundInput(port, place=place_text(source))
    path = step.made_by(source)
    if source.type == "folder":
        return BoundInput(port, place=place_text(path))
    definition = _of_output(step, source, path)
    return BoundInput(port, dataset_id=_named(step, source, definition), place=place_text(path))


def place_text(path: PathSource) -> str:
    """``datastore://NAME/PATH``."""
    return f"datastore://{path.datastore}/{path.path}"


def _save(step: StepPlace, definition: dict[str, Any]) -> str:
    return step.workspace.registry.save("dataset", definition).id


def _of_output(step: StepPlace, source: OutputSource, path: PathSource) -> Definition:
    from batchmill.pipeline.read_output import definition_of

    return definition_of(source.read, place_text(path), source.type, is_file=_is_file(step, path))


def _named(step: StepPlace, source: OutputSource, definition: Definition) -> str:
    """The id of the dataset that an output is read as; registered where it was given a name."""
    if source.register is None:
        return _save(step, definition.to_dict())
    from batchmill.pipeline.step_outputs import register

    return str(register(step.workspace, definition, source.register).id)


def _is_file(step: StepPlace, path: PathSource) -> bool:
    local = step.local(path.datastore, path.path)
    if local is not None:
        return local.is_file()
    return any(file.name == path.path for file in step.datastore(path.datastore).files(path.path))


# --- on this machine --------------------------------------------------------------------------------------------------------------


def _bound(step: StepPlace, one: BoundInput, mounts: ExitStack) -> BoundInput:
    port = one.port
    if port.mode == "direct" or (step.node.kind == PARALLEL_RUN and not port.side):
        return one
    source = step.source_of(port)
    return BoundInput(port, str(_path(step, port, source, mounts)), one.dataset_id, one.place)


def _path(step: StepPlace, port: InputPort, source: DatasetSource | PathSource | OutputSource, mounts: ExitStack) -> Path:
    target = step.on_compute(port.path_on_compute, INPUTS, port.name)
    if isinstance(source, DatasetSource):
        return _brought(step, _definition(source), port, target, mounts)
    path = source if isinstance(source, PathSource) else step.made_by(source)
    if isinstance(source, OutputSource) and source.type == TABULAR:
        raise UserErrorException(f"Input {port.name} of step {step.node.name} is a table: it can be given directly, not as files.")
    local = step.local(path.datastore, path.path)
    read = source.read if isinstance(source, OutputSource) else None
    if local is not None and port.mode in ("mount", "upload") and not read:
        return _in_place(local, port, target, mounts)
    if port.mode == "upload":
        target.mkdir(parents=True, exist_ok=True)
        return target
    if isinstance(source, OutputSource) and read:
        return _brought(step, _of_output(step, source, path), port, target, mounts)
    return _brought(step, _files_at(step, path), port, target, mounts)


def _definition(source: DatasetSource) -> Definition:
    from batchmill.data.definition import Definition

    return Definition.from_dict(source.definition)


def _files_at(step: StepPlace, path: PathSource) -> Definition:
    from batchmill.pipeline.read_output import definition_of
    from batchmill.workspace.file_factory import literal

    return definition_of(None, place_text(PathSource(path.datastore, literal(path.path))), "file", is_file=_is_file(step, path))


def _in_place(local: Path, port: InputPort, target: Path, mounts: ExitStack) -> Path:
    """A path of a local datastore is what it is; where another place is asked for, that is a link to it."""
    if port.mode == "upload":
        local.mkdir(parents=True, exist_ok=True)
    if port.path_on_compute is None:
        return local
    if target.is_symlink() and os.readlink(target) == str(local):
        target.unlink()  # of an attempt that was killed
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(local)
    except FileExistsError:
        raise UserErrorException(f"Input {port.name} cannot be put at {target}: something is there already.") from None
    mounts.callback(target.unlink, missing_ok=True)
    return target


def _brought(step: StepPlace, definition: Definition, port: InputPort, target: Path, mounts: ExitStack) -> Path:
    """The files of a dataset: a mount or copies of them. A dataset of one file is that file."""
    from batchmill.workspace.file_dataset import FileDataset

    _note(step, target)
    dataset = FileDataset(definition, step.workspace)
    if port.mode == "mount":
        return _mounted(dataset, target, mounts)
    paths = dataset.download(target, overwrite=port.overwrite)
    if dataset.files().single is not None and paths:
        return Path(paths[0])
    target.mkdir(parents=True, exist_ok=True)
    return target


def _note(step: StepPlace, target: Path) -> None:
    """Remember what is about to be filled, unless something of others is there."""
    if target.is_relative_to(step.folder) or (os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir()))):
        return
    with (step.folder / PLACES).open("a", encoding="utf-8", errors="surrogateescape") as notes:
        notes.write(f"{target}\n")


def _mounted(dataset: FileDataset, target: Path, mounts: ExitStack) -> Path:
    single = dataset.files().single
    point = target if single is None else target / os.path.basename(single)
    context = dataset.mount(point)
    context.start()
    mounts.callback(context.stop)
    return Path(context.mount_point)
