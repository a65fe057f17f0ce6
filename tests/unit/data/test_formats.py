from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from batchmill.data.formats import FormatVote, first_impression, format_of
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk


def chunk(*names: bytes, prefix: bytes = b"") -> Chunk:
    return Chunk(prefix, list(names), array("Q", [1] * len(names)), array("q", [0] * len(names)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.csv", "csv"),
        (b"a.TSV", "tsv"),
        (b"a.parquet", "parquet"),
        (b"a.jsonl", "jsonl"),
        (b"a.ndjson", "jsonl"),
        (b"a.csv.gz", "csv"),
        (b"a.ndjson.ZST", "jsonl"),
        (b"a.tsv.zst", "tsv"),
        (b"a.parquet.gz", "files"),
        (b"a.json", "files"),
        (b"csv", "files"),
        (b"csv.gz", "files"),
        (b"a.gz", "files"),
        (b".csv", "csv"),
    ],
)
def test_the_extension_tells_the_format_alone_and_in_a_chunk(name: bytes, expected: str) -> None:
    assert format_of(name) == expected
    vote = FormatVote()
    vote.add("/in", chunk(name))
    assert vote.decide() == expected


def test_nothing_is_files() -> None:
    assert FormatVote().decide() == "files"


def test_a_mix_names_the_odd_file_and_the_way_out() -> None:
    vote = FormatVote()
    vote.add("/in", chunk(b"1.csv", b"2.csv", b"3.csv", prefix=b"d/"))
    vote.add("/in", chunk(b"read\nme.md", prefix=b"d/"))
    with pytest.raises(InputError) as caught:
        vote.decide()
    assert "3 csv and 1 other" in str(caught.value)
    assert "/in/d/read\\nme.md" in str(caught.value)
    assert "--format" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_kinds_of_tables_are_a_mix_too() -> None:
    vote = FormatVote()
    vote.add("/in", chunk(b"1.csv", b"2.csv", b"3.parquet"))
    with pytest.raises(InputError, match=r"3\.parquet"):
        vote.decide()


def test_the_first_impression_is_one_look(tmp_path: Path) -> None:
    assert first_impression(tmp_path) == first_impression(tmp_path / "nothing") == "files"
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.csv.gz").touch()
    assert first_impression(tmp_path) == first_impression(tmp_path / "a.csv.gz") == "csv"
    assert first_impression(tmp_path / "*.parquet") == "parquet"
