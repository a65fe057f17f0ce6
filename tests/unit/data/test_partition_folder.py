"""Folders that stand for key values: what is written is what is read, for every type and every odd text."""

from __future__ import annotations

import string
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.partition_folder import NULL, folder_columns, folder_name, folder_value, folder_values, partitioning
from batchmill.errors import PartitionFormatError, ReadError

ODD = [NULL, "%", "%41", "..", ".a", "a/b", "a\\b", "*", "[x]?", " ", "é", "a.b"]


def there_and_back(value: Any, type: pa.DataType) -> Any:
    name = folder_name(pa.scalar(value, type))
    assert name
    assert "/" not in name
    assert not name.startswith(".")
    return pa.scalar(folder_value(name, type), type)


@settings(deadline=None)
@given(st.one_of(st.none(), st.text(max_size=20), st.sampled_from(ODD)))
def test_any_text(value: str | None) -> None:
    for kind in (pa.string(), pa.large_string()):
        assert there_and_back(value, kind).as_py() == value


@settings(deadline=None)
@given(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
def test_any_whole_number(value: int | None) -> None:
    assert there_and_back(value, pa.int64()).as_py() == value


@settings(deadline=None)
@given(st.one_of(st.none(), st.floats(allow_nan=False)))
def test_any_fraction(value: float | None) -> None:
    assert there_and_back(value, pa.float64()).as_py() == value


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62), st.sampled_from(["s", "ms", "us", "ns"]))
def test_any_moment(ticks: int, unit: str) -> None:
    least, most = (int(end.timestamp()) for end in (datetime(1000, 1, 1), datetime(9999, 12, 30)))
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    ticks = max(least * scale, min(most * scale, ticks)) if unit != "ns" else ticks
    assert there_and_back(ticks, pa.timestamp(unit)).value == ticks


@pytest.mark.parametrize(
    ("value", "kind", "name"),
    [
        ("Ann", pa.string(), "Ann"),
        ("Tropicana premium", pa.string(), "Tropicana premium"),
        (7, pa.int32(), "7"),
        (2.5, pa.float64(), "2.5"),
        (True, pa.bool_(), "True"),
        (datetime(2019, 2, 3, 4, 5, 6), pa.timestamp("ns"), "20190203040506"),
        (datetime(2019, 2, 3, 4, 5, 6, 7), pa.timestamp("us"), "20190203040506-000007000"),
        (date(2019, 2, 3), pa.date32(), "20190203000000"),
        (Decimal("1.50"), pa.decimal128(5, 2), "1.50"),
        (None, pa.string(), NULL),
        ("", pa.string(), "%"),
        ("a/b", pa.string(), "a%2Fb"),
    ],
)
def test_names(value: Any, kind: pa.DataType, name: str) -> None:
    assert folder_name(pa.scalar(value, kind)) == name
    assert there_and_back(value, kind).as_py() == value


def test_names_are_plain_for_plain_texts() -> None:
    plain = string.ascii_letters + string.digits + "-_ ,=+@()!~'&;$äß漢"
    assert folder_name(pa.scalar(plain)) == plain
    with pytest.raises(PartitionFormatError, match="too long for the name of a folder"):
        folder_name(pa.scalar("é" * 128))


def test_values_of_a_file() -> None:
    schema = pa.schema([("n", pa.int64()), ("x", pa.float64()), ("s", pa.large_string())])
    kept = partitioning(["s", "n"], {"n": "int64", "x": "float64", "s": "str"}, schema)
    assert folder_columns(kept) == [{"name": "s", "type": "str"}, {"name": "n", "type": "int64"}]
    found = folder_values(kept, "https://x/y/a%2Fb/7/part-0.parquet")
    assert found == [("s", pa.large_string(), "a/b"), ("n", pa.int64(), 7)]
    for path in ("part-0.parquet", "a/b/part-0.parquet"):
        with pytest.raises(ReadError, match="does not lie in folders that are named after the keys s, n"):
            folder_values(kept, path)
    with pytest.raises(PartitionFormatError, match="no folder can be named after its values"):
        partitioning(["b"], {"b": "binary"}, pa.schema([("b", pa.binary())]))
