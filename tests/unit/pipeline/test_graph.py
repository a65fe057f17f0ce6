"""The graph survives JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from batchmill.pipeline.graph import (
    DatasetSource,
    Graph,
    InputPort,
    Node,
    OutputPort,
    OutputSource,
    Parameter,
    ParameterSource,
    PathSource,
    Reference,
)

NAMES = st.text("abc_", min_size=1, max_size=4)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
VALUES = st.one_of(SCALARS, st.builds(Reference, st.sampled_from(["parameter", "input", "output"]), NAMES))
SOURCES = st.one_of(
    st.builds(DatasetSource, st.sampled_from(["file", "tabular"]), st.dictionaries(NAMES, SCALARS, max_size=2), st.none() | NAMES),
    st.builds(PathSource, NAMES, st.text(max_size=5)),
    st.builds(
        OutputSource, NAMES, NAMES, st.sampled_from(["folder", "file", "tabular"]), st.none() | st.just({"format": "csv", "options": {}})
    ),
    st.builds(ParameterSource, NAMES),
)
NODES = st.builds(
    Node,
    NAMES,
    NAMES,
    st.sampled_from(["python", "command", "parallel_run"]),
    NAMES,
    arguments=st.lists(VALUES, max_size=3).map(tuple),
    params=st.dictionaries(NAMES, VALUES, max_size=2),
    settings=st.dictionaries(NAMES, st.one_of(VALUES, st.lists(NAMES, max_size=2)), max_size=2),
    inputs=st.lists(st.builds(InputPort, NAMES, SOURCES), max_size=2).map(tuple),
    outputs=st.lists(st.builds(OutputPort, NAMES, NAMES), max_size=2).map(tuple),
    after=st.lists(NAMES, max_size=2).map(tuple),
)
GRAPHS = st.builds(
    Graph,
    st.lists(NODES, max_size=3).map(tuple),
    st.dictionaries(NAMES, st.builds(Parameter, NAMES, st.just("string"), SCALARS), max_size=2),
)


@given(GRAPHS)
def test_a_graph_is_the_same_as_its_json(graph: Graph) -> None:
    again = Graph.from_dict(json.loads(json.dumps(graph.to_dict())))
    assert again == graph
    assert again.digest == graph.digest


def test_what_a_later_version_says_is_left_out() -> None:
    values = Graph((Node("1", "n", "python", "m"),)).to_dict()
    values["nodes"][0]["colour"] = "red"
    del values["nodes"][0]["allow_reuse"]
    assert Graph.from_dict(values).nodes[0].allow_reuse


def test_references_of_a_node() -> None:
    node = Node("1", "n", "python", "m", arguments=("x", Reference("input", "a")), params={"p": Reference("parameter", "b")})
    assert [one.name for one in node.references()] == ["a", "b"]
