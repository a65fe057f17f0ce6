"""The value that a dataset is: equality, digest, JSON, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchmill.data.definition import Definition
from batchmill.data.expression import Expression
from batchmill.errors import InputError

FULL = Definition(
    "tabular",
    ("datastore://store/in", "https://host/x.csv"),
    "csv",
    {"separator": ";"},
    "{user}/{date:yyyy/MM}/x.csv",
    operations=({"op": "take", "count": 3}, {"op": "filter", "expression": (Expression.column("x") > 3).tree}),
    timestamp="date",
)


def test_json_gives_the_same_value_back() -> None:
    again = Definition.from_dict(json.loads(json.dumps(FULL.to_dict())))
    assert again == FULL
    assert again.digest == FULL.digest
    assert hash(again) == hash(FULL)


def test_defaults_are_not_stored() -> None:
    assert Definition("file", ("a",)).to_dict() == {"kind": "file", "sources": ["a"]}
    assert Definition("file", ("a",), options={}, operations=()).digest == Definition("file", ("a",)).digest


def test_the_digest_tells_definitions_apart() -> None:
    one = Definition("file", ("a", "b"))
    others = [Definition("file", ("b", "a")), Definition("file", ("a",)), one.with_operation(op="take", count=1)]
    others.append(one.with_operation(op="take", count=2))
    assert len({one.digest, *(other.digest for other in others)}) == 5


def test_a_name_that_is_no_text_has_a_digest() -> None:
    assert Definition("file", ("/data/\udcff",)).digest


def test_partition_keys_put_the_date_last() -> None:
    assert FULL.partition_keys == ["user", "date"]
    assert Definition("file", ("a",)).partition_keys == []
    assert Definition("tabular", ("a",), "parquet", partitioned={"keys": ["Store", "Brand"]}).partition_keys == ["Store", "Brand"]


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"op": "shuffle"}, "is unknown"),
        ({"op": "take"}, "lacks 'count'"),
        ({"op": "take", "count": "3"}, "has 'count' = '3'"),
        ({"op": "take", "count": True}, "has 'count' = True"),
        ({"op": "skip", "count": 3, "seed": 1}, "has no 'seed'"),
        ({"op": "keep_columns", "columns": ["x"]}, "is one of tables"),
        ({"op": "filter", "expression": {"op": "?"}}, "A filter of a dataset cannot be read"),
    ],
)
def test_operations_that_are_none(operation: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Definition("file", ("a",)).with_operation(**operation)
    with pytest.raises(InputError, match=why):
        Definition.from_dict({"kind": "file", "sources": ["a"], "operations": [operation]})


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {"kind": "file"},
        {"kind": "file", "sources": []},
        {"kind": "file", "sources": [""]},
        {"kind": "file", "sources": "a"},
        {"kind": "file", "sources": [3]},
        {"kind": "image", "sources": ["a"]},
        {"kind": "file", "sources": ["a"], "format": "csv"},
        {"kind": "tabular", "sources": ["a"]},
        {"kind": "tabular", "sources": ["a"], "format": "xlsx"},
        {"kind": "file", "sources": ["a"], "options": None},
        {"kind": "file", "sources": ["a"], "colour": "red"},
        {"kind": "file", "sources": ["a"], "is_file": "yes"},
        {"kind": "file", "sources": ["a"], "operations": [3]},
        {"kind": "tabular", "sources": ["a"], "format": "csv", "partitioned": {}},
    ],
)
def test_what_is_no_definition(values: Any) -> None:
    with pytest.raises(InputError, match="definition of a dataset cannot be read"):
        Definition.from_dict(values)
