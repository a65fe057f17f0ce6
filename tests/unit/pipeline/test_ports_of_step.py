from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy
import pytest

from batchmill.pipeline.graph import DatasetSource, InputPort, OutputSource, ParameterSource, PathSource, Reference
from batchmill.pipeline.output_dataset import OutputFileDatasetConfig
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.pipeline_dataset import PipelineDataset
from batchmill.pipeline.port import InputPortBinding, PortDataReference, StepRunOutput
from batchmill.pipeline.ports_of_step import ports_of_step
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataPath, DataPathComputeBinding
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.file_dataset import FileDataset
from batchmill.workspace.storage_datastore import StorageDatastore
from batchmill.workspace.tabular_dataset import TabularDataset
from batchmill.workspace.workspace import Workspace


def exactly(text: str) -> str:
    """The pattern of an error that says this and nothing else."""
    return f"^{re.escape(text)}$"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    return Workspace.create("team", show_output=False)


@pytest.fixture
def store(ws: Workspace) -> StorageDatastore:
    found = Datastore(ws)
    assert isinstance(found, StorageDatastore)
    return found


@pytest.fixture
def images(store: StorageDatastore) -> FileDataset:
    return Dataset.File.from_files((store, "images"), validate=False)


@pytest.fixture
def rows(store: StorageDatastore) -> TabularDataset:
    return Dataset.Tabular.from_delimited_files((store, "rows.csv"), validate=False)


def test_words_stay_what_they_are() -> None:
    size = PipelineParameter("size", 5)
    ports = ports_of_step(arguments=["--a", 1, True, 0.5, numpy.int64(3), numpy.float32(0.5), size], params={"n": size, "m": "x"})
    assert ports.arguments == ("--a", 1, True, 0.5, 3, 0.5, Reference("parameter", "size"))
    assert type(ports.arguments[4]) is int
    assert ports.params == {"n": Reference("parameter", "size"), "m": "x"}
    assert ports.parameters == (size,)


@pytest.mark.parametrize(("argument", "name"), [(None, "NoneType"), ([], "list"), (object(), "object"), (("a", "b"), "tuple")])
def test_other_arguments_are_refused(argument: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is not a valid type for argument$"):
        ports_of_step(arguments=[argument])


def test_lists_are_lists() -> None:
    for name in ("inputs", "outputs", "arguments"):
        with pytest.raises(ValueError, match=f"The {name} of a step are a list, not 'text'"):
            ports_of_step(**{name: "text"})
    with pytest.raises(ValueError, match="params is a mapping"):
        ports_of_step(params=["a"])
    with pytest.raises(ValueError, match="params gives 'a' the value"):
        ports_of_step(params={"a": [1]})


# --- data between steps --------------------------------------------------------------------------------------------------------------


def test_pipeline_data_that_is_read_and_made() -> None:
    before, after = PipelineData("before"), PipelineData("after", output_name="out")
    ports = ports_of_step([before], [after], ["--in", before, "--out", after])
    assert ports.arguments == ("--in", Reference("input", "before"), "--out", Reference("output", "out"))
    assert ports.inputs == (InputPort("before", OutputSource("", "before")),)
    assert ports.reads == {"before": before.key}
    assert ports.makes == {"out": after.key}


def test_pipeline_data_must_be_listed(store: StorageDatastore) -> None:
    with pytest.raises(ValueError, match=exactly("Input/Output preds appears in arguments list but is not in the input/output lists")):
        ports_of_step(arguments=[PipelineData("preds")])
    with pytest.raises(ValueError, match=exactly("Input models appears in arguments list but is not in the input list")):
        ports_of_step(arguments=[store.path("a", "models")])
    with pytest.raises(ValueError, match=r"^Input b appears in arguments list but is not in the input list$"):
        ports_of_step(arguments=[PipelineData("a").as_input("b")])


def test_data_as_datasets() -> None:
    data = PipelineData("a", output_name="out")
    files, rows = data.as_dataset().as_named_input("files"), data.as_dataset().parse_parquet_files().as_named_input("rows")
    ports = ports_of_step([files, rows], None, [rows, files, data])
    assert ports.arguments == (Reference("input", "rows"), Reference("input", "files"), Reference("input", "files"))
    assert ports.reads == {"files": data.key, "rows": data.key}
    assert [port.mode for port in ports.inputs] == ["mount", "direct"]
    made = ports_of_step(None, [data.as_dataset().register("d")], [data])
    assert made.outputs[0].register is not None
    assert made.arguments == (Reference("output", "out"),)


def test_bindings(rows: TabularDataset) -> None:
    data = PipelineData("a")
    ports = ports_of_step([data.as_download("b", "here", True)], None, [data.as_input("b"), data])
    assert ports.inputs == (InputPort("b", OutputSource("", "a"), "download", "here", True),)
    assert ports.arguments == (Reference("input", "b"), Reference("input", "b"))
    table = ports_of_step(
        [InputPortBinding("t", rows.as_named_input("x")), InputPortBinding("u", data.as_dataset().parse_delimited_files())]
    )
    assert [(port.name, port.mode) for port in table.inputs] == [("t", "direct"), ("u", "direct")]


def test_output_dataset_needs_no_list() -> None:
    first, second = OutputFileDatasetConfig("first"), OutputFileDatasetConfig("second").register_on_complete("d")
    made = ports_of_step(arguments=["--a", first, "--b", second.as_upload(), first])
    assert [port.name for port in made.outputs] == ["first", "second"]
    assert made.makes == {"first": first.key, "second": second.key}
    assert made.arguments[1::2] == (Reference("output", "first"), Reference("output", "second"))
    assert made.arguments[4] == Reference("output", "first")
    read = ports_of_step(arguments=[first.as_input("prepared")])
    assert read.reads == {"prepared": first.key}
    assert read.arguments == (Reference("input", "prepared"),)
    listed = ports_of_step([first], [second], [first, second])
    assert listed.arguments == (Reference("input", "first"), Reference("output", "second"))


# --- datasets -----------------------------------------------------------------------------------------------------------------------


def test_bare_datasets_are_refused(images: FileDataset) -> None:
    with pytest.raises(
        ValueError, match=r"^FileDataset cannot be directly used as a step's input. Please call the as_named_input method on"
    ):
        ports_of_step([images])
    bare = (
        "^Datasets cannot be used directly as arguments. Please make sure you've called the as_named_input method on the dataset object.$"
    )
    with pytest.raises(ValueError, match=bare):
        ports_of_step(arguments=[images])
    with pytest.raises(ValueError, match=bare):
        ports_of_step(arguments=[PipelineParameter("p", images)])


def test_datasets_stand_by_definition(images: FileDataset, rows: TabularDataset) -> None:
    mounted = images.as_named_input("images").as_mount("here")
    ports = ports_of_step([mounted], None, ["--a", images.as_named_input("images").as_mount("here"), rows.as_named_input("rows")])
    source = DatasetSource("file", images.definition.to_dict())
    assert ports.inputs[0] == InputPort("images", source, "mount", "here")
    assert (ports.inputs[1].name, ports.inputs[1].mode) == ("rows", "direct")
    assert ports.arguments == ("--a", Reference("input", "images"), Reference("input", "rows"))
    assert ports.datasets == (images, rows)
    assert ports_of_step([DatasetConsumptionConfig("a", images, "hdfs")]).inputs[0].mode == "mount"
    assert ports_of_step([PipelineDataset(images, "old")], None, [PipelineDataset(images, "old")]).inputs[0].name == "old"


def test_dataset_parameter(images: FileDataset) -> None:
    parameter = PipelineParameter("p", images)
    one = DatasetConsumptionConfig("images", parameter).as_mount()
    ports = ports_of_step([one], None, [one])
    assert ports.inputs == (InputPort("images", ParameterSource("p")),)
    assert (ports.parameters, ports.datasets) == ((parameter,), (images,))
    wrapped = DatasetConsumptionConfig("images", PipelineParameter("p", PipelineDataset(images, "i")))
    assert wrapped.default_dataset is images


def test_side_inputs(images: FileDataset, rows: TabularDataset) -> None:
    ports = ports_of_step(
        side_inputs=[images.as_named_input("a"), rows.as_named_input("b"), PipelineData("c")], arguments=[PipelineParameter("x", 1)]
    )
    assert [(port.name, port.mode, port.side) for port in ports.inputs] == [
        ("a", "mount", True),
        ("b", "direct", True),
        ("c", "mount", True),
    ]


# --- paths on datastores ---------------------------------------------------------------------------------------------------------------


def test_references(store: StorageDatastore) -> None:
    models, root = store.path("/models/", "models").as_download("here"), store.path()
    ports = ports_of_step([models, root], None, [root, models])
    assert ports.inputs == (
        InputPort("models", PathSource("workspaceblobstore", "models"), "download", "here"),
        InputPort("workspaceblobstore", PathSource("workspaceblobstore")),
    )
    assert ports.arguments == (Reference("input", "workspaceblobstore"), Reference("input", "models"))
    bound = ports_of_step([InputPortBinding("m", models, "mount")], None, [models])
    assert bound.arguments == (Reference("input", "m"),)


def test_path_parameter(store: StorageDatastore) -> None:
    parameter = PipelineParameter("where", DataPath(store, "in"))
    one = (parameter, DataPathComputeBinding("download", "here"))
    ports = ports_of_step([one], None, ["--a", one, parameter])
    assert ports.inputs == (InputPort("where", ParameterSource("where"), "download", "here"),)
    assert ports.arguments == ("--a", Reference("input", "where"), Reference("input", "where"))
    assert ports.parameters == (parameter,)
    for argument in (one, parameter):
        with pytest.raises(ValueError, match=r"^Parameterized datapath where is not in input list$"):
            ports_of_step(arguments=[argument])


def test_names_of_ports() -> None:
    with pytest.raises(ValueError, match=exactly("[a] is repeated. Input port names must be unique.")):
        ports_of_step([PipelineData("a"), PipelineData("a")])
    with pytest.raises(ValueError, match=r"^\[a\] is repeated. Output port names must be unique.$"):
        ports_of_step(None, [PipelineData("a"), PipelineData("a")])
    with pytest.raises(ValueError, match="A step cannot read str"):
        ports_of_step(["text"])
    with pytest.raises(ValueError, match="A step cannot make str"):
        ports_of_step(None, ["text"])


def test_name_of_a_reference_is_checked(store: StorageDatastore) -> None:
    with pytest.raises(
        ValueError, match=exactly("[my-data] is not a valid input name as it may contain only letters, digits, and underscores.")
    ):
        ports_of_step([store.path("a", "my-data")])


# --- what a step has left ---------------------------------------------------------------------------------------------------------------


def test_output_lands_below_its_whole_path(ws: Workspace, store: StorageDatastore, tmp_path: Path) -> None:
    for name in ("azureml/1/out/a.txt", "azureml/1/out/deep/b.txt", "azureml/1/out2/c.txt", "azureml/1/one"):
        file = Path(store.physical(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    reference = StepRunOutput(ws, "out", "workspaceblobstore", "/azureml/1/out").get_port_data_reference()
    assert (reference.name, reference.datastore_name, reference.path_on_datastore) == ("out", "workspaceblobstore", "azureml/1/out")
    assert reference.datastore.name == "workspaceblobstore"
    assert reference.download(tmp_path / "here", show_progress=False) == 2
    found = sorted(str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*") if path.is_file())
    assert found == ["azureml/1/out/a.txt", "azureml/1/out/deep/b.txt"]
    assert PortDataReference(ws, "one", "workspaceblobstore", "azureml/1/one").download(tmp_path / "one", show_progress=False) == 1
    ports = ports_of_step([reference], None, [reference])
    assert ports.inputs == (InputPort("out", PathSource("workspaceblobstore", "azureml/1/out")),)
    assert ports.arguments == (Reference("input", "out"),)
    assert ports_of_step([reference.as_download("b", "here")]).inputs[0].mode == "download"
    with pytest.raises(UserErrorException):
        PortDataReference(ws, "out", "nowhere", "a").download(tmp_path)
