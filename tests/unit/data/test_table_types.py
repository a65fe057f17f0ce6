"""Column types: found once for the whole input, the same in every mini-batch (K60, F4, decision 17)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchmill.data import schema_scan
from batchmill.data.column_types import PARSED_TOGETHER
from batchmill.errors import InputError, ItemChangedError, ReadError
from tests.table_inputs import PlannedTable, TableOptions, listed, table


def types(cut: PlannedTable) -> list[str]:
    return [column["type"] for column in cut.plan.header["schemas"][0]["columns"]]


def column(tmp_path: Path, *cells: str, **options: Any) -> pd.Series[Any]:
    """One column of a table whose cells are read two rows at a time."""
    text = "k,v\n" + "".join(f"x,{cell}\n" for cell in cells)
    return table(tmp_path, text, 4, **options).frame()["v"]


def test_k60_inference(tmp_path: Path) -> None:
    cut = table(tmp_path, "id,flag,day,gap\n00501,true,2019-02-03,\n00502,FALSE,2019-02-04,x\n")
    frame = cut.frame()
    assert frame.id.tolist() == [501.0, 502.0]
    assert frame.id.dtype == np.float64
    assert frame.flag.tolist() == [True, False]
    assert frame.flag.dtype == bool
    assert frame.day.dtype == np.dtype("datetime64[ns]")
    assert frame.day[0] == pd.Timestamp("2019-02-03")
    assert pd.isna(frame.gap[0])


def test_k60_without_inference(tmp_path: Path) -> None:
    frame = table(tmp_path, "id,flag,day,gap\n00501,true,2019-02-03,\n", infer_column_types=False).frame()
    assert frame.iloc[0, :3].tolist() == ["00501", "true", "2019-02-03"]
    assert pd.isna(frame.gap[0])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2"], "int64"),
        (["1", ""], "float64"),
        (["1", "2.5"], "float64"),
        (["99999999999999999999", "1"], "float64"),
        (["true", "False"], "bool"),
        (["true", ""], "object_bool"),
        (["1", "true"], "str"),
        (["1", "x"], "str"),
        (["0x1F", "1"], "str"),
        (["-007", "1"], "float64"),
        (["0", "10"], "int64"),
        (["2019-02-03", "2019-02-03 10:00:00"], "datetime"),
        (["2019-02-03T10:00:00Z", "2019-02-03T10:00:00+02:00"], "datetime_utc"),
        (["2019-02-03", "2019-02-03T10:00:00Z"], "str"),
        (["9999-12-31", "2019-02-03"], "str"),
        (["2/3/2019", "12/31/2019"], "datetime:%m/%d/%Y"),
        (["2/3/2019 10:00", "12/31/2019 23:59"], "datetime:%m/%d/%Y %H:%M"),
        (["13/01/2019", "1/2/2019"], "str"),
        (["02/30/2019", "1/2/2019"], "str"),
        (["2019-02-30", "2019-01-01"], "str"),
        (["2/3/2019", "2019-02-03"], "str"),
        (["", ""], "str"),
    ],
)
def test_types_of_cells(tmp_path: Path, cells: list[str], kind: str) -> None:
    cut = table(tmp_path, "k,v\n" + "".join(f"x,{cell}\n" for cell in cells), 3)
    assert types(cut)[1] == kind
    frame = cut.frame()
    assert len(frame) == 2
    if kind.startswith("datetime"):
        assert frame.v.dtype == np.dtype("datetime64[ns]")


def test_month_comes_first_and_zones_become_utc(tmp_path: Path) -> None:
    assert column(tmp_path, "2/3/2019", "12/31/2019").tolist() == [pd.Timestamp("2019-02-03"), pd.Timestamp("2019-12-31")]
    assert column(tmp_path, "2019-02-03T10:00:00+02:00", "2019-02-03T10:00:00Z").tolist() == [
        pd.Timestamp("2019-02-03 08:00"),
        pd.Timestamp("2019-02-03 10:00"),
    ]


def test_a_late_value_decides_for_all(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{n},{n}\n" for n in range(60000)) + "x,1.5\n"
    cut = table(tmp_path, text, 100000)
    assert types(cut) == ["str", "float64"]
    assert cut.read(0).frame().a[0] == "0"


def test_booleans_with_gaps_are_objects_in_every_mini_batch(tmp_path: Path) -> None:
    values = column(tmp_path, "true", "true", "true", "", "false")
    assert values.dtype == object
    assert values.tolist() == [True, True, True, None, False]


@pytest.mark.parametrize(("option", "expected"), [(True, ["", "x"]), (False, [None, "x"])])
def test_empty_cells_of_text(tmp_path: Path, option: bool, expected: list[Any]) -> None:
    values = column(tmp_path, "", "x", empty_as_string=option)
    assert [None if pd.isna(value) else value for value in values] == expected


def test_empty_cells_of_numbers_stay_null(tmp_path: Path) -> None:
    assert np.isnan(column(tmp_path, "1", "", empty_as_string=True)[1])


def test_quoted_cells_are_typed_too(tmp_path: Path) -> None:
    frame = table(tmp_path, 'a,b\n"1","x,y"\n"2","say ""hi"""\n').frame()
    assert frame.a.tolist() == [1, 2]
    assert frame.b.tolist() == ["x,y", 'say "hi"']


# --- rows of other lengths, names ---------------------------------------------------------------------------------------------------


def test_short_rows_are_filled_and_long_ones_add_columns(tmp_path: Path) -> None:
    cut = table(tmp_path, "a,b\n1\n1,2\n1,2,3\n", 4)
    frame = cut.frame()
    assert frame.columns.tolist() == ["a", "b", "Column3"]
    assert frame.Column3.fillna(-1).tolist() == [-1, -1, 3]
    assert frame.b.fillna(-1).tolist() == [-1, 2, 2]


def test_header_modes(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("b,c\n3,4\n")
    files = listed(tmp_path / "1.csv", tmp_path / "2.csv")

    def read(header: str) -> dict[str, list[Any]]:
        frame = PlannedTable(files, TableOptions("csv", header=header)).frame()
        return {str(name): [None if pd.isna(value) else value for value in values] for name, values in frame.items()}

    assert read("all_files_have_same_headers") == {"a": [1, 3], "b": [2, 4]}
    assert read("only_first_file_has_headers") == {"a": ["1", "b", "3"], "b": ["2", "c", "4"]}
    assert read("no_headers") == {"Column1": ["a", "1", "b", "3"], "Column2": ["b", "2", "c", "4"]}
    assert read("combine_all_files_headers") == {"a": [1, None], "b": [2, 3], "c": [None, 4]}


def test_inputs_with_other_columns_keep_their_own(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("c\nx\n")
    (tmp_path / "3.csv").write_text("a,b\n1.5,2\n")
    files = [entry for n in (1, 2, 3) for entry in listed(tmp_path / f"{n}.csv", input=n - 1)]
    cut = PlannedTable(files, TableOptions("csv"))
    frames = [piece.frame() for piece in cut.slices()]
    assert frames[0].to_dict("list") == {"a": [1.0], "b": [2]}
    assert frames[1].to_dict("list") == {"c": ["x"]}
    assert frames[2].to_dict("list") == {"a": [1.5], "b": [2]}
    assert cut.plan.header["schema_of_input"] == [0, 1, 0]


@pytest.mark.parametrize(
    ("separator", "text"), [(";", "a;b\n1;2,5\n"), ("\\t", "a\tb\n1\t2,5\n"), ("||", "a||b\n1||2,5\n"), ("§", "a§b\n1§2,5\n")]
)
def test_separators(tmp_path: Path, separator: str, text: str) -> None:
    assert table(tmp_path, text, separator=separator).frame().to_dict("list") == {"a": [1], "b": ["2,5"]}


def test_include_path(tmp_path: Path) -> None:
    frame = table(tmp_path, "a\n1\n", include_path=True).frame()
    assert frame.columns.tolist() == ["Path", "a"]
    assert frame.Path[0] == str(tmp_path / "t.csv")


def test_frames_may_be_written_to(tmp_path: Path) -> None:
    frame = table(tmp_path, "a\n1\n2\n").frame()
    frame.loc[0, "a"] = 7
    assert frame.a.tolist() == [7, 2]


# --- what cannot be read ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs beyond 2,000 bytes are sampled."""
    for name, size in (("WHOLE_PASS", 2000), ("HEAD", 1000), ("SAMPLE", 100)):
        monkeypatch.setattr(schema_scan, name, size)


@pytest.mark.usefixtures("sampled")
def test_a_cell_beyond_the_sample_fails_its_row_by_name(tmp_path: Path) -> None:
    text = "a,b\n" + "1,2.5\n" * 1000 + "\n7,oops\n" + "1,2.5\n" * 9 + "\n"
    cut = table(tmp_path, text, 500)
    assert types(cut) == ["float64", "float64"], "int64 is promised only where all cells were seen"
    (entry,) = cut.failed()
    k, row, kind, message = entry
    assert kind == "UnparsableCell"
    assert message == "column 'b' holds 'oops', which is no float64. --unparsable null makes it null."
    piece = cut.read(k)
    assert piece.describe(row) == f"{tmp_path}/t.csv:line 1003"
    assert len(piece.frame()) == piece.rows - 1
    assert len(piece.frame(0, row + 1)) == row
    assert len(piece.frame(row, 1)) == 0
    assert len(piece.frame(row, 2)) == 1
    assert len(cut.frame()) == 1009


@pytest.mark.usefixtures("sampled")
def test_a_cell_beyond_the_sample_becomes_null(tmp_path: Path) -> None:
    text = "a,b\n" + "1,2.5\n" * 1000 + "7,oops\nyes,no\n" + "1,2.5\n" * 9
    cut = table(tmp_path, text, 500, unparsable="null")
    assert cut.failed() == []
    assert sum(piece.nulled for piece in cut.slices()) == 3
    assert cut.frame().b.isna().sum() == 2


@pytest.mark.usefixtures("sampled")
def test_a_row_with_unknown_columns_fails(tmp_path: Path) -> None:
    cut = table(tmp_path, "a,b\n" + "1,2.5\n" * 1000 + "1,2,3\n" + "1,2.5\n" * 9, 500)
    ((k, row, kind, message),) = cut.failed()
    assert kind == "TooManyFields"
    assert message == "the row has 3 fields, the table 2 columns."
    assert cut.read(k).describe(row) == f"{tmp_path}/t.csv:line 1002"


def test_undecodable_lines_fail_by_name(tmp_path: Path) -> None:
    text = b"a,b\n" + b"1,x\n" * 20000 + b"2,\xff\xfe\n3,y\n"
    cut = table(tmp_path, text, 10000)
    ((k, row, kind, message),) = cut.failed()
    assert kind == "UndecodableText"
    assert str(tmp_path) not in message
    assert cut.read(k).describe(row) == f"{tmp_path}/t.csv:line 20002"
    assert len(cut.frame()) == 20001


@pytest.mark.parametrize(
    ("data", "encoding"), [("a\nÄ\n".encode("latin-1"), "utf8"), ("a\nÄ\n".encode(), "ascii"), ("Ä\n1\n".encode("utf-16"), "utf8")]
)
def test_a_wrong_encoding_stops_before_the_start(tmp_path: Path, data: bytes, encoding: str) -> None:
    with pytest.raises(InputError, match=f"is not text in the encoding {encoding}. Say which it is: --encoding"):
        table(tmp_path, data, encoding=encoding)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    files = listed(tmp_path / "t.csv")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(InputError, match=r"t\.csv cannot be read: No such file"):
        PlannedTable(files, TableOptions("csv"))


# --- JSON lines and Parquet ---------------------------------------------------------------------------------------------------------


def test_json_lines_types(tmp_path: Path) -> None:
    rows = [
        {"i": 1, "f": 1, "b": True, "s": "2019-01-01", "n": None, "l": [1, 2], "m": 1},
        {"i": 2, "f": 2.5, "b": None, "s": "x", "l": [], "m": "a"},
    ]
    cut = table(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), 5, name="t.jsonl")
    assert types(cut) == ["int64", "float64", "object_bool", "str", "str", "json", "json"]
    frame = cut.frame()
    assert frame.l.tolist() == [[1, 2], []]
    assert frame.m.tolist() == [1, "a"]
    assert frame.b.tolist() == [True, None]


def test_a_line_that_is_no_object_fails_by_name(tmp_path: Path) -> None:
    cut = table(tmp_path, '{"a": 1}\n\n{"a": \n[1]\n{"a": 4}\n', 1000, name="t.jsonl")
    assert [entry[1:3] for entry in cut.failed()] == [(1, "InvalidLine"), (2, "InvalidLine")]
    assert cut.failed()[0][3].startswith("'{\"a\":' is no JSON")
    assert cut.read(0).describe(1) == f"{tmp_path}/t.jsonl:line 3"
    assert cut.frame().a.tolist() == [1, 4]


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize("unparsable", ["fail", "null"])
def test_json_lines_beyond_the_sample(tmp_path: Path, unparsable: str) -> None:
    text = '{"a": 1}\n' * 1000 + '{"a": "x"}\n{"a": 1, "b": 2}\n' + '{"a": 1}\n' * 10
    cut = table(tmp_path, text, 500, name="t.jsonl", unparsable=unparsable)
    assert [entry[2] for entry in cut.failed()] == (["UnparsableCell", "UnknownField"] if unparsable == "fail" else [])
    assert len(cut.frame()) == 1012 - len(cut.failed())


def test_parquet_types_hold_for_all_row_groups(tmp_path: Path) -> None:
    first = pa.table(
        {"i": [1, 2, None, 4], "j": [1, 2, 3, 4], "b": [True, True, None, False], "c": pa.array(list("xyxy")).dictionary_encode()}
    )
    second = pa.table({"i": [5, 6], "j": [7, 8], "b": [True, True], "c": ["z", "z"], "new": [1, 2]})
    pq.write_table(first, tmp_path / "1.parquet", row_group_size=2)
    pq.write_table(second, tmp_path / "2.parquet")
    cut = PlannedTable(listed(tmp_path / "1.parquet", tmp_path / "2.parquet"), TableOptions("parquet"))
    frame = cut.frame()
    assert [str(kind) for kind in frame.dtypes] == ["float64", "int64", "object", "str", "float64"]
    assert frame.b.tolist() == [True, True, None, False, True, True]
    assert frame.c.tolist() == list("xyxyzz")


def test_a_pandas_index_in_parquet_is_no_index_here(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2]}, index=[5, 6]).to_parquet(tmp_path / "t.parquet")
    frame = PlannedTable(listed(tmp_path / "t.parquet"), TableOptions("parquet")).frame()
    assert frame.index.tolist() == [0, 1]


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(InputError, match=r"t\.parquet is no Parquet file that can be read"):
        PlannedTable(listed(tmp_path / "t.parquet"), TableOptions("parquet"))


# --- columns from the path ----------------------------------------------------------------------------------------------------------


def test_k62_path_and_partition_columns(tmp_path: Path) -> None:
    folder = tmp_path / "ann" / "2019" / "02"
    folder.mkdir(parents=True)
    (folder / "t.csv").write_text("a\n1\n2\n")
    pq.write_table(pa.table({"a": [1, 2]}), folder / "t.parquet")
    orders = {"csv": ["Path", "user", "day", "a"], "parquet": ["Path", "a", "user", "day"]}
    for kind, order in orders.items():
        files = listed(folder / f"t.{kind}", root=tmp_path)
        options = TableOptions(kind, include_path=True, partition_format=f"{{user}}/{{day:yyyy/MM}}/t.{kind}")
        frame = PlannedTable(files, options).frame()
        assert frame.columns.tolist() == order
        assert frame.loc[1, order].tolist() == [
            {"Path": str(folder / f"t.{kind}"), "user": "ann", "day": pd.Timestamp("2019-02-01"), "a": 2}[name] for name in order
        ]
        assert frame.day.dtype == np.dtype("datetime64[ns]")


def test_paths_that_do_not_match_leave_nulls_of_the_same_type(tmp_path: Path) -> None:
    for name in ("ann-2019.csv", "other.csv", "bob-9999.csv"):
        (tmp_path / name).write_text("a\n1\n")
    files = listed(*(tmp_path / name for name in ("ann-2019.csv", "other.csv", "bob-9999.csv")))
    frame = PlannedTable(files, TableOptions("csv", partition_format="{user}-{day:yyyy}.csv")).frame()
    assert frame.user.fillna("-").tolist() == ["ann", "-", "bob"]
    assert frame.day.isna().tolist() == [False, True, True]


def test_a_partition_column_that_is_there_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("user\n1\n")
    with pytest.raises(InputError, match="has a column 'user' of its own"):
        PlannedTable(listed(tmp_path / "x.csv"), TableOptions("csv", partition_format="{user}.csv"))


# --- files that change, files in numbers --------------------------------------------------------------------------------------------


def test_a_file_that_changed_or_vanished_fails_by_name(tmp_path: Path) -> None:
    cut = table(tmp_path, "a\n1\n2\n", 3)
    assert cut.read(0).rows == 1
    (tmp_path / "t.csv").write_text("a\n1\n2\n3\n")
    with pytest.raises(ItemChangedError, match="changed after the plan was made: 6 bytes then, 8 now"):
        cut.read(1)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(ItemChangedError, match="vanished after the plan was made"):
        cut.read(1)


def test_a_damaged_row_group_names_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path, row_group_size=500, use_dictionary=False, compression="gzip")
    cut = PlannedTable(listed(path), TableOptions("parquet"))
    data = bytearray(path.read_bytes())
    data[4:200] = b"x" * 196
    path.write_bytes(bytes(data))
    with pytest.raises(ReadError, match=r"Row group 0 of .*t\.parquet \(bytes 4 to \d+, rows 1 to 500\) cannot be read"):
        cut.read(0)
    assert cut.read(1).rows == 500


def test_compressed_text_beyond_the_pass_is_sampled(tmp_path: Path, sampled: None) -> None:
    data = gzip.compress(b"a\n" + b"1\n" * 2_000_000)
    assert len(data) > 2000
    cut = table(tmp_path, data, name="t.csv.gz")
    assert not cut.plan.header["complete"]
    assert cut.rows() == [2_000_000]


def test_many_small_files_share_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    observe = schema_scan.TypePass.observe
    monkeypatch.setattr(schema_scan.TypePass, "observe", lambda self, text, layout: (looks.append(text), observe(self, text, layout)))
    for n in range(50):
        (tmp_path / f"{n:02}.csv").write_text(f"a,b\n{n},x")
    cut = PlannedTable(listed(*sorted(tmp_path.iterdir())), TableOptions("csv"))
    assert len(looks) == 1
    assert cut.frame().a.tolist() == list(range(50))


def test_dates_behind_many_empty_cells_are_found(tmp_path: Path) -> None:
    values = column(tmp_path, *[""] * 200, "12/31/2019")
    assert values.dtype == np.dtype("datetime64[ns]")
    assert values.iloc[-1] == pd.Timestamp("2019-12-31")


def test_a_row_longer_than_what_is_parsed_together(tmp_path: Path) -> None:
    long = "é" * PARSED_TOGETHER
    cut = table(tmp_path, f"k,v\n1,a\n2,{long}\n3,c\n", 4 * len(long))
    assert types(cut) == ["int64", "str"]
    assert cut.frame().v.str.len().tolist() == [1, len(long), 1]
    assert cut.rows() == [3]
