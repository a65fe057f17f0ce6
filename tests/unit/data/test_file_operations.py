"""The laws of take, skip, sample, split and filter on a stream of files."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.data.definition import Definition
from batchmill.data.expression import Expression
from batchmill.data.file_operations import FileOperations, file_metadata
from batchmill.storage.chunk import Chunk

File = tuple[int, str]
SIZE = Expression.metadata("Size")


def chunk(names: list[str], prefix: str = "", *, etags: bool = False) -> Chunk:
    sizes, mtimes = array("Q", [len(name) for name in names]), array("q", [n + 1 for n in range(len(names))])
    return Chunk(prefix.encode(), [name.encode() for name in names], sizes, mtimes, [f'"{name}"' for name in names] if etags else None)


def kept(definition: Definition, sources: list[list[Chunk]]) -> list[File]:
    operations = FileOperations(definition)
    found = []
    for number, chunks in enumerate(sources):
        for one in operations.apply(((number, one) for one in chunks), f"/base{number}"):
            assert len(one.names) == len(one.sizes) == len(one.mtimes) == len(one.etags or one.names) > 0
            found += [(number, (one.prefix + name).decode()) for name in one.names]
    return found


def definition(*operations: dict[str, Any], partition_format: str | None = None) -> Definition:
    one = Definition("file", ("a", "b"), partition_format=partition_format)
    for operation in operations:
        one = one.with_operation(**operation)
    return one


names = st.lists(st.text("abc/.", min_size=1, max_size=6), max_size=12, unique=True).map(sorted)


@st.composite
def listings(draw: st.DrawFn) -> list[list[Chunk]]:
    """Some sources, each in some chunks."""
    sources = []
    for _ in range(draw(st.integers(1, 3))):
        chunks, rest = [], draw(names)
        while rest:
            count = draw(st.integers(1, len(rest)))
            chunks.append(chunk(rest[:count], etags=draw(st.booleans())))
            rest = rest[count:]
        sources.append(chunks)
    return sources


def everything(sources: list[list[Chunk]]) -> list[File]:
    return kept(definition(), sources)


@given(listings(), st.integers(0, 15))
def test_take_and_skip_are_of_the_concatenation(sources: list[list[Chunk]], count: int) -> None:
    whole = everything(sources)
    assert kept(definition({"op": "take", "count": count}), sources) == whole[:count]
    assert kept(definition({"op": "skip", "count": count}), sources) == whole[count:]


@given(listings(), st.integers(0, 15), st.integers(0, 15))
def test_operations_follow_their_order(sources: list[list[Chunk]], first: int, second: int) -> None:
    take, skip = {"op": "take", "count": first}, {"op": "skip", "count": second}
    assert kept(definition(take, skip), sources) == everything(sources)[:first][second:]
    assert kept(definition(skip, take), sources) == everything(sources)[second:][:first]


@given(listings(), st.floats(0, 1), st.integers(0, 2**32))
def test_splits_are_disjoint_and_complete(sources: list[list[Chunk]], share: float, seed: int) -> None:
    one = kept(definition({"op": "split", "from": 0, "to": share, "seed": seed}), sources)
    other = kept(definition({"op": "split", "from": share, "to": 1, "seed": seed}), sources)
    whole = everything(sources)
    assert not set(one) & set(other)
    assert sorted([*one, *other]) == sorted(whole)
    assert [file for file in whole if file in set(one)] == one
    again = kept(definition({"op": "split", "from": 0, "to": share, "seed": seed}), sources)
    assert again == one


@given(listings(), st.floats(0, 1), st.integers(0, 2**32))
def test_a_sample_does_not_depend_on_chunks_or_other_files(sources: list[list[Chunk]], probability: float, seed: int) -> None:
    sample = definition({"op": "sample", "probability": probability, "seed": seed})
    whole = kept(sample, sources)
    one_by_one = [[chunk([name.decode()]) for one in chunks for name in one.names] for chunks in sources]
    assert kept(sample, one_by_one) == whole
    every_second = [[chunk([name.decode() for one in chunks for name in one.names][::2])] for chunks in sources]
    assert kept(sample, every_second) == [file for file in everything(every_second) if file in set(whole)]


def test_a_sample_has_about_the_size_it_should() -> None:
    files = [[chunk([f"{n:05}" for n in range(20_000)])]]
    for seed in range(3):
        assert 4_700 < len(kept(definition({"op": "sample", "probability": 0.25, "seed": seed}), files)) < 5_300
    half = {"op": "split", "from": 0, "to": 0.5, "seed": 1}
    assert 4_700 < len(kept(definition(half, half), files)) < 5_300  # the second split is not the first again


def test_take_stops_the_listing() -> None:
    seen = []

    def chunks() -> Iterator[tuple[int, Chunk]]:
        for n in range(5):
            seen.append(n)
            yield 0, chunk([f"{n}a", f"{n}b"])

    operations = FileOperations(definition({"op": "take", "count": 3}))
    assert sum(map(len, operations.apply(chunks(), "/"))) == 3
    assert seen == [0, 1]
    assert list(operations.apply(chunks(), "/")) == []
    assert seen == [0, 1]


def test_filter_by_size_time_and_partition() -> None:
    files = [[chunk(["2023/ann/long-name.csv", "2024/ann/x.csv", "2024/bob/x.csv", "readme"])]]
    form = "{year:yyyy}/{user}/*.csv"
    user, year = Expression.column("user"), Expression.column("year")

    def names_of(expression: Expression) -> list[str]:
        return [name for _, name in kept(definition({"op": "filter", "expression": expression.tree}, partition_format=form), files)]

    assert names_of(SIZE > 20) == ["2023/ann/long-name.csv"]
    assert names_of(user == "ann") == ["2023/ann/long-name.csv", "2024/ann/x.csv"]
    assert names_of((year >= datetime(2024, 1, 1)) & (user != "bob")) == ["2024/ann/x.csv"]
    assert names_of(user.is_null()) == ["readme"]
    assert names_of(Expression.metadata("Extension") == "") == ["readme"]


@pytest.mark.parametrize(("name", "extension"), [("a/b.tar.gz", ".gz"), ("a.b/c", ""), (".hidden", ""), ("a/.hidden", ""), ("x.", ".")])
def test_extensions(name: str, extension: str) -> None:
    assert file_metadata(name, 0, 0)["Extension"] == extension


def test_metadata_of_a_file() -> None:
    found = file_metadata("a.png", 7, 1_700_000_000_123_456_789)
    assert found["LastModifiedTime"] == found["CreatedTime"] == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert (found["Size"], found["CanSeek"]) == (7, True)
    assert file_metadata("a.png", 7, 0)["LastModifiedTime"] is None
