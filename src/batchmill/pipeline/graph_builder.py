"""From the steps that a user wrote to the frozen graph of a pipeline: who is needed, who waits for whom, what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from batchmill.pipeline.graph import Graph, InputPort, Node, OutputPort, OutputSource
from batchmill.pipeline.parameter import declared_parameters
from batchmill.pipeline.step import PipelineStep, producer_of
from batchmill.pipeline.step_sequence import orders_of, steps_of

CYCLE = "Cycle detected including node {}({})"
NOT_CONNECTED = "Input {input} on step {step} is not connected to any previous step"
NO_PRODUCER = 'The intermediate data "{}" does not have any producer step.'
TWO_PRODUCERS = "Step output %s can not be used as an output for step %s, as it is already an output of step %s."


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """A graph, the datasets of the user that stand in it, and what keeps it from being submitted, one text each."""

    graph: Graph
    datasets: tuple[Any, ...]
    errors: tuple[str, ...]


def build_graph(
    steps: Any, *, default_datastore: str, default_source: str | None = None, description: str | None = None, closure: bool = True
) -> BuiltGraph:
    """The graph of steps, nested lists of steps and sequences.

    ``closure``: also take the steps that these wait for, and those that make what they read.

    Raises:
        ValueError: an element is no step, two steps make the same output, or data read as a dataset is made by no step; two parameters
            of one name have different defaults.
    """
    listed = list(dict.fromkeys(steps_of(steps)))
    taken = _closed(listed) if closure else listed
    ids = {step: _node_id(number, step) for number, step in enumerate(taken)}
    made = _producers(taken)
    orders = list(orders_of(steps))
    nodes: list[Node] = []
    errors: list[str] = []
    for step in taken:
        node = step.node(ids[step], default_source=default_source)
        inputs = tuple(_connected(port, step, made, ids, errors) for port in node.inputs)
        outputs = tuple(_placed(port, default_datastore) for port in node.outputs)
        before = [*step.after, *(earlier for earlier, later in orders if later is step)]
        after = tuple(dict.fromkeys(ids[one] for one in before if one in ids))
        nodes.append(replace(node, inputs=inputs, outputs=outputs, after=after))
    parameters = declared_parameters([one for step in taken for one in step.parameters])
    graph = Graph(tuple(nodes), parameters, default_datastore, description)
    errors += _cycles(graph)
    datasets = dict.fromkeys(id(one) for step in taken for one in step.datasets)
    by_id = {id(one): one for step in taken for one in step.datasets}
    return BuiltGraph(graph, tuple(by_id[key] for key in datasets), tuple(errors))


def _closed(steps: Sequence[PipelineStep]) -> list[PipelineStep]:
    """The steps and all that they need, producers and predecessors first."""
    made = {key for step in steps for key in step.makes.values()}
    found: dict[PipelineStep, None] = {}
    open_: set[PipelineStep] = set()

    def needed(step: PipelineStep) -> Iterator[PipelineStep]:
        yield from step.after
        for key in step.reads.values():
            producer = None if key in made else producer_of(key)
            if producer is not None:
                yield producer

    def take(step: PipelineStep) -> None:
        if step in found or step in open_:
            return
        open_.add(step)  # a cycle ends here, and is reported later
        for one in needed(step):
            take(one)
        found[step] = None

    for step in steps:
        take(step)
    return list(found)


def _node_id(number: int, step: PipelineStep) -> str:
    """Eight hexadecimal digits, the same whenever the same pipeline is constructed."""
    return hashlib.sha256(f"{number}\0{type(step).__name__}\0{step.name}".encode()).hexdigest()[:8]


def _producers(steps: Sequence[PipelineStep]) -> Mapping[str, tuple[PipelineStep, str]]:
    made: dict[str, tuple[PipelineStep, str]] = {}
    for step in steps:
        for name, key in step.makes.items():
            if key in made:
                raise ValueError(TWO_PRODUCERS % (name, step.name, made[key][0].name))
            made[key] = (step, name)
    return made


def _connected(
    port: InputPort,
    step: PipelineStep,
    made: Mapping[str, tuple[PipelineStep, str]],
    ids: Mapping[PipelineStep, str],
    errors: list[str],
) -> InputPort:
    key = step.reads.get(port.name)
    if key is None or not isinstance(port.source, OutputSource):
        return port
    producer = made.get(key)
    if producer is None:
        if port.source.type != "folder":
            raise ValueError(NO_PRODUCER.format(port.source.output or port.name))
        errors.append(NOT_CONNECTED.format(input=port.name, step=step.name))
        return port
    return replace(port, source=replace(port.source, node=ids[producer[0]], output=producer[1]))


def _placed(port: OutputPort, default_datastore: str) -> OutputPort:
    return port if port.datastore else replace(port, datastore=default_datastore)


def _cycles(graph: Graph) -> list[str]:
    known = {node.id for node in graph.nodes}
    try:
        TopologicalSorter({node.id: [one for one in node.needs if one in known] for node in graph.nodes}).prepare()
    except CycleError as error:
        node = graph.node(error.args[1][0])
        return [CYCLE.format(node.name, node.id)]
    return []
