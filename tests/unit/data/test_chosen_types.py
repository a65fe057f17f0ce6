"""``set_column_types``: chosen types instead of found ones; what does not fit becomes null and is counted (specification F4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from batchmill.data.chosen_types import convert_chosen
from batchmill.errors import InputError
from tests.table_inputs import PlannedTable, TableOptions, listed, table

LONG, FLOAT, BOOL, STRING, DATETIME = ({"type": kind} for kind in ("long", "float", "bool", "string", "datetime"))


def converted(values: list[Any], choice: dict[str, Any], type: pa.DataType | None = None) -> list[Any]:
    column = pa.chunked_array([pa.array(values, type)])
    found, lost = convert_chosen(column, choice, "any", "str")
    assert lost == found.null_count - column.null_count
    return found.to_pylist()


def test_texts() -> None:
    assert converted([" 7", "+8", "-9 ", "1.0", "x", "", None, "99999999999999999999"], LONG) == [7, 8, -9, None, None, None, None, None]
    assert converted(["1.5", "-.5", "1e3", "1,5", "+2", "", "0x1"], FLOAT) == [1.5, -0.5, 1000.0, None, 2.0, None, None]
    assert converted(["1,5", "1.5", "-2"], {"type": "float", "decimal_mark": ","}) == [1.5, None, -2.0]
    assert converted(["true", "FALSE", "1", "0", "yes", ""], BOOL) == [True, False, True, False, None, None]
    assert converted(["00501", ""], STRING) == ["00501", ""]


def test_moments() -> None:
    stamps = [
        pd.Timestamp(text) if text else None for text in ("2019-02-03", "2019-02-03 04:05:06", "2019-03-04", "", "2019-02-03 02:00", "")
    ]
    given = ["2019-02-03", "2019-02-03T04:05:06", "03/04/2019", "13/13/2019", "2019-02-03T04:00:00+02:00", "1066-01-01"]
    assert converted(given, DATETIME) == stamps
    formats = {"type": "datetime", "formats": ["%d.%m.%Y", "%Y%m%d%H"]}
    assert converted(["03.02.2019", "2019020304", "2019-02-03", None], formats) == [stamps[0], pd.Timestamp("2019-02-03 04:00"), None, None]
    assert converted([], DATETIME, pa.string()) == []


def test_other_columns_than_texts() -> None:
    assert converted([1.0, 1.5, None, float("nan"), 1e30], LONG) == [1, None, None, None, None]
    assert converted([1, 2, 0], BOOL) == [True, None, False]
    assert converted([1, 2], FLOAT) == [1.0, 2.0]
    assert converted([True, None], STRING) == ["True", None]
    assert converted([1, None], STRING) == ["1", None]
    assert converted([[1], [2]], LONG) == [None, None]
    assert converted([pd.Timestamp("2019-01-01").date()], DATETIME) == [pd.Timestamp("2019-01-01")]
    assert converted([3], DATETIME) == [None]


def test_whole_numbers_stay_whole_only_where_nothing_is_null(tmp_path: Path) -> None:
    text = "a,b,c,d\n00501,1,true,2019-02-03\n7,x,0,\n"
    choices = {"a": LONG, "b": LONG, "c": BOOL, "d": DATETIME}
    cut = table(tmp_path, text, 20, column_types=choices, unparsable="null")
    assert cut.frame().dtypes.astype(str).tolist() == ["int64", "float64", "bool", "datetime64[ns]"]
    assert cut.frame().a.tolist() == [501, 7]
    assert sum(piece.nulled for piece in cut.slices()) == 1
    assert cut.failed() == []


def test_set_types_without_inference_leave_the_others_text(tmp_path: Path) -> None:
    cut = table(tmp_path, "a,b\n1,2\n", column_types={"b": FLOAT}, infer_column_types=False, unparsable="null")
    assert cut.frame().to_dict("records") == [{"a": "1", "b": 2.0}]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_json_lines_and_parquet(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"n": ["1", "2"], "m": [1, 0], "x": [1.0, 2.5], "s": [1, 2]})
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        path.write_text('{"n": "1", "m": 1, "x": 1.0, "s": [1]}\n{"n": 2, "m": 0, "x": 2.5, "s": 2}\n')
    else:
        frame.to_parquet(path)
    cut = PlannedTable(listed(path), TableOptions(kind, column_types={"n": LONG, "m": BOOL, "x": LONG, "s": STRING}))
    found = cut.frame()
    assert found.dtypes.astype(str).tolist()[:3] == ["int64", "bool", "float64"]
    assert found.n.tolist() == [1, 2]
    assert found.s.tolist() == (["[1]", "2"] if kind == "jsonl" else ["1", "2"])
    assert sum(piece.nulled for piece in cut.slices()) == 1


def test_columns_of_the_path_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5/a.csv").write_text("v\n1\n")
    cut = PlannedTable(
        listed(tmp_path / "5/a.csv", root=tmp_path), TableOptions("csv", partition_format="{store}/a.csv", column_types={"store": LONG})
    )
    assert cut.frame().to_dict("records") == [{"store": 5, "v": 1}]
    assert str(cut.frame().store.dtype) == "int64"


def test_what_cannot_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'z', which set_column_types names"):
        table(tmp_path, "a\n1\n", column_types={"z": LONG})
    with pytest.raises(InputError, match="Column 'a' is to have the type"):
        table(tmp_path, "a\n1\n", column_types={"a": {"type": "decimal"}})


def test_lines_that_are_no_objects_can_be_left_out(tmp_path: Path) -> None:
    text = '{"n": 1}\nnonsense\n[1]\n{"n": 2}\n'
    cut = table(tmp_path, text, name="t.jsonl", invalid_lines="drop")
    piece = cut.read(0)
    assert cut.frame().n.tolist() == [1, 2]
    assert (piece.rows, piece.failed, piece.dropped) == (2, [], 2)
    assert [piece.describe(row).rpartition(":")[2] for row in range(2)] == ["line 1", "line 4"]
    by_rows = table(tmp_path, text, ("rows", 2), name="u.jsonl", invalid_lines="drop")
    assert by_rows.frame().n.tolist() == [1, 2]
    assert [row for _, row, *_ in table(tmp_path, text, name="v.jsonl").failed()] == [1, 2]
