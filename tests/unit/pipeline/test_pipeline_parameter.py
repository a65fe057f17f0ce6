from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.graph import Parameter, Reference
from batchmill.pipeline.parameter import PipelineParameter, dataset_values, declared_parameters
from batchmill.pipeline.pipeline_dataset import PipelineDataset
from batchmill.workspace.data_path import DataPath
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    return Workspace.create("team", show_output=False)


@pytest.mark.parametrize(("default", "kind"), [("a", "string"), (5, "int"), (True, "bool"), (0.5, "float")])
def test_scalars(default: Any, kind: str) -> None:
    parameter = PipelineParameter("p", default)
    assert parameter.declared == Parameter("p", kind, default)  # type: ignore[arg-type]
    assert type(parameter.declared.default) is type(default)
    assert parameter.reference == Reference("parameter", "p")
    assert str(parameter) == f"PipelineParameter_Name:p_Default:{default}"


@pytest.mark.parametrize(("default", "name"), [([], "list"), (None, "NoneType"), ({}, "dict")])
def test_k68_other_defaults_are_refused(default: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"^Default value is of unsupported type: {name}$"):
        PipelineParameter("p", default)


def test_parameter_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name of a pipeline parameter"):
        PipelineParameter("", 1)


def test_path_of_a_datastore(ws: Workspace) -> None:
    parameter = PipelineParameter("where", DataPath(Datastore(ws), "/in/a"))
    assert parameter.declared == Parameter("where", "datapath", {"datastore": "workspaceblobstore", "path": "in/a"})
    with pytest.raises(ValueError, match="DataPath without a datastore"):
        PipelineParameter("where", DataPath())


def test_datasets_stand_by_definition(ws: Workspace) -> None:
    images = Dataset.File.from_files((Datastore(ws), "images"), validate=False)
    parameter = PipelineParameter("images", images)
    assert parameter.declared.kind == "dataset"
    assert parameter.declared.default == dataset_values(images)
    assert parameter.declared.default["definition"]["sources"] == ["datastore://workspaceblobstore/images"]
    assert PipelineParameter("images", PipelineDataset(images, "i")).declared == parameter.declared
    assert PipelineParameter("images", images.as_named_input("i")).default_dataset is images
    assert PipelineParameter("size", 1).default_dataset is None


def test_one_name_has_one_default(ws: Workspace) -> None:
    first, same, other = PipelineParameter("p", 1), PipelineParameter("p", 1), PipelineParameter("p", 2)
    assert declared_parameters([first, same, PipelineParameter("q", "x")]).keys() == {"p", "q"}
    with pytest.raises(ValueError, match="Graph already has pipeline parameter with same name p but different default values 1, 2"):
        declared_parameters([first, other])
    with pytest.raises(ValueError, match="different default values 1, True"):
        declared_parameters([first, PipelineParameter("p", True)])
    store = Datastore(ws)
    files = [PipelineParameter("d", Dataset.File.from_files((store, path), validate=False)) for path in ("a", "a", "b")]
    assert declared_parameters(files[:2]).keys() == {"d"}
    with pytest.raises(ValueError, match="same name d"):
        declared_parameters(files)
