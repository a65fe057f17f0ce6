"""Tabular datasets as an SDK user meets them: factories, options, rows, columns, time, files and partitions (specification F4-F6)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from batchmill.errors import InputError, PartitionFormatError
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataPath
from batchmill.workspace.data_type import DataType, PromoteHeadersBehavior
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import DatasetTimestampMissingError, DatasetValidationError, UserErrorException
from batchmill.workspace.workspace import Workspace
from tests.acceptance.conftest import until
from tests.table_inputs import iris_csv


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Workspace.create("team", show_output=False)


@pytest.fixture
def root(ws: Workspace) -> Path:
    """What the default datastore holds."""
    return ws.folder / "workspaceblobstore"


@pytest.fixture
def store(ws: Workspace) -> Any:
    return ws.get_default_datastore()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def csv(store: Any, path: Any, **options: Any) -> Any:
    return Dataset.Tabular.from_delimited_files((store, path), **options)


# --- factories and options (F4)


def test_k60_inferred_types_and_none(root: Path, store: Any) -> None:
    write(root, {"t.csv": "zip,ok,day,note,n\n00501,true,2019-02-03,,7\n12,FALSE,2019-02-04,x,8\n"})
    frame = csv(store, "t.csv").to_pandas_dataframe()
    assert frame.dtypes.astype(str).tolist()[:3] == ["float64", "bool", "datetime64[ns]"]
    assert frame.zip[0] == 501.0
    assert bool(frame.ok[0]) is True
    assert frame.day[0] == pd.Timestamp("2019-02-03")
    assert pd.isna(frame.note[0])
    assert str(frame.n.dtype) == "int64"
    raw = csv(store, "t.csv", infer_column_types=False).to_pandas_dataframe()
    assert raw.iloc[0, :3].tolist() == ["00501", "true", "2019-02-03"]
    assert all(isinstance(value, str) for value in raw.n)
    assert csv(store, "t.csv", empty_as_string=True).to_pandas_dataframe().note[0] == ""


def test_chosen_types(root: Path, store: Any) -> None:
    write(root, {"t.csv": "a;b;c;d;e\n00501;1,5;yes;03.02.2019;5\n7;x;1;nonsense;\n"})
    types = {
        "a": DataType.to_string(),
        "b": DataType.to_float(decimal_mark=","),
        "c": DataType.to_bool(),
        "d": DataType.to_datetime(["%d.%m.%Y"]),
        "e": DataType.to_long(),
    }
    dataset = csv(store, "t.csv", separator=";", set_column_types=types)
    frame = dataset.to_pandas_dataframe()
    assert frame.a.tolist() == ["00501", "7"]
    assert frame.b.tolist()[0] == 1.5
    assert pd.isna(frame.b[1])
    assert frame.c.tolist() == [None, True]
    assert frame.d[0] == pd.Timestamp("2019-02-03")
    assert pd.isna(frame.d[1])
    assert frame.e[0] == 5.0
    with pytest.raises(InputError, match=r"3 cells of .*t\.csv do not fit"):
        dataset.to_pandas_dataframe(on_error="fail")
    with pytest.raises(UserErrorException, match="Invalid value 'drop' for on_error"):
        dataset.to_pandas_dataframe(on_error="drop")
    with pytest.raises(InputError, match="no column 'z', which set_column_types names"):
        csv(store, "t.csv", separator=";", set_column_types={"z": DataType.to_long()}).to_pandas_dataframe()


def test_headers(root: Path, store: Any) -> None:
    write(root, {"h/1.csv": "a,b\n1,x\n", "h/2.csv": "b,c\ny,2\n"})
    assert csv(store, "h").to_pandas_dataframe().values.tolist() == [["1", "x"], ["y", "2"]]
    none = csv(store, "h", header=False).to_pandas_dataframe()
    assert none.columns.tolist() == ["Column1", "Column2"]
    assert len(none) == 4
    first = csv(store, "h", header=PromoteHeadersBehavior.ONLY_FIRST_FILE_HAS_HEADERS).to_pandas_dataframe()
    assert first.values.tolist() == [["1", "x"], ["b", "c"], ["y", "2"]]
    both = csv(store, "h", header=PromoteHeadersBehavior.COMBINE_ALL_FILES_HEADERS).to_pandas_dataframe()
    assert both.columns.tolist() == ["a", "b", "c"]
    assert both.b.tolist() == ["x", "y"]
    assert both.isna().sum().to_dict() == {"a": 1, "b": 0, "c": 1}
    with pytest.raises(UserErrorException, match=r"Unsupported header provided. The allowed values are"):
        csv(store, "h", header="first")


def test_fields_lines_and_separators(root: Path, store: Any) -> None:
    write(root, {"q.csv": 'a,b\n1,"x\ny"\n2,z,extra\n\n3\n', "tab.csv": "a\tb\n1\tx\n"})
    quoted = csv(store, "q.csv", support_multi_line=True).to_pandas_dataframe()
    assert quoted.columns.tolist() == ["a", "b", "Column3"]
    assert quoted.b.tolist()[:2] == ["x\ny", "z"]
    assert len(csv(store, "q.csv").to_pandas_dataframe()) == 4
    assert csv(store, "tab.csv", separator="\t").to_pandas_dataframe().to_dict("records") == [{"a": 1, "b": "x"}]
    (root / "latin.csv").write_bytes("ä\né\n".encode("latin1"))
    assert csv(store, "latin.csv", encoding="latin1").to_pandas_dataframe()["ä"].tolist() == ["é"]
    with pytest.raises(UserErrorException, match=r"Invalid encoding 'utf-7'. The supported encodings are utf8, iso88591"):
        csv(store, "q.csv", encoding="utf-7")
    with pytest.raises(UserErrorException, match="Invalid separator"):
        csv(store, "q.csv", separator="")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_k62_path_and_partition_columns(root: Path, store: Any, kind: str) -> None:
    frame = pd.DataFrame({"v": [1, 2]})
    path = root / f"p/ann/2024/05/t.{kind}"
    path.parent.mkdir(parents=True)
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    make = getattr(Dataset.Tabular, f"from_{'delimited' if kind == 'csv' else 'parquet'}_files")
    dataset = make((store, "p/**"), include_path=True, partition_format=f"{{day_of:yyyy/MM}}/*.{kind}")
    dataset = make((store, "p/**"), include_path=True, partition_format=f"{{user}}/{{day:yyyy/MM}}/t.{kind}")
    found = dataset.to_pandas_dataframe()
    expected = ["Path", "user", "day", "v"] if kind == "csv" else ["Path", "v", "user", "day"]
    assert found.columns.tolist() == expected
    assert found.iloc[0].to_dict() == {"Path": str(path), "user": "ann", "day": pd.Timestamp("2024-05-01"), "v": 1}
    assert dataset.partition_keys == ["user", "day"]
    assert dataset.get_partition_key_values() == [{"user": "ann", "day": pd.Timestamp("2024-05-01")}]
    assert dataset.get_partition_key_values(["user"]) == [{"user": "ann"}]
    with pytest.raises(UserErrorException, match=r"\['v'\] are invalid partition keys"):
        dataset.get_partition_key_values(["v"])


def test_paths_that_do_not_match_and_bad_formats(root: Path, store: Any) -> None:
    write(root, {"p/ann/t.csv": "v\n1\n", "p/bob.txt/t.csv": "v\n2\n"})
    frame = csv(store, "p", partition_format="{user}/t.csv").to_pandas_dataframe()
    assert frame.user.tolist()[0] == "ann"
    assert pd.isna(frame.user[1])
    with pytest.raises(PartitionFormatError, match=r'Invalid partition_format "t.csv". There must be at least one \{column_name\}'):
        csv(store, "p", partition_format="t.csv")
    assert csv(store, "p").partition_keys == []


def test_missing_data_is_seen_at_once_or_at_first_use(root: Path, store: Any) -> None:
    with pytest.raises(DatasetValidationError, match=r"Failed to validate the data.If data is inaccessible, please set validate to False"):
        csv(store, "nothing")
    later = csv(store, "nothing", validate=False)
    with pytest.raises(InputError, match="does not exist"):
        later.to_pandas_dataframe()
    (root / "bad.parquet").parent.mkdir(parents=True, exist_ok=True)
    (root / "bad.parquet").write_text("no parquet")
    with pytest.raises(DatasetValidationError, match="is no Parquet file"):
        Dataset.Tabular.from_parquet_files((store, "bad.parquet"))


def test_k29_empty_and_header_only_files(root: Path, store: Any) -> None:
    write(root, {"e/1.csv": "a,b\n", "e/2.csv": "a,b\n1,x\n", "e/0.csv": ""})
    assert csv(store, "e").to_pandas_dataframe().to_dict("records") == [{"a": 1, "b": "x"}]
    only_header = csv(store, "e/1.csv").to_pandas_dataframe()
    assert (only_header.columns.tolist(), len(only_header)) == (["a", "b"], 0)


def test_json_lines(root: Path, store: Any) -> None:
    write(root, {"t.jsonl": '{"n": 1, "s": "x"}\n{"n": 2, "s": [1]}\nnonsense\n'})
    path = (store, "t.jsonl")
    dropped = Dataset.Tabular.from_json_lines_files(path, invalid_lines="drop").to_pandas_dataframe()
    assert dropped.to_dict("list") == {"n": [1, 2], "s": ["x", [1]]}
    with pytest.raises(InputError, match=r"t\.jsonl:line 3: 'nonsense' is no JSON"):
        Dataset.Tabular.from_json_lines_files(path).to_pandas_dataframe()
    with pytest.raises(UserErrorException, match="Expected 'error' or 'drop' as value for invalid_lines, found keep"):
        Dataset.Tabular.from_json_lines_files(path, invalid_lines="keep")


def test_sql_queries(ws: Workspace, tmp_path: Path, store: Any) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE sales (id INTEGER, price REAL)")
        connection.executemany("INSERT INTO sales VALUES (?, ?)", [(n, n / 2) for n in range(10)])
    connection.close()
    shop = Datastore.register_sql_database(ws, "shop", f"sqlite:///{tmp_path}/shop.db")
    query = Dataset.Tabular.from_sql_query((shop, "SELECT * FROM sales ORDER BY id"))
    assert query.skip(2).take(3).to_pandas_dataframe().to_dict("list") == {"id": [2, 3, 4], "price": [1.0, 1.5, 2.0]}
    assert query.filter(query["price"] > 4).to_pandas_dataframe().id.tolist() == [9]
    chosen = Dataset.Tabular.from_sql_query(DataPath(shop, "SELECT id FROM sales"), set_column_types={"id": DataType.to_string()})
    assert chosen.to_pandas_dataframe().id.tolist() == [str(n) for n in range(10)]
    with pytest.raises(DatasetValidationError, match="no such table: nowhere"):
        Dataset.Tabular.from_sql_query((shop, "SELECT * FROM nowhere"))
    with pytest.raises(UserErrorException, match="Datastore 'workspaceblobstore' is no database"):
        Dataset.Tabular.from_sql_query((store, "SELECT 1"))
    with pytest.raises(
        UserErrorException, match=r"Invalid tuple for path. Please make sure the tuple consists of a datastore and a path/SQL"
    ):
        Dataset.Tabular.from_sql_query((shop, None))
    with pytest.raises(UserErrorException, match="query_timeout 0 is not"):
        Dataset.Tabular.from_sql_query((shop, "SELECT 1"), query_timeout=0)
    registered = query.register(ws, "sales")
    assert Dataset.get_by_name(ws, "sales").to_pandas_dataframe().shape == (10, 2)
    assert str(tmp_path) not in repr(registered)


# --- rows and columns (F5)


@pytest.fixture
def iris(root: Path, store: Any) -> Any:
    write(root, {"iris.csv": iris_csv()})
    return csv(store, "iris.csv")


def test_rows(iris: Any) -> None:
    whole = iris.to_pandas_dataframe()
    assert (whole.shape, whole.index.tolist()[-1]) == ((150, 5), 149)
    pd.testing.assert_frame_equal(iris.take(20).to_pandas_dataframe(), whole.head(20))
    pd.testing.assert_frame_equal(iris.skip(20).take(3).to_pandas_dataframe(), whole[20:23].reset_index(drop=True))
    assert iris.take(0).to_pandas_dataframe().columns.tolist() == whole.columns.tolist()
    assert iris.take(0).to_pandas_dataframe().dtypes.tolist() == whole.dtypes.tolist()
    one, two = iris.random_split(0.7, seed=3)
    parts = [part.to_pandas_dataframe() for part in (one, two)]
    assert sum(map(len, parts)) == 150
    assert 80 < len(parts[0]) < 130
    assert sorted(pd.concat(parts).astype(str).agg("|".join, axis=1)) == sorted(whole.astype(str).agg("|".join, axis=1))
    drawn = iris.take_sample(0.2)
    pd.testing.assert_frame_equal(drawn.to_pandas_dataframe(), drawn.to_pandas_dataframe())


def test_columns_and_filters(iris: Any) -> None:
    assert iris.keep_columns("species").to_pandas_dataframe().columns.tolist() == ["species"]
    assert iris.keep_columns(["species", "sepal_width"]).to_pandas_dataframe().columns.tolist() == ["sepal_width", "species"]
    assert len(iris.drop_columns(["species", "sepal_width"]).to_pandas_dataframe().columns) == 3
    wide = iris.filter((iris["sepal_width"] > 3.8) & ~iris["species"].contains("virginica"))
    assert len(wide.to_pandas_dataframe()) == 6
    assert wide.take(2).to_pandas_dataframe().index.tolist() == [0, 1]
    with pytest.raises(UserErrorException, match=r"The dataset has no column 'colour'. Its columns are: sepal_length"):
        iris.keep_columns(["colour"], validate=True)
    with pytest.raises(InputError, match="no column 'colour', which keep_columns names"):
        iris.keep_columns(["colour"]).to_pandas_dataframe()
    with pytest.raises(UserErrorException, match="Columns are named by a text"):
        iris.drop_columns([3])
    with pytest.raises(UserErrorException, match="A filter is an expression"):
        iris.filter("sepal_width > 3")


def test_what_only_files_can(iris: Any) -> None:
    for mode in ("mount", "download"):
        with pytest.raises(UserErrorException, match=f"TabularDataset does not support {mode}. Only FileDataset supports {mode}"):
            getattr(iris, f"as_{mode}")()
        with pytest.raises(UserErrorException, match=f"does not support {mode}"):
            getattr(iris.as_named_input("x"), f"as_{mode}")()
        with pytest.raises(UserErrorException, match=f"does not support {mode}"):
            getattr(iris, mode)()
    with pytest.raises(UserErrorException, match="Batchmill runs no Spark"):
        iris.to_spark_dataframe()
    assert isinstance(iris.as_named_input("iris"), DatasetConsumptionConfig)
    assert iris.as_named_input("iris").mode == "direct"


def test_showing_reads_small_local_files_only(iris: Any, root: Path, store: Any) -> None:
    html = iris.skip(1).take(2)._repr_html_()
    assert "<td>TabularDataset</td>" in html
    assert "First 2 rows" in html
    assert "Iris-setosa" in html
    write(root, {"big.csv": "n\n" + "1234567\n" * 200_000})
    assert "First" not in csv(store, "big.csv")._repr_html_()
    (root / "iris.csv").unlink()
    assert "TabularDataset" in iris._repr_html_()
    assert repr(iris.take(3)).startswith("TabularDataset\n")
    assert "take(count=3)" in repr(iris.take(3))


# --- time series


@pytest.fixture
def series(root: Path, store: Any) -> Any:
    for day in range(1, 6):
        rows = "".join(f"2024-05-{day:02d} {hour:02d}:00:00,{day * 100 + hour}\n" for hour in (0, 12))
        write(root, {f"ts/2024/05/{day:02d}/t.csv": "at,v\n" + rows})
    return csv(store, "ts", partition_format="{day:yyyy/MM/dd}/t.csv")


def test_k67_time_filters(series: Any) -> None:
    start, end = datetime(2024, 5, 2, 12), datetime(2024, 5, 4)
    for method, values in {
        "time_before": (end,),
        "time_after": (start,),
        "time_between": (start, end),
        "time_recent": (timedelta(days=1),),
    }.items():
        with pytest.raises(
            DatasetTimestampMissingError, match=f"Cannot perform time-series filter `{method}` on dataset without timestamp"
        ):
            getattr(series, method)(*values)
    timed = series.with_timestamp_columns("at", "day", validate=True)
    assert timed.timestamp_columns == ("at", "day")
    found = timed.time_between(start, end).to_pandas_dataframe()
    assert found.v.tolist() == [212, 300, 312, 400]
    assert found.index.tolist() == found["at"].tolist()
    assert timed.time_between(start, end, include_boundary=False).to_pandas_dataframe().v.tolist() == [300, 312]
    assert timed.time_before(start).to_pandas_dataframe().v.tolist() == [100, 112, 200, 212]
    assert timed.time_after(pd.Timestamp(end)).to_pandas_dataframe().v.tolist() == [400, 412, 500, 512]
    assert timed.time_after(date(2024, 5, 5)).to_pandas_dataframe().v.tolist() == [500, 512]
    ago = datetime.now(UTC) - datetime(2024, 5, 4, 6, tzinfo=UTC)
    assert timed.time_recent(ago).to_pandas_dataframe().v.tolist() == [412, 500, 512]


def test_partitions_outside_of_the_time_are_not_read(series: Any, root: Path) -> None:
    timed = series.with_timestamp_columns("at", "day")
    chosen = timed.time_after(datetime(2024, 5, 4, 6))
    assert chosen.to_pandas_dataframe().v.tolist() == [412, 500, 512]
    with chosen.open_rows() as opened:
        changed = root / "ts/2024/05/01/t.csv"
        time = changed.stat().st_mtime_ns
        changed.write_text("at,v\n" + "x,y,z\n" * 8)  # rows that cannot be read
        os.utime(changed, ns=(time, time))
        assert sum(piece.rows for piece in opened.pieces()) == 3


def test_timestamp_rules(series: Any) -> None:
    with pytest.raises(UserErrorException, match=r"partition_timestamp can be assigned only if timestamp is assigned."):
        series.with_timestamp_columns(partition_timestamp="day")
    with pytest.raises(UserErrorException, match=r"partition_timestamp cannot be the same as timestamp."):
        series.with_timestamp_columns("at", "at")
    with pytest.raises(UserErrorException, match="Column 'v' of the dataset is int64, and no date-time"):
        series.with_timestamp_columns("v", validate=True)
    timed = series.with_timestamp_columns("at", "day")
    assert timed.drop_columns("day").timestamp_columns == ("at", None)
    assert timed.drop_columns(["at"]).timestamp_columns == (None, None)
    assert timed.keep_columns("v").timestamp_columns == (None, None)
    assert timed.keep_columns(["at", "v"]).timestamp_columns == ("at", None)
    assert timed.take(3).timestamp_columns == ("at", "day")
    assert timed.with_timestamp_columns(None).timestamp_columns == (None, None)
    with pytest.raises(UserErrorException, match="The start_time 'yesterday' is not a datetime"):
        timed.time_after("yesterday")
    with pytest.raises(UserErrorException, match="The time_delta 3 is not a"):
        timed.time_recent(3)


# --- files and partitions (F5, F6)


SALES = (
    "Store,Brand,day,sold,note\n2,dominicks,2024-05-01,1,\n1,tropicana,2024-05-02,2,x\n2,dominicks,2024-05-01,3,y\n2,a/b,2024-05-01,4,\n"
)


def test_k64_partition_by(ws: Workspace, root: Path, store: Any) -> None:
    write(root, {"oj.csv": SALES})
    source = csv(store, "oj.csv")
    made = source.partition_by(["Store", "Brand"], (store, "parts"), name="oj")
    assert (made.name, made.version, made.partition_keys) == ("oj", 1, ["Store", "Brand"])
    (folder,) = (root / "parts").iterdir()
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["1/tropicana/part-0.parquet", "2/a%2Fb/part-0.parquet", "2/dominicks/part-0.parquet", "_SUCCESS"]
    assert pq.read_schema(folder / files[0]).names == ["day", "sold", "note"]
    frame = made.to_pandas_dataframe()
    assert frame.columns.tolist() == ["day", "sold", "note", "Store", "Brand"]
    expected = source.to_pandas_dataframe()
    assert frame.dtypes.to_dict() == expected.dtypes.to_dict()
    again = frame[expected.columns].sort_values("sold", ignore_index=True)
    pd.testing.assert_frame_equal(again, expected)
    assert made.get_partition_key_values() == [
        {"Store": 1, "Brand": "tropicana"},
        {"Store": 2, "Brand": "a/b"},
        {"Store": 2, "Brand": "dominicks"},
    ]
    assert source.partition_by(["Store"], DataPath(store, "parts"), name="oj").version == 2
    assert len(list((root / "parts").iterdir())) == 2
    assert made.filter(made["Store"] == 2).get_partition_key_values(["Brand"]) == [{"Brand": "a/b"}, {"Brand": "dominicks"}]
    assert Dataset.get_by_name(ws, "oj", version=1).to_pandas_dataframe().shape == (4, 5)


def test_partitions_of_dates_and_of_changed_rows(root: Path, store: Any) -> None:
    write(root, {"oj.csv": SALES})
    source = csv(store, "oj.csv")
    made = source.filter(source["sold"] > 1).drop_columns("Brand").partition_by("day", (store, "by day [x]"))
    assert made.name is None
    (folder,) = (root / "by day [x]").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["20240501000000", "20240502000000", "_SUCCESS"]
    assert made.to_pandas_dataframe().values.tolist()[0][0] == 2
    assert made.get_partition_key_values() == [{"day": pd.Timestamp("2024-05-01")}, {"day": pd.Timestamp("2024-05-02")}]
    files = source.partition_by(["Store", "day"], (store, "as files"), partition_as_file_dataset=True)
    assert files.partition_keys == ["Store", "day"]
    assert files.to_path() == ["/1/20240502000000/part-0.parquet", "/2/20240501000000/part-0.parquet"]


def test_partitions_of_odd_values_and_json(root: Path, store: Any) -> None:
    write(root, {"t.jsonl": '{"k": "", "x": 2.5, "v": [1]}\n{"k": null, "x": 2.5, "v": {"a": 1}}\n{"k": "..", "x": null, "v": 3}\n'})
    source = Dataset.Tabular.from_json_lines_files((store, "t.jsonl"))
    made = source.partition_by(["k", "x"], (store, "odd"))
    frame = made.to_pandas_dataframe().sort_values("x", ignore_index=True)
    assert sorted(map(str, frame.v)) == ["3", "[1]", "{'a': 1}"]
    assert sorted(map(str, frame.k)) == sorted(["", "..", str(frame.k[frame.k.isna()].iloc[0])])
    assert frame.x.tolist()[:2] == [2.5, 2.5]


def test_partition_by_refuses(root: Path, store: Any, iris: Any) -> None:
    with pytest.raises(UserErrorException, match="partition_keys cannot be empty"):
        iris.partition_by([], (store, "x"))
    with pytest.raises(UserErrorException, match="partition_keys cannot have duplicates"):
        iris.partition_by(["species", "species"], (store, "x"))
    with pytest.raises(UserErrorException, match=r"\['colour'\] are invalid partition keys"):
        iris.partition_by(["colour"], (store, "x"))
    with pytest.raises(UserErrorException, match="Invalid target"):
        iris.partition_by(["species"], "somewhere")
    with pytest.raises(UserErrorException, match="leads out of its datastore"):
        iris.partition_by(["species"], (store, "a/../../b"))
    with pytest.raises(InputError, match="holds no rows to partition"):
        iris.take(0).partition_by(["species"], (store, "x"))
    assert not list((root / "x").iterdir())


def test_a_killed_partition_by_leaves_nothing_half(root: Path, store: Any, ws: Workspace, tmp_path: Path) -> None:
    write(root, {"t.csv": "k,v\n" + "".join(f"{n % 3000},{n}\n" for n in range(30_000))})
    csv(store, "t.csv").register(ws, "t")
    script = """
from batchmill.workspace.workspace import Workspace
ws = Workspace.get("team")
ws.datasets["t"].partition_by("k", (ws.get_default_datastore(), "parts"), name="parts")
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        until(lambda: process.poll() is not None or len(list((root / "parts").glob(".batchmill-write-*/*/*"))) > 100)
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        process.communicate()
    assert [path.name for path in (root / "parts").iterdir() if not path.name.startswith(".")] == []
    assert "parts" not in ws.datasets
    with pytest.raises(InputError, match="holds no files"):
        csv(store, "parts", validate=False).to_pandas_dataframe()
    made = ws.datasets["t"].partition_by("k", (store, "parts"), name="parts")
    assert (made.version, len(made.to_pandas_dataframe())) == (1, 30_000)


def test_rows_as_files(root: Path, store: Any, iris: Any) -> None:
    frame = iris.to_pandas_dataframe()
    as_csv = iris.to_csv_files(separator=";")
    (path,) = as_csv.download()
    pd.testing.assert_frame_equal(pd.read_csv(path, sep=";"), frame)
    as_parquet = iris.take(10).to_parquet_files()
    (path,) = as_parquet.download()
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame.head(10))
    assert (as_csv.kind, as_parquet.kind) == ("file", "file")


def test_data_frames_are_registered(ws: Workspace, store: Any, root: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "s": ["a", None, "c"]}, index=[7, 8, 9])
    made = Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames"), "numbers", "three", {"k": "v"}, row_group_size=2)
    assert (made.name, made.version, made.description, made.tags) == ("numbers", 1, "three", {"k": "v"})
    assert made.to_pandas_dataframe().n.tolist() == [1, 2, 3]
    assert Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames"), "numbers", show_progress=False).version == 2
    in_brackets = Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames [1]"), "brackets", show_progress=False)
    assert len(in_brackets.to_pandas_dataframe()) == len(frame)
    assert len(list((root / "frames").iterdir())) == 2
    with pytest.raises(UserErrorException, match="A pandas DataFrame is registered, not a list"):
        Dataset.Tabular.register_pandas_dataframe([1], (store, "frames"), "x")
    with pytest.raises(UserErrorException, match="cannot be written as Parquet"):
        Dataset.Tabular.register_pandas_dataframe(pd.DataFrame({"x": [1, "a"]}), (store, "frames"), "x")


def test_registration_keeps_the_whole_definition(ws: Workspace, series: Any) -> None:
    made = series.with_timestamp_columns("at", "day").time_after(datetime(2024, 5, 3)).keep_columns(["at", "v"])
    registered = made.register(ws, "recent")
    found = Dataset.get_by_name(ws, "recent")
    assert found.definition == registered.definition
    pd.testing.assert_frame_equal(found.to_pandas_dataframe(), made.to_pandas_dataframe())
    assert ws.datasets["recent"].version == 1
