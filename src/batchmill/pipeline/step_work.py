"""What carrying out one step needs, made ready by the runner of the pipeline; and how the step ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from batchmill.pipeline.graph import Graph, InputPort, Node, OutputPort
from batchmill.records import RunStatus

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class BoundInput:
    """An input that is there. ``path``: on this machine (of a single file the file); None for a dataset that is given directly, which has
    the ``dataset_id``. ``place``: ``datastore://NAME/PATH`` where it is a path of a datastore."""

    port: InputPort
    path: str | None = None
    dataset_id: str | None = None
    place: str | None = None

    @property
    def text(self) -> str:
        """What stands for it in arguments and variables."""
        return self.path if self.path is not None else self.dataset_id or ""


@dataclass(frozen=True, slots=True)
class BoundOutput:
    """An output with its folder. ``path``: on this machine; ``place``: ``datastore://NAME/PATH`` where it stays."""

    port: OutputPort
    path: str
    place: str


@dataclass(frozen=True, slots=True)
class StepWork:
    """One step of one pipeline run.

    ``folder`` is that of the step run: ``snapshot/`` (the working copy of the source), ``inputs/``, ``outputs/``, ``logs/``. ``parameters``
    are the values of this run by name: scalars, and for datasets and paths the dictionaries of `graph.Parameter.default`. ``attempt``
    counts from 1; a step that was interrupted begins again with the next.
    """

    workspace: Workspace
    pipeline_run_id: str
    step_run_id: str
    experiment: str
    graph: Graph
    node: Node
    parameters: Mapping[str, Any]
    folder: Path
    attempt: int
    inputs: Mapping[str, BoundInput]
    outputs: Mapping[str, BoundOutput]
    canceled: Callable[[], bool]
    announce: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How a step ended: Completed, Failed or Canceled; ``error`` is one line, ``details`` what the record of the step run shall hold."""

    status: RunStatus
    error: str | None = None
    details: Mapping[str, Any] | None = None


class Carrier(Protocol):
    """Carries out the steps of one kind; called in a thread of the runner, returns when the step has ended."""

    def __call__(self, work: StepWork) -> StepOutcome: ...
