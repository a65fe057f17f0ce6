"""What the parameters of a pipeline may be given at submission (specification G1, K68)."""

from __future__ import annotations

from typing import Any

import pytest

from batchmill.pipeline.graph import Graph
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.submission import parameter_values, with_snapshots
from batchmill.workspace.data_path import DataPath
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.workspace import Workspace


@pytest.fixture
def things(ws: Workspace) -> dict[str, Any]:
    store = ws.get_default_datastore()
    return {
        "path": DataPath(store, "in"),
        "files": Dataset.File.from_files((store, "*.png"), validate=False),
        "other": Dataset.File.from_files((store, "*.jpg"), validate=False),
        "table": Dataset.Tabular.from_delimited_files((store, "*.csv"), validate=False, infer_column_types=False),
    }


@pytest.fixture
def graph(things: dict[str, Any]) -> Graph:
    made = [PipelineParameter("size", 5), PipelineParameter("where", things["path"]), PipelineParameter("images", things["files"])]
    return Graph((), {one.name: one.declared for one in made})


def test_defaults(ws: Workspace, graph: Graph) -> None:
    values = parameter_values(ws, graph, {})
    assert values["size"] == 5
    assert values["where"] == {"datastore": "workspaceblobstore", "path": "in"}
    assert values["images"]["type"] == "file"


def test_values(ws: Workspace, graph: Graph, things: dict[str, Any]) -> None:
    given = {"size": "7", "where": DataPath(ws.get_default_datastore(), "/elsewhere/"), "images": things["other"]}
    values = parameter_values(ws, graph, given)
    assert values["size"] == "7"
    assert values["where"] == {"datastore": "workspaceblobstore", "path": "elsewhere/"}
    assert values["images"]["id"] == things["other"].id is not None
    assert parameter_values(ws, graph, values) == values  # the values of one run may be given to the next


def test_k68_unknown_names_and_wrong_types(ws: Workspace, graph: Graph, things: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"^Pipeline parameter with name x does not exist$"):
        parameter_values(ws, graph, {"x": 1})
    assert "x" not in parameter_values(ws, graph, {"x": 1}, "ignore")
    wrong = {
        "images": [things["table"], "text", 3],
        "size": [things["files"], [1], None],
        "where": ["text", things["files"]],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(TypeError, match=rf"^Pipeline parameter with name {name} is of incorrect type \w+\. Expected type: \w+$"):
                parameter_values(ws, graph, {name: value})


def test_datasets_that_are_defaults_are_saved_with_the_graph(ws: Workspace, graph: Graph) -> None:
    kept = with_snapshots(ws, graph)
    assert ws.registry.by_id("dataset", kept.parameters["images"].default["id"]) is not None
    assert with_snapshots(ws, graph) == kept
