"""Which rows belong to which mini-batch (specification D2: the measured numbers)."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchmill.errors import InputError, ReadError
from tests.table_inputs import PlannedTable, TableOptions, iris_csv, listed, table

LINES_OF_8 = "a,b,c,d\n" + "".join(f"{n:02},1,22\n"[:7].ljust(7, "0") + "\n" for n in range(31)).replace("\n\n", "\n")


@pytest.mark.parametrize(
    ("size", "rows"),
    [(1024, [36, 35, 33, 34, 12]), (512, [17, 19, 18, 17, 16, 17, 17, 17, 12]), (2048, [71, 67, 12])],
)
def test_iris_is_cut_as_measured(tmp_path: Path, size: int, rows: list[int]) -> None:
    assert len(iris_csv()) == 4466
    assert table(tmp_path, iris_csv(), size).rows() == rows


def test_iris_has_five_columns_of_one_type_each(tmp_path: Path) -> None:
    frame = table(tmp_path, iris_csv(), 1024).frame()
    assert frame.shape == (150, 5)
    assert [str(kind) for kind in frame.dtypes[:4]] == ["float64"] * 4
    assert list(frame.index) == list(range(150))


def test_a_line_that_starts_at_a_border_belongs_to_the_earlier_block(tmp_path: Path) -> None:
    text = "header1\n" + "".join(f"line{n:03}\n" for n in range(31))
    assert len(text) == 256
    assert table(tmp_path, text, 64).rows() == [8, 8, 8, 7]


def test_a_line_longer_than_the_block_leaves_empty_blocks(tmp_path: Path) -> None:
    cut = table(tmp_path, "a\n1\n" + "x" * 30 + "\n5\n", 10)
    assert cut.rows() == [2, 0, 0, 1]
    assert cut.read(1).frame().shape == (0, 1)


@pytest.mark.parametrize(("size", "rows"), [(64, [5, 5, 5, 5, 5, 5, 2]), (100, [8, 8, 8, 7, 1])])
def test_json_lines_are_cut_as_measured(tmp_path: Path, size: int, rows: list[int]) -> None:
    text = "".join(f'{{"a": {n:05}}}\n'.replace(" 0000", "     ").replace(" 000", "    ") for n in range(1, 33))
    assert len(text) == 32 * 13
    assert table(tmp_path, text, size, name="t.jsonl").rows() == rows


def test_each_file_begins_a_new_block(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n" + "12345\n" * 100)
    cut = PlannedTable(listed(tmp_path / "a.csv", tmp_path / "b.csv"), TableOptions("csv"), ("count", 1000000))
    assert cut.rows() == [100, 100]


def test_empty_and_header_only_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x,y\n")
    (tmp_path / "c.csv").write_text("x,y\n1,2\n")
    cut = PlannedTable(listed(*(tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))), TableOptions("csv"))
    assert cut.rows() == [0, 1]
    assert cut.frame().to_dict("list") == {"x": [1], "y": [2]}


def test_multi_line_files_are_one_mini_batch(tmp_path: Path) -> None:
    cut = table(tmp_path, 'a,b\n1,"two\nlines"\n' * 1 + '2,"x"\n' * 40, 64, support_multi_line=True)
    assert cut.rows() == [41]
    assert cut.frame().b[0] == "two\nlines"


def test_without_multi_line_a_quoted_line_end_splits_the_row(tmp_path: Path) -> None:
    cut = table(tmp_path, 'a,b\n1,"two\nlines",3\n4,5\n')
    assert cut.frame().astype(object).where(cut.frame().notna(), None).values.tolist() == [["1", "two"], ['lines"', "3"], ["4", "5"]]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_text_is_one_mini_batch_or_slices_of_rows(tmp_path: Path, suffix: str) -> None:
    text = ("a,b\n" + "".join(f"{n},{n * n}\n" for n in range(1000))).encode()
    data = gzip.compress(text) if suffix == ".gz" else pa.Codec("zstd").compress(text, asbytes=True)
    assert table(tmp_path, data, 64, name="t.csv" + suffix).rows() == [1000]
    cut = table(tmp_path, data, ("rows", 300), name="t.csv" + suffix)
    assert cut.rows() == [300, 300, 300, 100]
    assert cut.frame().a.tolist() == list(range(1000))
    assert cut.read(3).frame().a.tolist() == list(range(900, 1000))
    assert cut.read(1).frame().a.tolist() == list(range(300, 600))


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    data = gzip.compress(iris_csv().encode())
    with pytest.raises(InputError, match=r"t\.csv\.gz cannot be uncompressed"):
        table(tmp_path, data[:-40], name="t.csv.gz")


def test_plain_files_among_compressed_ones_keep_their_blocks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(iris_csv())
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(iris_csv().encode()))
    cut = PlannedTable(listed(tmp_path / "a.csv", tmp_path / "b.csv.gz"), TableOptions("csv"), ("count", 1024))
    assert cut.rows() == [36, 35, 33, 34, 12, 150]


def test_rows_of_text(tmp_path: Path) -> None:
    cut = table(tmp_path, "a\n\n1\n2\n\r\n3\n\n4\n5", ("rows", 2))
    assert cut.rows() == [2, 2, 1]
    assert cut.frame().a.tolist() == [1, 2, 3, 4, 5]
    assert [rows for *_, rows in cut.cuts] == [2, 2, 1]


def test_parquet_by_row_group_and_by_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(10)), "s": [None, *"bcdefghij"]}), path, row_group_size=4)
    by_group = PlannedTable(listed(path), TableOptions("parquet"), ("count", 1))
    assert by_group.rows() == [4, 4, 2]
    by_rows = PlannedTable(listed(path), TableOptions("parquet"), ("rows", 3))
    assert by_rows.rows() == [3, 1, 3, 1, 2]
    assert by_rows.frame().a.tolist() == list(range(10))
    assert by_rows.read(2).describe(1) == f"{path}:row 6"
    assert list(by_rows.read(2).frame().index) == [0, 1, 2]


def test_a_text_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = table(tmp_path, gzip.compress(b"a\n" + b"1\n" * 1000), name="t.csv.gz")
    monkeypatch.setattr("batchmill.data.compressed.WHOLE_LIMIT", 1000)
    file = cut.reader._opened(cut._item(0))
    file.file._limit = 1000  # type: ignore[union-attr]
    with pytest.raises(ReadError, match="too much for one mini-batch"):
        cut.read(0)
