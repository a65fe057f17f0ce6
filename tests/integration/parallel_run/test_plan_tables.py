"""Plans of table datasets, read back as a worker reads them: options, operations, several tables, partitions, queries."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.definition import Definition
from batchmill.data.expression import Expression
from batchmill.data.table_rows import open_rows
from batchmill.errors import InputError, PartitionFormatError
from batchmill.parallel_run.plan import PlanSummary, make_plan
from batchmill.settings import RunSettings
from batchmill.storage.connections import Connection, connect
from batchmill.worker.plan_file import PlanFile
from batchmill.worker.source import Slice, TableSource
from tests.integration.conftest import Bucket
from tests.postgres import PostgresServer
from tests.table_inputs import iris_csv

IRIS_512 = [17, 19, 18, 17, 16, 17, 17, 17, 12]
COLUMN = Expression.column


def dataset(*sources: Path | str, form: str = "csv", operations: Any = (), **values: Any) -> Definition:
    return Definition("tabular", tuple(map(os.fspath, sources)), form, operations=tuple(operations), **values)


class Planned:
    """A plan, and its mini-batches as workers get them."""

    def __init__(self, folder: Path, *inputs: Definition | Path, **values: Any) -> None:
        definitions = {f"dataset:{n}": one for n, one in enumerate(inputs) if isinstance(one, Definition)}
        texts = [f"dataset:{n}" if isinstance(one, Definition) else str(one) for n, one in enumerate(inputs)]
        run = RunSettings.parse({"script": "x.py", "inputs": texts, **values})
        self.announced: list[str] = []
        self.summary: PlanSummary = make_plan(run, folder, definitions=definitions, announce=self.announced.append)
        self.plan = PlanFile(folder)
        self.source = TableSource(self.plan, lambda k: None, lambda: None, lambda thread: None)

    def __iter__(self) -> Iterator[Slice]:
        return (self.source.read(k) for k in range(self.plan.mini_batches))

    def rows(self) -> list[int]:
        return [part.items for part in self]

    def frame(self) -> pd.DataFrame:
        frames = [part.value for part in self]
        filled = [frame for frame in frames if len(frame)]
        return pd.concat(filled, ignore_index=True) if filled else frames[0]


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    path = tmp_path / "iris.csv"
    path.write_text(iris_csv())
    return path


def test_k25_iris_as_a_dataset(tmp_path: Path, iris: Path) -> None:
    assert Planned(tmp_path / "p1", dataset(iris), mini_batch_size="512").rows() == IRIS_512
    assert Planned(tmp_path / "p2", dataset(iris), mini_batch_size="2048").rows() == [71, 67, 12]
    assert Planned(tmp_path / "p3", dataset(iris), mini_batch_size="1KB").rows() == [36, 35, 33, 34, 12]
    by_rows = Planned(tmp_path / "p4", dataset(iris), mini_batch_size="40rows")
    assert by_rows.rows() == [40, 40, 40, 30]
    assert all(part.value.index.tolist() == list(range(part.items)) for part in by_rows)


def test_k28_k29_k30_files_of_a_dataset(tmp_path: Path) -> None:
    for name, text in {
        "k28/a.csv": "x\n" + "12345\n" * 99,
        "k29/a.csv": "x,y\n",
        "k29/b.csv": "x,y\n1,2\n",
        "k30/a.csv": 'x,y\n1,"a\nb"\n2,c\n' * 5,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "k28/b.csv").write_bytes((tmp_path / "k28/a.csv").read_bytes())
    assert Planned(tmp_path / "p1", dataset(tmp_path / "k28"), mini_batch_size="1000000").rows() == [99, 99]
    k29 = Planned(tmp_path / "p2", dataset(tmp_path / "k29"))
    assert k29.rows() == [0, 1]
    assert k29.frame().to_dict("records") == [{"x": 1, "y": 2}]
    k30 = Planned(tmp_path / "p3", dataset(tmp_path / "k30", options={"support_multi_line": True}), mini_batch_size="64")
    assert len(k30.rows()) == 1
    assert k30.frame().y[0] == "a\nb"


def test_d2_take_skip_and_filter(tmp_path: Path, iris: Path) -> None:
    whole = Planned(tmp_path / "p0", dataset(iris)).frame()
    took = Planned(tmp_path / "p1", dataset(iris, operations=[{"op": "take", "count": 20}]), mini_batch_size="512")
    assert took.rows() == [17, 3]
    assert [took.plan.mini_batch(k).rows for k in range(2)] == [17, 3]
    pd.testing.assert_frame_equal(took.frame(), whole.head(20))
    skipped = Planned(tmp_path / "p2", dataset(iris, operations=[{"op": "skip", "count": 20}]), mini_batch_size="512")
    assert skipped.rows() == [16, *IRIS_512[2:]]
    pd.testing.assert_frame_equal(skipped.frame(), whole[20:].reset_index(drop=True))
    only = {"op": "filter", "expression": (COLUMN("species") == "Iris-setosa").tree}
    filtered = Planned(tmp_path / "p3", dataset(iris, operations=[only]), mini_batch_size="512")
    assert (len(filtered.rows()), sum(filtered.rows())) == (9, 50)


def test_pieces_of_a_mini_batch_and_places_count_the_rows_that_are_left(tmp_path: Path, iris: Path) -> None:
    operations = [{"op": "filter", "expression": (COLUMN("sepal_width") > 3.4).tree}, {"op": "skip", "count": 2}]
    planned = Planned(tmp_path / "p", dataset(iris, operations=operations), mini_batch_size="2048")
    whole = planned.source.read(0)
    part = planned.source.read(0, 3, 2)
    pd.testing.assert_frame_equal(part.value, whole.value[3:5].reset_index(drop=True))
    lines = iris.read_text().splitlines()
    for row in range(whole.items):
        line = int(whole.name(row).rpartition("line ")[2])
        assert lines[line - 1].startswith(f"{whole.value.sepal_length[row]:g},{whole.value.sepal_width[row]:g},")
    assert part.name(3) == whole.name(3)


def test_several_tables_of_different_options_are_one_run(tmp_path: Path, iris: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.csv").write_text("x;y\n1;a\n2;b\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/1.csv").write_text("x,y\n1,a\n,b\n")
    pd.DataFrame({"x": [7, 8, 9]}).to_parquet(tmp_path / "c.parquet", row_group_size=2)
    took = dataset(iris, operations=[{"op": "skip", "count": 140}, {"op": "take", "count": 5}])
    planned = Planned(
        tmp_path / "p",
        tmp_path / "b",
        dataset(tmp_path / "a", options={"separator": ";"}),
        dataset(tmp_path / "c.parquet", form="parquet", options={"include_path": True}),
        took,
        tmp_path / "b",
        mini_batch_size="10",
        format="csv",
    )
    frames = [part.value for part in planned]
    by_input = [[len(part.value) for part in planned][one.first_mini_batch :][: one.mini_batches] for one in planned.summary.inputs]
    assert [sum(rows) for rows in by_input] == [2, 2, 3, 5, 2]
    assert by_input[2] == [2, 1]
    assert frames[0].columns.tolist() == ["x", "y"]
    assert str(frames[0].dtypes.x) == "float64"
    assert [frame.x.tolist() for frame in frames if "Path" in frame] == [[7, 8], [9]]
    took_frames = [frame for frame in frames if "species" in frame]
    assert pd.concat([frame for frame in took_frames if len(frame)]).species.tolist() == ["Iris-virginica"] * 5
    # What a worker reads of a dataset does not depend on the tables around it.
    assert Planned(tmp_path / "alone", took, mini_batch_size="10").rows() == [len(frame) for frame in took_frames]
    assert planned.summary.format == "csv and parquet"
    assert planned.plan.header["table"]["of_place"] == [0, 1, 2, 3, 0]


def test_several_sources_are_one_table(tmp_path: Path) -> None:
    for name, text in {"a/1.csv": "n,s\n1,x\n2,y\n", "b/1.csv": "3,z\n4,w\n", "b/2.csv": "5,v\n", "c.csv": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    options = {"header": "only_first_file_has_headers"}
    sources = [tmp_path / "c.csv", tmp_path / "a", tmp_path / "b"]
    planned = Planned(tmp_path / "p", dataset(*sources, options=options, operations=[{"op": "skip", "count": 1}]))
    assert planned.frame().to_dict("list") == {"n": [2, 3, 4, 5], "s": ["y", "z", "w", "v"]}
    assert planned.rows() == [1, 2, 1]
    plain = Planned(tmp_path / "p2", dataset(*sources, options=options))
    assert plain.plan.header["cut"]["rule"] == "blocks"
    assert plain.frame().n.tolist() == [1, 2, 3, 4, 5]
    assert [plain.plan.mini_batch(k).input for k in range(3)] == [1, 2, 2]


def test_unparsable_cells_are_null_and_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n,d\n1,2019-01-01\nx,nonsense\n")
    choices = {"n": {"type": "long"}, "d": {"type": "datetime"}}
    planned = Planned(tmp_path / "p", dataset(tmp_path / "t.csv", options={"column_types": choices}))
    part = planned.source.read(0)
    assert part.value.n.isna().tolist() == [False, True]
    assert (part.items, part.unreadable, part.nulled) == (2, [], 2)


# --- what a run reads is what to_pandas_dataframe reads -----------------------------------------------------------------------------------

CELLS = st.sampled_from(["", "1", "-2", "3.5", "007", "true", "x", "2019-02-03", "a b", '"q,r"'])
OPERATIONS = st.lists(
    st.one_of(
        st.integers(0, 12).map(lambda n: {"op": "take", "count": n}),
        st.integers(0, 12).map(lambda n: {"op": "skip", "count": n}),
        st.floats(0, 1).map(lambda p: {"op": "sample", "probability": p, "seed": 5}),
        st.floats(0, 1).map(lambda p: {"op": "split", "from": 0.0, "to": p, "seed": 6}),
        st.sampled_from([COLUMN("a") > 1, COLUMN("a") == "x", ~COLUMN("b").is_null()]).map(
            lambda e: {"op": "filter", "expression": e.tree}
        ),
        st.just({"op": "keep_columns", "columns": ["a", "b"]}),
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(
    files=st.lists(st.lists(st.tuples(CELLS, CELLS), max_size=12), min_size=1, max_size=4),
    options=st.fixed_dictionaries(
        {},
        optional={
            "infer_column_types": st.booleans(),
            "empty_as_string": st.booleans(),
            "include_path": st.booleans(),
            "support_multi_line": st.booleans(),
            "column_types": st.just({"a": {"type": "long"}}),
        },
    ),
    operations=OPERATIONS,
    size=st.one_of(st.integers(1, 80).map(str), st.integers(1, 9).map("{}rows".format)),
)
def test_the_slices_of_a_run_are_the_data_frame(
    tmp_path_factory: pytest.TempPathFactory, files: Any, options: Any, operations: Any, size: str
) -> None:
    folder = tmp_path_factory.mktemp("t")
    for number, rows in enumerate(files):
        (folder / f"{number % 2}").mkdir(exist_ok=True)
        (folder / f"{number % 2}/{number}.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    definition = dataset(*sorted(folder.iterdir()), options=options, operations=operations)
    with open_rows(definition) as rows_of_all:
        expected = rows_of_all.frame()
    planned = Planned(folder / "run" / "plan", definition, mini_batch_size=size)
    frames = [part.value for part in planned if len(part.value)]
    if not frames:
        assert len(expected) == 0
    else:
        pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), expected)
    assert all(part.value.index.tolist() == list(range(part.items)) for part in planned)


# --- partitions -------------------------------------------------------------------------------------------------------------------------


def users(folder: Path) -> Path:
    for path, rows in {
        "ann/2024/05/1.csv": "a\nb\n",
        "bob/2024/05/1.csv": "c\n",
        "ann/2023/01/1.csv": "d\n",
        "ann/2024/05/2.csv": "e\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("v\n" + rows)
    return folder


def test_d3_partitions_of_a_dataset(tmp_path: Path) -> None:
    source = dataset(users(tmp_path / "in"), partition_format="{user}/{day:yyyy/MM}/*.csv")
    planned = Planned(tmp_path / "p", source, partition_keys=["user"])
    assert [part.keys for part in planned] == [{"user": "ann"}, {"user": "bob"}]
    assert [part.value.v.tolist() for part in planned] == [["d", "a", "b", "e"], ["c"]]
    by_day = Planned(tmp_path / "p2", source, partition_keys=["day", "user"])
    assert [part.keys for part in by_day] == [
        {"day": datetime(2023, 1, 1), "user": "ann"},
        {"day": datetime(2024, 5, 1), "user": "ann"},
        {"day": datetime(2024, 5, 1), "user": "bob"},
    ]
    with pytest.raises(
        PartitionFormatError, match=r"partition_keys \{'v'\} are not a subset of the dataset's partition keys \{'user', 'day'\}"
    ):
        Planned(tmp_path / "p3", source, partition_keys=["v"])
    with pytest.raises(ValueError, match=r"partition_keys \{'v'\} are not a subset of the dataset's partition keys \{\}"):
        Planned(tmp_path / "p4", dataset(tmp_path / "in"), partition_keys=["v"])
    assert len(Planned(tmp_path / "p5", tmp_path / "in", partition_keys=["v"]).rows()) == 5


def test_groups_of_operated_rows(tmp_path: Path) -> None:
    operations = [{"op": "filter", "expression": (~(COLUMN("v") == "d")).tree}, {"op": "skip", "count": 1}, {"op": "take", "count": 3}]
    source = dataset(users(tmp_path / "in"), partition_format="{user}/{day:yyyy/MM}/*.csv", operations=operations)
    planned = Planned(tmp_path / "p", source, partition_keys=["user"])
    assert [part.value.v.tolist() for part in planned] == [["b", "e"], ["c"]]
    assert [planned.source.read(0).name(row) for row in range(2)] == [
        f"{tmp_path}/in/ann/2024/05/1.csv:row 2",
        f"{tmp_path}/in/ann/2024/05/2.csv:row 1",
    ]
    (tmp_path / "in/bob/2024/05/2.csv").write_text("v\nx\n3\n")
    numbers = dataset(tmp_path / "in/bob", partition_format="{user}/*/*/*.csv", options={"column_types": {"v": {"type": "float"}}})
    told = Planned(tmp_path / "told", numbers, partition_keys=["user"]).announced
    assert told[-1] == "2 cells did not fit the type of their column and were made null."
    gone = dataset(users(tmp_path / "in"), partition_format="{user}/*/*/*.csv", operations=[{"op": "drop_columns", "columns": ["user"]}])
    with pytest.raises(PartitionFormatError, match="no column 'user' to group by"):
        Planned(tmp_path / "p2", gone, partition_keys=["user"])


def test_groups_of_several_tables(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/1.csv").write_text("user,w\nzoe,1\nann,2\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/1.csv").write_text("user,w\nyan,3\n")
    source = dataset(users(tmp_path / "in"), tmp_path / "in/bob", partition_format="{user}/*/*/*.csv")
    planned = Planned(tmp_path / "p", tmp_path / "plain", source, tmp_path / "other", partition_keys=["user"])
    assert [(part.keys, len(part.value)) for part in planned] == [
        ({"user": "ann"}, 1),
        ({"user": "zoe"}, 1),
        ({"user": "ann"}, 4),
        ({"user": "bob"}, 2),
        ({"user": "yan"}, 1),
    ]
    assert [part.name(part.items - 1).removeprefix(f"{tmp_path}/") for part in planned] == [
        "plain/1.csv:row 2",
        "plain/1.csv:row 1",
        "in/ann/2024/05/2.csv:row 1",
        "in/bob/2024/05/1.csv:row 1",
        "other/1.csv:row 1",
    ]
    assert not list((tmp_path / "p").glob("table-*"))
    dates = dataset(tmp_path / "in", partition_format="{user:yyyy}/*/*.csv")
    with pytest.raises(PartitionFormatError, match="Partition key 'user' is a date in one input and something else in another"):
        Planned(tmp_path / "p2", tmp_path / "plain", dates, partition_keys=["user"])


# --- queries ----------------------------------------------------------------------------------------------------------------------------


def database(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (id INTEGER, price, name TEXT, sold TIMESTAMP)")
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", [(n, n if n % 2 else n / 4, f"n{n}%", None) for n in range(40_000)])
    connection.close()
    connect("ws:shop", Connection("sql", config={"url": f"sqlite:///{path}"}, title="datastore 'shop'"))
    return "datastore://ws:shop"


def query(source: str, text: str, *operations: Any, **options: Any) -> Definition:
    return Definition("tabular", (source,), "sql", {"query": text, **options}, operations=operations)


def test_a_query_is_one_mini_batch_or_rows(tmp_path: Path) -> None:
    source = database(tmp_path)
    text = "SELECT id, price, name, name || '%d' AS odd, sold FROM sales ORDER BY id"
    planned = Planned(tmp_path / "p", query(source, text))
    assert planned.rows() == [40_000]
    frame = planned.frame()
    assert frame.dtypes.astype(str).tolist()[:2] == ["int64", "float64"]
    assert frame.price.head(4).tolist() == [0, 1, 0.5, 3]
    assert frame.odd[3] == "n3%%d"
    assert frame.sold.isna().all()
    rows = Planned(tmp_path / "p2", query(source, text, {"op": "skip", "count": 39_990}), mini_batch_size="7000rows")
    assert rows.rows() == [10]
    assert rows.frame().id.tolist() == list(range(39_990, 40_000))


def test_a_plan_keeps_the_answer_of_a_query(tmp_path: Path) -> None:
    source = database(tmp_path)
    planned = Planned(tmp_path / "run" / "plan", query(source, "SELECT id FROM sales WHERE id < 3"))
    (tmp_path / "shop.db").unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    plan = PlanFile(tmp_path / "moved" / "plan")
    source_again = TableSource(plan, lambda k: None, lambda: None, lambda thread: None)
    assert source_again.read(0).value.id.tolist() == [0, 1, 2]
    assert "shop.db" not in (tmp_path / "moved/plan/plan.json").read_text()
    assert planned.summary.format == "sql"
    with pytest.raises(InputError, match="The database of datastore 'shop' is not there"):
        Planned(tmp_path / "p", query(source, "SELECT 1"))


def test_queries_that_fail_say_why(tmp_path: Path) -> None:
    source = database(tmp_path)
    with pytest.raises(InputError, match=r"The query on datastore 'shop' failed: no such table: nowhere"):
        Planned(tmp_path / "p", query(source, "SELECT * FROM nowhere"))
    with pytest.raises(InputError, match="gives no rows"):
        Planned(tmp_path / "p", query(source, "DELETE FROM sales"))
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        assert connection.execute("SELECT count(*) FROM sales").fetchone() == (40_000,)
    connection.close()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(InputError, match=r"gave no answer within 0\.2 seconds. Give from_sql_query a longer query_timeout"):
        Planned(tmp_path / "p", query(source, endless, query_timeout=0.2))
    with pytest.raises(InputError, match=r"asked of a datastore, not of '/tmp'"):
        Planned(tmp_path / "p", query("/tmp", "SELECT 1"))


def test_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    url = sqlalchemy.make_url(postgres.fresh())
    engine = sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n integer, p numeric(8, 2), at timestamptz, day date, ok boolean, j jsonb, u uuid)")
        connection.exec_driver_sql(
            "INSERT INTO t SELECT n, n / 4.0, '2024-05-01 12:00+02', '2024-05-02', n %% 2 = 0, '{\"a\": 1}', "
            "'00000000-0000-0000-0000-000000000001' FROM generate_series(1, 20000) n"
        )
    engine.dispose()
    plain = url.set(drivername="postgresql+psycopg", password=None).render_as_string()
    connect("ws:pg", Connection("sql", config={"url": plain}, credentials={"password": str(url.password)}, title="datastore 'pg'"))
    planned = Planned(
        tmp_path / "p", query("datastore://ws:pg", "SELECT *, n % 7 AS week, '%s' AS odd FROM t ORDER BY n"), mini_batch_size="15000rows"
    )
    assert sum(planned.rows()) == 20_000
    row = planned.frame().iloc[-1].to_dict()
    assert row["n"] == 20_000
    assert row["p"] == 5000.0
    assert row["at"] == pd.Timestamp("2024-05-01 10:00")
    assert row["day"] == pd.Timestamp("2024-05-02")
    assert bool(row["ok"]) is True
    assert (row["week"], row["odd"], row["j"]) == (20_000 % 7, "%s", '{"a": 1}')
    assert row["u"] == "00000000-0000-0000-0000-000000000001"
    with pytest.raises(InputError, match="gave no answer within"):
        Planned(tmp_path / "p2", query("datastore://ws:pg", "SELECT pg_sleep(60)", query_timeout=0.3))
    with pytest.raises(InputError, match=r'failed: relation "nowhere" does not exist'):
        Planned(tmp_path / "p3", query("datastore://ws:pg", "SELECT * FROM nowhere"))
    connect("ws:pg", Connection("sql", config={"url": plain}, credentials={"password": "wrong-password"}, title="datastore 'pg'"))
    with pytest.raises(InputError, match="password authentication failed") as caught:
        Planned(tmp_path / "p4", query("datastore://ws:pg", "SELECT 1"))
    assert "wrong-password" not in caught.value.line


# --- remote places ----------------------------------------------------------------------------------------------------------------------


def test_a_dataset_on_a_store_is_planned_there(tmp_path: Path, s3: Bucket) -> None:
    for number in range(3):
        s3.put(f"in/{number}.csv", ("n\n" + "".join(f"{number * 10 + n}\n" for n in range(10))).encode())
    operations = [{"op": "filter", "expression": (COLUMN("n") != 3).tree}, {"op": "skip", "count": 5}, {"op": "take", "count": 10}]
    planned = Planned(tmp_path / "p", dataset(f"{s3.url}/in/*.csv", operations=operations), mini_batch_size="16")
    assert sum(planned.plan.mini_batch(k).rows or 0 for k in range(planned.plan.mini_batches)) == 10
    folder = tmp_path / "mount"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_bytes(("n\n" + "".join(f"{number * 10 + n}\n" for n in range(10))).encode())
    plan = PlanFile(tmp_path / "p", [str(folder)])
    source = TableSource(plan, lambda k: None, lambda: None, lambda thread: None)
    parts = [source.read(k).value for k in range(plan.mini_batches)]
    assert [n for part in parts for n in part.n.tolist()] == [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]


def test_only_take_and_skip_read_before_the_run(tmp_path: Path, iris: Path) -> None:
    took = dataset(iris, operations=[{"op": "take", "count": 100}])
    drawn = dataset(iris, operations=[{"op": "sample", "probability": 0.5, "seed": 2}])
    planned = Planned(tmp_path / "p", took, drawn, iris)
    tables = json.loads((tmp_path / "p/plan.json").read_text())["table"]["tables"]
    assert [table.get("positions") for table in tables] == ["positions-0.bin", None, None]
    assert 50 < planned.rows()[1] < 100
    alone = Planned(tmp_path / "alone", drawn, mini_batch_size="300")
    assert alone.plan.header["cut"] == {"rule": "blocks", "size": 300}
    pd.testing.assert_frame_equal(alone.frame(), planned.source.read(1).value)
