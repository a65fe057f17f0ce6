"""The graph of a pipeline: steps, what flows between them, parameters. Plain values, frozen, and the same as JSON.

A `Pipeline` makes it once, when it is constructed; what is submitted, published and carried out is the graph and nothing else. Values that
are known only when a step begins stand in it as references.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

PYTHON: Final = "python"
COMMAND: Final = "command"
PARALLEL_RUN: Final = "parallel_run"
FILE: Final = "file"
TABULAR: Final = "tabular"

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Reference:
    """What stands for a value until the step begins: a pipeline parameter (its value), or an input or output of the step (its path on
    this machine; of a dataset that is given directly its id). As JSON: ``{"$": "parameter", "name": "size"}``."""

    to: Literal["parameter", "input", "output"]
    name: str


Value: TypeAlias = "str | int | float | bool | Reference | None"
"""A word of the command line or a setting; all of it reaches scripts as text."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the pipeline.

    ``default`` is a scalar; for kind "datapath" ``{"datastore": NAME, "path": PATH}``; for kind "dataset" the fields of `DatasetSource`.
    """

    name: str
    kind: Literal["string", "int", "float", "bool", "datapath", "dataset"]
    default: Any


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A dataset: its definition (`batchmill.data.definition.Definition.to_dict`), and once it is saved the id it has in the workspace."""

    type: Literal["file", "tabular"]
    definition: dict[str, Any]
    id: str | None = None
    name: str | None = None
    version: int | None = None
    of: Literal["dataset"] = "dataset"


@dataclass(frozen=True, slots=True)
class PathSource:
    """A path on a datastore (Azure ML: ``DataReference``, ``DataPath``); the empty path is its root."""

    datastore: str
    path: str = ""
    of: Literal["path"] = "path"


@dataclass(frozen=True, slots=True)
class OutputSource:
    """What another step leaves: the output ``output`` of the node ``node``.

    ``type`` says whether it is taken as the folder itself ("folder": a ``PipelineData``), or as a dataset of the files in it.
    ``read`` says how the files are read, for example as a table: ``{"format": "csv" | "parquet", "options": {...}, "pattern": "**/*.csv",
    "operations": [...]}``, see `batchmill.pipeline.read_output`. ``register`` names the dataset when it is made: ``{"name": ...,
    "create_new_version": True, "description": ..., "tags": ...}``.
    """

    node: str
    output: str
    type: Literal["folder", "file", "tabular"] = "folder"
    read: dict[str, Any] | None = None
    register: dict[str, Any] | None = None
    of: Literal["output"] = "output"


@dataclass(frozen=True, slots=True)
class ParameterSource:
    """A pipeline parameter whose value is a dataset or a path on a datastore."""

    parameter: str
    of: Literal["parameter"] = "parameter"


Source: TypeAlias = "DatasetSource | PathSource | OutputSource | ParameterSource"


@dataclass(frozen=True, slots=True)
class InputPort:
    """An input of a step. ``mode``: direct (the script gets the id of the dataset), mount, download, or upload (of a `PathSource`: a folder
    to be filled). ``path_on_compute``: absolute as it is, relative below the working directory. ``side``: of a parallel run, not cut."""

    name: str
    source: Source
    mode: Literal["direct", "mount", "download", "upload"] = "mount"
    path_on_compute: str | None = None
    overwrite: bool = False
    side: bool = False


@dataclass(frozen=True, slots=True)
class OutputPort:
    """An output of a step: a folder on a datastore.

    ``destination`` is its path there; ``{run-id}`` and ``{output-name}`` in it mean the id of the step run and the name of the output.
    ``exists``: whether the folder is made before the script begins (Azure ML: for ``OutputFileDatasetConfig``, not for ``PipelineData``).
    ``is_directory`` False: it may be a single file. ``register``: registers a dataset of it when the step has completed
    (``{"name", "description", "tags"}``); ``read`` as in `OutputSource`. ``pipeline_output``: its name as an output of the pipeline.
    """

    name: str
    datastore: str
    destination: str = "azureml/{run-id}/{output-name}"
    mode: Literal["mount", "upload"] = "mount"
    path_on_compute: str | None = None
    overwrite: bool = False
    exists: bool = False
    source_globs: str | None = None
    register: dict[str, Any] | None = None
    read: dict[str, Any] | None = None
    pipeline_output: str | None = None
    data_type: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    ``id``: eight hexadecimal digits. ``script``: below ``source``, the folder that becomes the snapshot; ``snapshot`` is the digest of its
    copy in the workspace once there is one (`batchmill.pipeline.source_snapshot`). ``command``: the words of a `COMMAND` step.
    ``settings``: of a `PARALLEL_RUN` step its values for `batchmill.settings.RunSettings`. ``environment``: `Environment.to_dict()` or None
    for this interpreter. ``compute``: a name, or None for this machine. ``node_count``: nodes of the compute target that it wants.
    ``after``: ids of nodes that must have completed, besides those whose outputs it reads.
    """

    id: str
    name: str
    kind: Literal["python", "command", "parallel_run"]
    module: str
    """An id for what it does, made of kind, name and script: the same in every pipeline that holds the step."""
    source: str | None = None
    script: str | None = None
    snapshot: str | None = None
    command: tuple[Value, ...] = ()
    arguments: tuple[Value, ...] = ()
    params: dict[str, Value] = field(default_factory=dict)
    inputs: tuple[InputPort, ...] = ()
    outputs: tuple[OutputPort, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    compute: str | None = None
    node_count: Value = 1
    timeout: float | None = None
    """Seconds until a script step is ended as Failed; None: no bound."""
    models: tuple[str, ...] = ()
    allow_reuse: bool = True
    reuse: Literal["step", "mini_batch"] = "step"
    after: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids of the nodes that must have completed before it begins, each once."""
        read = [port.source.node for port in self.inputs if isinstance(port.source, OutputSource)]
        return tuple(dict.fromkeys([*read, *self.after]))

    def references(self) -> Iterator[Reference]:
        """All values that are known only when it begins."""
        words = (*self.command, *self.arguments, *self.params.values(), *self.settings.values(), self.node_count)
        yield from (word for word in words if isinstance(word, Reference))


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps in the order they were given (producers that were left out come before their readers), and the parameters by name."""

    nodes: tuple[Node, ...]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    default_datastore: str | None = None
    description: str | None = None

    def node(self, id: str) -> Node:
        """The node of that id.

        Raises:
            KeyError: there is none.
        """
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        made = _plain(self)
        assert isinstance(made, dict)
        return made

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The graph that `to_dict` made the values of."""
        return _shaped(cls, values)

    @property
    def digest(self) -> str:
        """SHA-256 of its JSON: the same for equal graphs."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Reference):
        return {"$": value.to, "name": value.name}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


SOURCES = {"dataset": DatasetSource, "path": PathSource, "output": OutputSource, "parameter": ParameterSource}
_MEMBERS: dict[str, type] = {"inputs": InputPort, "outputs": OutputPort, "nodes": Node, "parameters": Parameter}


def _shaped(shape: type[Shape], values: Mapping[str, Any]) -> Shape:
    """A dataclass of this module from its JSON; fields that a later version added have their defaults, unknown ones are left out."""
    hints = typing.get_type_hints(shape)
    made = {one.name: _field(one.name, hints[one.name], values[one.name]) for one in fields(shape) if one.name in values}  # type: ignore[arg-type]
    return shape(**made)


def _field(name: str, hint: Any, value: Any) -> Any:
    if name == "source" and isinstance(value, Mapping):
        return _shaped(SOURCES[value["of"]], value)
    member = _MEMBERS.get(name)
    if member is not None and isinstance(value, Mapping):
        return {key: _shaped(member, one) for key, one in value.items()}
    if member is not None:
        return tuple(_shaped(member, one) for one in value)
    found = _valued(value)
    return tuple(found) if typing.get_origin(hint) is tuple else found


def _valued(value: Any) -> Any:
    """JSON values with the references among them."""
    if isinstance(value, Mapping):
        if value.keys() == {"$", "name"}:
            return Reference(value["$"], value["name"])
        return {key: _valued(one) for key, one in value.items()}
    return [_valued(one) for one in value] if isinstance(value, list) else value
