"""From steps to a graph: closure, order, producers, cycles."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest

from batchmill.pipeline.graph import Graph, InputPort, Node, OutputPort, OutputSource
from batchmill.pipeline.graph_builder import BuiltGraph, build_graph
from batchmill.pipeline.step import PipelineStep, StepPorts, module_id
from batchmill.pipeline.step_sequence import StepSequence


class Step(PipelineStep):
    """A step that reads and makes data by their keys."""

    def __init__(
        self, name: str, *, reads: tuple[str, ...] = (), makes: tuple[str, ...] = (), read_as: Literal["folder", "file"] = "folder"
    ) -> None:
        inputs = tuple(InputPort(key, OutputSource("", key, read_as)) for key in reads)
        outputs = tuple(OutputPort(key, "") for key in makes)
        super().__init__(name, StepPorts(inputs, outputs, reads={key: key for key in reads}, makes={key: key for key in makes}))

    def node(self, id: str, *, default_source: str | None = None) -> Node:
        return Node(id, self.name, "python", module_id("python", self.name, None), inputs=self.ports.inputs, outputs=self.ports.outputs)


def built(steps: Any, **options: Any) -> BuiltGraph:
    return build_graph(steps, default_datastore="store", **options)


def order(graph: Graph) -> dict[str, set[str]]:
    """For each step the names of those that it waits for."""
    names = {node.id: node.name for node in graph.nodes}
    return {node.name: {names[one] for one in node.needs} for node in graph.nodes}


def test_a_list_means_side_by_side() -> None:
    assert order(built([Step("a"), [Step("b"), [Step("c")]]]).graph) == {"a": set(), "b": set(), "c": set()}


def test_who_reads_waits_for_who_makes() -> None:
    graph = built([Step("late", reads=("d1",)), Step("early", makes=("d1",))]).graph
    assert order(graph) == {"late": {"early"}, "early": set()}
    assert graph.node(next(node.id for node in graph.nodes if node.name == "late")).inputs[0].source.output == "d1"  # type: ignore[union-attr]


def test_steps_that_are_needed_are_added() -> None:
    first, second, third = Step("first", makes=("d2",)), Step("second", reads=("d2",), makes=("d3",)), Step("third", reads=("d3",))
    third.run_after(before := Step("before"))
    assert order(built([third]).graph) == {"before": set(), "first": set(), "second": {"first"}, "third": {"second", "before"}}
    alone = built([third], closure=False)
    assert [node.name for node in alone.graph.nodes] == ["third"]
    assert alone.errors == ("Input d3 on step third is not connected to any previous step",)
    assert before.name == "before"
    assert second.name == "second"
    assert first.name == "first"


def test_a_later_run_after_changes_nothing_that_is_constructed() -> None:
    a, b = Step("a"), Step("b")
    graph = built([a, b]).graph
    b.run_after(a)
    assert order(graph) == {"a": set(), "b": set()}
    assert order(built([a, b]).graph) == {"a": set(), "b": {"a"}}


def test_k70_sequences_of_groups() -> None:
    a, b, c, d = (Step(name) for name in "abcd")
    assert order(built(StepSequence(steps=[a, [b, c], d])).graph) == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}
    assert order(built([StepSequence([a, []]), StepSequence([StepSequence([b, c]), [], d])]).graph)["d"] == {"b", "c"}
    assert order(built([d]).graph) == {"d": set()}  # a sequence orders the pipeline it stands in, not its steps


def test_a_cycle_is_named() -> None:
    a, b = Step("a"), Step("b")
    a.run_after(b)
    b.run_after(a)
    (error,) = built([a]).errors
    assert re.fullmatch(r"Cycle detected including node [ab]\([0-9a-f]{8}\)", error)


def test_two_producers_of_one_output() -> None:
    with pytest.raises(
        ValueError, match=r"^Step output d4 can not be used as an output for step b, as it is already an output of step a\.$"
    ):
        built([Step("a", makes=("d4",)), Step("b", makes=("d4",))])


def test_the_newest_step_with_an_output_is_who_makes_it() -> None:
    Step("old", makes=("d5",))
    Step("new", makes=("d5",))
    assert order(built([Step("reader", reads=("d5",))]).graph) == {"new": set(), "reader": {"new"}}


def test_data_that_no_step_makes() -> None:
    assert built([Step("a", reads=("nobody",))]).errors == ("Input nobody on step a is not connected to any previous step",)
    with pytest.raises(ValueError, match=r'^The intermediate data "nobody" does not have any producer step\.$'):
        built([Step("a", reads=("nobody",), read_as="file")])


def test_the_same_pipeline_is_the_same_graph() -> None:
    def made() -> Graph:
        return built([Step("x"), Step("y", makes=("d6",))]).graph

    assert made() == made()
    assert made().digest == made().digest
    assert [port.datastore for port in made().nodes[1].outputs] == ["store"]
    ids = [node.id for node in built([Step("x"), Step("x")]).graph.nodes]
    assert len(set(ids)) == 2
    assert all(re.fullmatch("[0-9a-f]{8}", one) for one in ids)


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="not of str"):
        built(["a"])
    with pytest.raises(ValueError, match="not of int"):
        StepSequence([3])
