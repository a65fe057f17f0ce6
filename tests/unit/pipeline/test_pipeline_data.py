from __future__ import annotations

import re
from typing import Any

import pytest

from batchmill.pipeline.graph import OutputPort, OutputSource
from batchmill.pipeline.output_dataset import OutputDatasetInput, OutputFileDatasetConfig
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.pipeline_dataset import PipelineDataset
from batchmill.pipeline.port import InputPortBinding, OutputPortBinding
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataReference
from batchmill.workspace.data_type import DataType
from batchmill.workspace.exceptions import UserErrorException


def exactly(text: str) -> str:
    """The pattern of an error that says this and nothing else."""
    return f"^{re.escape(text)}$"


class Store:
    """As much of a datastore as an output wants to know."""

    name = "store"


STORE: Any = Store()


# --- PipelineData ------------------------------------------------------------------------------------------------------------------


def test_data_is_a_folder_of_the_step_that_makes_it() -> None:
    data = PipelineData("preds", STORE, output_path_on_compute="mnist/results", output_mode="upload", output_overwrite=True)
    assert data.port == OutputPort("preds", "store", mode="upload", path_on_compute="mnist/results", overwrite=True)
    assert data.port.destination == "azureml/{run-id}/{output-name}"
    assert not data.port.exists
    assert PipelineData("preds").port.datastore == ""  # that of the pipeline
    assert PipelineData("preds", output_name="out", pipeline_output_name="final").port == OutputPort("out", "", pipeline_output="final")
    assert (data.name, data.output_name, str(data)) == ("preds", "preds", "$AZUREML_DATAREFERENCE_preds")


@pytest.mark.parametrize("name", ["", None])
def test_data_needs_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^PipelineData name cannot be empty$"):
        PipelineData(name)


def test_names_are_words() -> None:
    with pytest.raises(
        ValueError, match=exactly("PipelineData name: [my data] is not a valid, as it may contain only letters, digits, and underscores.")
    ):
        PipelineData("my data")
    with pytest.raises(ValueError, match=r"\[a-b\] is not a valid"):
        PipelineData("a", output_name="a-b")


def test_data_is_mounted_or_uploaded() -> None:
    with pytest.raises(ValueError, match=r"^Invalid output mode \[download\]$"):
        PipelineData("a", output_mode="download")


def test_data_as_inputs_keeps_its_key() -> None:
    data = PipelineData("a", STORE)
    made = [data.as_input("b"), data.as_mount(), data.as_download("c", "here", True)]
    assert [one.key for one in made] == [data.key] * 3
    assert [(one.name, one.bind_mode, one.path_on_compute) for one in made] == [
        ("b", "mount", None),
        ("a", "mount", None),
        ("c", "download", "here"),
    ]
    assert all(isinstance(one, InputPortBinding) for one in made)
    assert data.key != PipelineData("a", STORE).key


def test_bindings_check_what_they_bind() -> None:
    with pytest.raises(ValueError, match="cannot be empty"):
        InputPortBinding("", PipelineData("a"))
    with pytest.raises(ValueError, match=r"Invalid bind mode \[x\]"):
        InputPortBinding("a", PipelineData("a"), "x")
    with pytest.raises(ValueError, match="cannot be bound to str"):
        InputPortBinding("a", "text")
    binding = OutputPortBinding("out", STORE, bind_mode="upload", path_on_compute="here")
    assert binding.port == OutputPort("out", "store", mode="upload", path_on_compute="here")
    assert (binding.bind_mode, binding.path_on_compute) == ("upload", "here")


# --- as a dataset ------------------------------------------------------------------------------------------------------------------


def test_dataset_of_data_is_mounted_unless_asked_otherwise() -> None:
    data = PipelineData("a", STORE, output_name="out")
    dataset = data.as_dataset()
    port = dataset.input_port
    assert (port.name, port.source, port.mode) == ("a", OutputSource("", "out", "file"), "mount")
    named = dataset.as_named_input("b")
    assert (named.input_name, dataset.input_name, named.key) == ("b", "a", data.key)
    assert (named.as_download("x").input_port.mode, named.as_download("x").input_port.path_on_compute) == ("download", "x")
    assert (named.as_direct().mode, named.as_mount("y").input_port.path_on_compute, named.mode) == ("direct", "y", "mount")
    assert dataset.as_download().as_direct().input_port.path_on_compute is None
    with pytest.raises(ValueError, match=r"Input name: \[a b\] is not a valid"):
        dataset.as_named_input("a b")


def test_registered_dataset_of_data() -> None:
    data = PipelineData("a", STORE)
    dataset = data.as_dataset()
    assert dataset.register("images") is dataset
    wanted = {"name": "images", "create_new_version": True, "description": None, "tags": None}
    assert dataset.port.register == wanted
    source = dataset.as_named_input("b").input_port.source
    assert isinstance(source, OutputSource)
    assert source.register == wanted
    assert data.port.register is None
    with pytest.raises(ValueError, match="registration name of the dataset must not be empty"):
        dataset.register(" ")


def test_table_of_data() -> None:
    dataset = PipelineData("a", STORE).as_dataset().as_named_input("rows")
    table = dataset.parse_delimited_files(separator=";", include_path=True, file_extension=".txt", quoted_line_breaks=True)
    port = table.keep_columns(["x", "y"]).drop_columns("y").input_port
    assert (port.name, port.mode, table.key) == ("rows", "direct", dataset.key)
    assert isinstance(port.source, OutputSource)
    assert port.source.type == "tabular"
    assert port.source.read == {
        "format": "csv",
        "options": {"separator": ";", "support_multi_line": True, "include_path": True},
        "pattern": "**/*.txt",
        "operations": [{"op": "keep_columns", "columns": ["x", "y"]}, {"op": "drop_columns", "columns": ["y"]}],
    }
    assert table.port.read == {key: value for key, value in port.source.read.items() if key != "operations"}
    assert table.as_named_input("other").input_port.source == table.input_port.source


def test_halves_of_a_table() -> None:
    table = PipelineData("a").as_dataset().parse_parquet_files(set_column_types={"x": DataType.to_string()})
    first, second = table.random_split(0.3, seed=7)
    read = [one.input_port.source.read for one in (first, second)]  # type: ignore[union-attr]
    assert [one["operations"] for one in read] == [  # type: ignore[index]
        [{"op": "split", "from": 0.0, "to": 0.3, "seed": 7}],
        [{"op": "split", "from": 0.3, "to": 1.0, "seed": 7}],
    ]
    assert first.port.read is not None
    assert first.port.read["options"] == {"column_types": {"x": {"type": "string"}}}
    with pytest.raises(UserErrorException, match="percentage"):
        table.random_split(2)
    with pytest.raises(UserErrorException, match="Columns are named by"):
        table.keep_columns([])


def test_old_wrapper_of_datasets_takes_only_datasets() -> None:
    with pytest.raises(ValueError, match="not of str"):
        PipelineDataset.create("text")
    assert not PipelineDataset.is_dataset("text")


# --- OutputFileDatasetConfig -------------------------------------------------------------------------------------------------------


def test_output_dataset_has_a_place_by_itself() -> None:
    port = OutputFileDatasetConfig("out").port
    assert port == OutputPort("out", "workspaceblobstore", "dataset/{run-id}/{output-name}", exists=True)
    unnamed = OutputFileDatasetConfig()
    assert unnamed.name.startswith("output_")
    assert unnamed.port.name == unnamed.name


def test_output_dataset_where_the_user_wants_it() -> None:
    out = OutputFileDatasetConfig("out", (STORE, "/a/{run-id}/"), source="made")
    assert (out.port.datastore, out.port.destination, out.port.path_on_compute) == ("store", "a/{run-id}", "made")
    assert OutputFileDatasetConfig("out", (STORE, None)).port.destination == "dataset/{run-id}/{output-name}"
    assert OutputFileDatasetConfig("out", DataReference(STORE, "r", "a/b")).port.destination == "a/b"
    for destination in ("text", ("store", "a"), (STORE, 5), (STORE, "a/../b")):
        with pytest.raises(UserErrorException, match="destination"):
            OutputFileDatasetConfig("out", destination)
    with pytest.raises(ValueError, match=r"\[a b\] is not a valid output name"):
        OutputFileDatasetConfig("a b")


def test_ways_of_an_output_dataset_are_copies() -> None:
    out = OutputFileDatasetConfig("out")
    up = out.as_upload(overwrite=True, source_globs=["*.csv", "a/*"])
    assert (up.port.mode, up.port.overwrite, up.port.source_globs) == ("upload", True, "*.csv;a/*")
    assert (out.mode, out.source_globs, up.key) == ("mount", None, out.key)
    assert up.as_mount().port == out.port


def test_registration_gives_a_copy() -> None:
    out = OutputFileDatasetConfig("out")
    registered = out.register_on_complete("prepared", description="d", tags={"a": "b"})
    assert registered is not out
    assert registered.port.register == {"name": "prepared", "create_new_version": True, "description": "d", "tags": {"a": "b"}}
    assert out.port.register is None
    with pytest.raises(ValueError, match=exactly("The registration name of the dataset must not be empty.")):
        out.register_on_complete("")


def test_output_dataset_as_an_input() -> None:
    out = OutputFileDatasetConfig("out", (STORE, "a"), partition_format="{x}/*.csv")
    one = out.as_input("prepared")
    assert isinstance(one, DatasetConsumptionConfig)
    assert (one.name, one.mode, one.key, one.dataset) == ("prepared", "mount", out.key, out)
    source = OutputSource("", "out", "file", {"partition_format": "{x}/*.csv"})
    assert one.input_port.source == source
    down = one.as_download("here")
    assert isinstance(down, OutputDatasetInput)
    assert (down.input_port.mode, down.input_port.path_on_compute, down.key) == ("download", "here", out.key)
    assert out.as_input().name.startswith("input_")
    with pytest.raises(UserErrorException, match="Invalid input name"):
        out.as_input("a b")


def test_table_of_an_output_dataset() -> None:
    out = OutputFileDatasetConfig("out").register_on_complete("files")
    table = out.read_delimited_files(separator="\t", path_glob="a/*.tsv", header=False)
    one = table.drop_columns(["x"]).as_input("rows")
    assert (one.mode, one.input_port.source.type, one.key) == ("direct", "tabular", out.key)  # type: ignore[union-attr]
    assert one.input_port.source.read == {  # type: ignore[union-attr]
        "format": "csv",
        "options": {"separator": "\t", "header": "no_headers"},
        "pattern": "a/*.tsv",
        "operations": [{"op": "drop_columns", "columns": ["x"]}],
    }
    assert table.port.register is None  # the registration was one of the files
    assert table.register_on_complete("rows").port.read == table.reading
    with pytest.raises(UserErrorException, match=r"OutputTabularDatasetConfig does not support mount. Only FileDataset supports mount"):
        one.as_mount()
    first, second = out.read_parquet_files().keep_columns("x").random_split(0.5, seed=1)
    assert first.reading is not None
    assert second.reading is not None
    assert [operation["op"] for operation in first.reading["operations"]] == ["keep_columns", "split"]
    assert second.reading["operations"][-1]["from"] == 0.5
