"""Operations of a table dataset on its slices: specification D2, and the concatenation of all slices as the measure of all things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.expression import Expression
from batchmill.data.row_keys import chances
from batchmill.data.row_operations import RowOperations
from batchmill.errors import InputError
from tests.table_inputs import PlannedTable, TableOptions, iris_csv, listed, table

IRIS_512 = [17, 19, 18, 17, 16, 17, 17, 17, 12]


def take(count: int) -> dict[str, Any]:
    return {"op": "take", "count": count}


def skip(count: int) -> dict[str, Any]:
    return {"op": "skip", "count": count}


def sample(probability: float, seed: int = 1) -> dict[str, Any]:
    return {"op": "sample", "probability": probability, "seed": seed}


def split(low: float, high: float, seed: int = 1) -> dict[str, Any]:
    return {"op": "split", "from": low, "to": high, "seed": seed}


def only(expression: Expression) -> dict[str, Any]:
    return {"op": "filter", "expression": expression.tree}


def column(name: str) -> Expression:
    return Expression.column(name)


def iris(tmp_path: Path, *operations: dict[str, Any], size: int = 512) -> PlannedTable:
    return table(tmp_path, iris_csv(), size, operations=operations)


def test_take_20_of_iris_in_blocks_of_512(tmp_path: Path) -> None:
    cut = iris(tmp_path, take(20))
    assert cut.rows() == [17, 3]
    whole = iris(tmp_path).frame()
    pd.testing.assert_frame_equal(cut.frame(), whole.head(20))


def test_skip_works_on_the_concatenation(tmp_path: Path) -> None:
    cut = iris(tmp_path, skip(20))
    assert cut.rows() == [16, *IRIS_512[2:]]
    pd.testing.assert_frame_equal(cut.frame(), iris(tmp_path).frame()[20:].reset_index(drop=True))
    assert iris(tmp_path, skip(36)).rows() == IRIS_512[2:]
    assert iris(tmp_path, skip(150)).rows() == []


def test_filters_keep_the_blocks(tmp_path: Path) -> None:
    cut = iris(tmp_path, only(column("species") == "Iris-virginica"))
    assert cut.rows()[:5] == [0, 0, 0, 0, 0]
    assert len(cut.rows()) == 9
    assert sum(cut.rows()) == 50


def test_take_behind_a_filter_counts_what_the_filter_leaves(tmp_path: Path) -> None:
    cut = iris(tmp_path, only(column("species") != "Iris-setosa"), skip(10), take(5), only(column("petal_length") > 4))
    whole = iris(tmp_path).frame()
    expected = whole[whole.species != "Iris-setosa"][10:15]
    expected = expected[expected.petal_length > 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(cut.frame(), expected)
    assert len(cut.rows()) <= 2


def test_columns_are_kept_in_the_order_of_the_table(tmp_path: Path) -> None:
    keep = {"op": "keep_columns", "columns": ["species", "petal_width"]}
    drop = {"op": "drop_columns", "columns": ["petal_width"]}
    assert iris(tmp_path, keep).frame().columns.tolist() == ["petal_width", "species"]
    cut = iris(tmp_path, only(column("sepal_width") > 3), keep, drop)
    assert cut.frame().columns.tolist() == ["species"]
    assert [len(piece.frame()) for piece in cut.slices()] == cut.rows()


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_only_what_is_needed_is_left(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"a": range(10), "b": [n * 0.5 for n in range(10)], "c": list("abcdefghij")})
    path = tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(path, row_group_size=4)
    else:
        frame.to_csv(path, index=False)
    operations = [only(column("b") >= 1), {"op": "keep_columns", "columns": ["c"]}, skip(1), take(5)]
    cut = PlannedTable(listed(path), TableOptions(name.partition(".")[2]), operations=operations)
    assert cut.frame().c.tolist() == list("defgh")
    none = PlannedTable(listed(path), TableOptions(name.partition(".")[2]), operations=[{"op": "drop_columns", "columns": ["a", "b", "c"]}])
    assert sum(len(piece.frame()) for piece in none.slices()) == 10


def test_a_column_that_is_not_there_any_more(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The dataset has no column 'species', which filter names") as caught:
        iris(tmp_path, {"op": "drop_columns", "columns": ["species"]}, only(column("species") == "x"))
    assert "sepal_length, sepal_width" in caught.value.line


def test_take_from_parquet_reads_the_footers_only(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": range(40)})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=10)
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    data[4:60] = b"\xff" * 56  # the first row group cannot be read
    (tmp_path / "t.parquet").write_bytes(data)
    cut = PlannedTable(listed(tmp_path / "t.parquet"), TableOptions("parquet"), operations=[skip(15), take(10)])
    assert [rows for *_, rows in cut.cuts] == [5, 5]
    assert cut.frame().n.tolist() == list(range(15, 25))


def test_a_sample_is_the_same_however_the_table_is_cut(tmp_path: Path) -> None:
    frames = [iris(tmp_path, sample(0.4, seed=7), size=size).frame() for size in (100, 512, 100_000)]
    assert 30 < len(frames[0]) < 90
    for other in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], other)
    assert len(iris(tmp_path, sample(0.4, seed=8)).frame()) != 0
    assert not iris(tmp_path, sample(0.4, seed=8)).frame().equals(frames[0])
    assert sum(iris(tmp_path, sample(0.0)).rows()) == 0
    assert sum(iris(tmp_path, sample(1.0)).rows()) == 150


def test_equal_seeds_of_two_operations_are_independent(tmp_path: Path) -> None:
    twice = sum(iris(tmp_path, sample(0.5), sample(0.5)).rows())
    assert 20 <= twice <= 58


def test_splits_are_disjoint_and_complete(tmp_path: Path) -> None:
    numbered = "n\n" + "".join(f"{n}\n" for n in range(1000))
    parts = [
        table(tmp_path, numbered, 256, operations=[split(*ends, seed=3)]).frame().n.tolist() for ends in ((0, 0.3), (0.3, 0.9), (0.9, 1))
    ]
    assert sorted(n for part in parts for n in part) == list(range(1000))
    assert [len(part) // 100 for part in parts] == [3, 5, 0] or all(
        abs(len(p) - e) < 60 for p, e in zip(parts, (300, 600, 100), strict=True)
    )


def test_chances_are_even_and_depend_on_seed_and_place() -> None:
    numbers = np.arange(200_000, dtype=np.uint64)
    found = chances(numbers, 5)
    assert found.min() >= 0
    assert found.max() < 1
    counts = np.histogram(found, bins=20, range=(0, 1))[0]
    assert abs(counts - 10_000).max() < 500
    for other in (chances(numbers, 6), chances(numbers, 5, place=1), chances(numbers, 5, salt=1), chances(numbers, -5)):
        assert abs(np.corrcoef(found, other)[0, 1]) < 0.01
    assert chances(numbers[5:7], 5).tolist() == found[5:7].tolist()


@pytest.mark.parametrize("encoding", ["utf8", "utf8bom", "latin1", "utf16", "utf32"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "quoted", "dropped"])
def test_a_row_is_drawn_for_its_own_sake(tmp_path: Path, encoding: str, kind: str) -> None:
    """Neither the size of the blocks, nor rows of other files, nor blank lines at a border change what is drawn."""
    codec = {"utf8bom": "utf-8-sig", "utf8": "utf-8"}.get(encoding, encoding)
    gaps = ["", "\n", "\n\n", "\r\n", "  \n"]
    if kind in ("csv", "quoted"):
        cell = '"é\n{}"' if kind == "quoted" else "é{}"
        text = "n,s\n" + "".join(f"{n},{cell.format(n)}\n" + gaps[n % 4] for n in range(60))
    else:
        text = "".join(
            f'{{"n": {n}, "s": "é"}}\n' + gaps[n % 5] + ("nonsense\n" if kind == "dropped" and n % 3 == 0 else "") for n in range(60)
        )
    options = TableOptions(
        "jsonl" if kind in ("jsonl", "dropped") else "csv",
        encoding=encoding,
        support_multi_line=kind == "quoted",
        invalid_lines="drop" if kind == "dropped" else "error",
    )
    (tmp_path / "a").write_bytes(text.encode(codec))
    (tmp_path / "b").write_bytes("n,s\n1,x\n".encode(codec) if options.delimited else '{"n": 1, "s": "x"}\n'.encode(codec))
    draws = [sample(0.5, seed=2)]
    found = [PlannedTable(listed(tmp_path / "a"), options, size, draws).frame().n.tolist() for size in (("count", 17), ("rows", 7), None)]
    assert 15 < len(found[0]) < 45
    assert found[0] == found[1] == found[2]
    both = PlannedTable(listed(tmp_path / "a", tmp_path / "b"), options, ("count", 40), draws).frame().n.tolist()
    assert both[: len(found[0])] == found[0]
    rest = PlannedTable(listed(tmp_path / "a"), options, ("count", 23), [split(0, 0.5, seed=2)]).frame().n.tolist()
    assert rest == found[0]


def test_failed_rows_survive_filters_and_count_as_rows(tmp_path: Path) -> None:
    text = "n,w\n1,a\nx,b\n3,c\n4,d\ny,e\n6,f\n"
    path = tmp_path / "t.csv"
    path.write_text(text)
    files = listed(path)
    cut = PlannedTable(files, TableOptions("csv", column_types={}), ("count", 10_000))
    cut.reader.close()
    # A pass over samples did not see the rows that do not fit: as if the column were of whole numbers.
    header = {**cut.plan.header, "operations": [only(column("w") != "c"), skip(1), take(4)], "positions": None}
    header["schemas"][0]["columns"][0]["type"] = "int64"
    from batchmill.data.table_reader import TableReader
    from batchmill.worker.plan_file import Item, MiniBatchPlan

    reader = TableReader(header)
    item = Item(str(path), "t.csv", 0, len(text), 0, None)
    piece = reader.read_all(MiniBatchPlan(0, 0, (0,), 0, len(text)), lambda _: item)
    assert [row for row, *_ in piece.failed] == [1, 4]
    left, counts = reader.operate(piece, 0, (0, 0))
    assert counts == (5, 4)
    assert left.rows == 4
    assert [row for row, *_ in left.failed] == [0, 2]
    assert left.frame().n.tolist() == [4, 6]
    assert [left.describe(row).rpartition(":")[2] for row in range(4)] == ["line 3", "line 5", "line 6", "line 7"]
    assert left.frame(1, 2).n.tolist() == [4]
    assert left.numbers.tolist() == [1, 3, 4, 5]
    reader.close()


@st.composite
def _operations(draw: st.DrawFn) -> list[dict[str, Any]]:
    one = st.one_of(
        st.integers(0, 30).map(take),
        st.integers(0, 30).map(skip),
        st.floats(0, 1).map(sample),
        st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)).map(lambda ends: split(*ends)),
        st.integers(-5, 5).map(lambda n: only(column("a") > n)),
        st.sampled_from(["x", "y", ""]).map(lambda text: only(~(column("b") == text))),
    )
    return draw(st.lists(one, max_size=4))


def _expected(frame: pd.DataFrame, operations: list[dict[str, Any]], files: Any, options: TableOptions) -> pd.DataFrame:
    """The same in pandas; of a draw all that is asked is that every row is drawn or not by itself."""
    for place, one in enumerate(operations):
        if one["op"] == "filter":
            expression = Expression(one["expression"])
            rows = frame.to_dict("records")
            frame = frame[[expression.evaluate(row) for row in rows]]
        elif one["op"] == "take":
            frame = frame.head(one["count"])
        elif one["op"] == "skip":
            frame = frame[one["count"] :]
        else:
            drawn = PlannedTable(files, options, operations=[*[skip(0)] * place, one])
            frame = frame[frame.id.isin(drawn.frame().id if sum(drawn.rows()) else [])]
    return frame.reset_index(drop=True)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.one_of(st.none(), st.integers(-9, 9)), st.sampled_from(["x", "y", "zz"])), min_size=1, max_size=40),
    operations=_operations(),
    size=st.integers(1, 60),
    kind=st.sampled_from(["csv", "jsonl", "parquet"]),
    files=st.integers(1, 3),
)
def test_the_slices_of_any_operations_add_up_to_the_operations_on_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int | None, str]],
    operations: list[dict[str, Any]],
    size: int,
    kind: str,
    files: int,
) -> None:
    folder = tmp_path_factory.mktemp("t")
    whole = pd.DataFrame(rows, columns=["a", "b"]).assign(id=range(len(rows)))
    step = -(-len(whole) // files)
    for number in range(files):
        part = whole[number * step : (number + 1) * step].reset_index(drop=True)
        path = folder / f"{number}.{kind}"
        if kind == "csv":
            part.to_csv(path, index=False)
        elif kind == "jsonl":
            path.write_text(part.to_json(orient="records", lines=True))
        else:
            part.astype({"a": "float64"}).to_parquet(path, row_group_size=size)
    paths = sorted(folder.iterdir())
    plain = PlannedTable(listed(*paths), TableOptions(kind), ("count", size)).frame()
    cut = PlannedTable(listed(*paths), TableOptions(kind), ("count", size), operations)
    expected = _expected(plain, operations, listed(*paths), TableOptions(kind))
    if sum(cut.rows()) == 0:
        assert len(expected) == 0
    else:
        pd.testing.assert_frame_equal(cut.frame(), expected)
    known = [rows for *_, rows in cut.cuts]
    if RowOperations(operations).positional:
        assert known == cut.rows()
