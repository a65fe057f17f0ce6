"""One step of a pipeline as its user writes it; `PipelineStep.node` says it as a node of the graph."""

from __future__ import annotations

import hashlib
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchmill.pipeline.graph import InputPort, Node, OutputPort, Value

if TYPE_CHECKING:
    from batchmill.pipeline.parameter import PipelineParameter
    from batchmill.workspace.abstract_dataset import AbstractDataset


@dataclass(frozen=True, slots=True)
class StepPorts:
    """What a step reads, makes and is told, taken from the objects that its user gave (`batchmill.pipeline.ports_of_step`).

    ``reads`` and ``makes``: name of an input or output -> key of the pipeline data behind it. ``datasets``: the user's own objects.
    """

    inputs: tuple[InputPort, ...] = ()
    outputs: tuple[OutputPort, ...] = ()
    arguments: tuple[Value, ...] = ()
    params: dict[str, Value] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    makes: dict[str, str] = field(default_factory=dict)
    datasets: tuple[AbstractDataset, ...] = ()
    parameters: tuple[PipelineParameter, ...] = ()


class PipelineStep(ABC):
    """Base of all steps (Azure ML: ``azureml.pipeline.core.PipelineStep``).

    A step may stand in several pipelines, and its pipeline may be submitted again and again.

    Raises:
        ValueError: it has no name.
    """

    def __init__(self, name: str, ports: StepPorts) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"The name of a step is a text that is not empty, not {name!r}.")
        self.name = name
        self.ports = ports
        self.after: list[PipelineStep] = []
        self.reads = dict(ports.reads)
        self.makes = dict(ports.makes)
        self.datasets = list(ports.datasets)
        self.parameters = list(ports.parameters)
        _producers.update(dict.fromkeys(self.makes.values(), self))

    def run_after(self, step: PipelineStep) -> None:
        """Begin this step only when ``step`` has completed, in the pipelines that are constructed from now on.

        Raises:
            ValueError: ``step`` is no step.
        """
        if not isinstance(step, PipelineStep):
            raise ValueError(f"Step {self.name} can run after a step, not after {step!r}.")
        self.after.append(step)

    @abstractmethod
    def node(self, id: str, *, default_source: str | None = None) -> Node:
        """The step as a node of a graph, which still has to be connected.

        The node of an `OutputSource` is "" for the inputs in ``reads``, the datastore of an output "" where none was given; ``after`` is
        empty and ``snapshot`` None. ``default_source``: the folder of the script where the step names none.

        Raises:
            ValueError: the script is not there.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


_producers: dict[str, PipelineStep] = {}


def producer_of(key: str) -> PipelineStep | None:
    """The step that was made last with this pipeline data as an output: who reads the data needs it, though it is not mentioned."""
    return _producers.get(key)


def module_id(kind: str, name: str, script: str | None) -> str:
    """The id of what a step does, as a UUID: the same for the same kind, name and script."""
    text = "\0".join((kind, name, script or ""))
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))
