from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchmill.data.definition import Definition
from batchmill.data.definition_inputs import open_definition
from batchmill.errors import InputError
from batchmill.pipeline.read_output import definition_of, delimited_reading, extension_pattern, files_reading, parquet_reading, type_of
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.tabular_dataset import TabularDataset

PLACE = "datastore://store/azureml/7/out"


def test_files_of_an_output() -> None:
    assert definition_of(None, PLACE, "file") == Definition("file", (PLACE,))
    assert definition_of(None, f"{PLACE}/", "folder", is_file=True) == Definition("file", (PLACE,), is_file=True)
    found = definition_of(files_reading("{x}/*.csv"), PLACE, "file")
    assert found == Definition("file", (PLACE,), partition_format="{x}/*.csv")


def test_table_of_an_output() -> None:
    reading = delimited_reading(separator=";", pattern="**/*.csv")
    assert definition_of(reading, PLACE, "tabular") == Definition("tabular", (f"{PLACE}/**/*.csv",), "csv", {"separator": ";"})
    assert definition_of(reading, PLACE, "tabular", is_file=True).sources == (PLACE,)
    assert definition_of(parquet_reading(), PLACE, "tabular") == Definition("tabular", (PLACE,), "parquet")
    assert definition_of(parquet_reading(pattern="*"), "datastore://store/a[1]", "tabular").sources == ("datastore://store/a[[]1]/*",)


def test_type_of_a_reading() -> None:
    assert [type_of(one) for one in (None, files_reading("{x}/*"), parquet_reading())] == ["file", "file", "tabular"]


def test_files_are_no_table_without_a_reading() -> None:
    with pytest.raises(UserErrorException, match="cannot be read as a table"):
        definition_of(None, PLACE, "tabular")
    with pytest.raises(InputError, match="the field 'colour' is unknown"):
        definition_of({"format": "csv", "colour": 1}, PLACE, "tabular")


@pytest.mark.parametrize(
    ("extension", "separator", "pattern"),
    [
        ("", ",", "**/*.csv"),
        ("", "\t", "**/*.tsv"),
        ("", ";", None),
        (None, ",", None),
        (".txt", ",", "**/*.txt"),
        ("txt", ",", "**/*.txt"),
        (".parquet", None, "**/*.parquet"),
    ],
)
def test_extension_of_the_files(extension: str | None, separator: str | None, pattern: str | None) -> None:
    assert extension_pattern(extension, separator) == pattern


@pytest.mark.parametrize("extension", [5, "a/b"])
def test_extension_is_a_text(extension: Any) -> None:
    with pytest.raises(UserErrorException, match="file_extension"):
        extension_pattern(extension)


def test_arguments_are_checked_at_once() -> None:
    with pytest.raises(UserErrorException, match="Invalid separator"):
        delimited_reading(separator="")
    with pytest.raises(UserErrorException, match="Unsupported header provided"):
        delimited_reading(header="yes")
    with pytest.raises(ValueError, match="partition_format"):
        parquet_reading(partition_format="{")
    with pytest.raises(UserErrorException, match="pattern '/a'"):
        parquet_reading(pattern="/a")
    with pytest.raises(UserErrorException, match="set_column_types"):
        parquet_reading(set_column_types={"x": int})


def test_reading_finds_the_files_that_a_step_left(tmp_path: Path) -> None:
    out = tmp_path / "out[1]"
    (out / "deep").mkdir(parents=True)
    (out / "a.csv").write_text("x,y\n1,2\n")
    (out / "deep" / "b.csv").write_text("x,y\n3,4\n")
    (out / "notes.txt").write_text("no table")
    definition = definition_of(delimited_reading(pattern=extension_pattern("", ",")), str(out), "tabular")
    assert TabularDataset(definition).to_pandas_dataframe().to_dict("list") == {"x": [1, 3], "y": [2, 4]}
    files = [name for one in open_definition(definition_of(None, str(out), "file")) for chunk in one.chunks() for name in chunk.names]
    assert sorted(files) == [b"a.csv", b"b.csv", b"notes.txt"]
