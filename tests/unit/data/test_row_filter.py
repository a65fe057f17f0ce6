"""Filters over Arrow columns take the very rows that `Expression.evaluate` takes one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.expression import Expression
from batchmill.data.row_filter import RowFilter

NUMBERS = [None, 0, 1, -1, 2.5, float("nan"), 2**53, 2**53 + 1, 2**63 - 1, 1e300, float("inf")]
TEXTS = [None, "", "a", "ab", "b", "zebra", "é", "1"]
MOMENTS = [
    None,
    datetime(1, 1, 1),
    datetime(1970, 1, 1),
    datetime(2019, 2, 3, 4, 5, 6, 789),
    datetime(2019, 2, 3, tzinfo=timezone(timedelta(hours=2))),
]
VALUES = st.sampled_from([*NUMBERS[:5], *NUMBERS[6:10], *TEXTS, True, False, *MOMENTS])


def rows(table: pa.Table) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        if hasattr(value, "to_pydatetime"):
            return value.to_pydatetime()
        return datetime(value.year, value.month, value.day) if isinstance(value, date) and not isinstance(value, datetime) else value

    return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


def taken(expression: Expression, table: pa.Table) -> list[bool]:
    return RowFilter(expression.tree).mask(table, [""] * table.num_columns).tolist()


def columns() -> st.SearchStrategy[pa.ChunkedArray]:
    ints = st.lists(st.sampled_from([None, 0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1]), min_size=4, max_size=4).map(
        lambda v: pa.chunked_array([pa.array(v, pa.int64())])
    )
    floats = st.lists(st.sampled_from([None, 0.0, 2.5, float("nan"), float(2**53), 1e300]), min_size=4, max_size=4)
    texts = st.lists(st.sampled_from(TEXTS), min_size=4, max_size=4)
    bools = st.lists(st.sampled_from([None, True, False]), min_size=4, max_size=4)
    moments = st.lists(
        st.sampled_from([None, datetime(1970, 1, 1), datetime(2019, 2, 3, 4, 5, 6, 789), datetime(2019, 2, 2, 22)]), min_size=4, max_size=4
    )
    return st.one_of(
        ints,
        st.tuples(floats, st.sampled_from([pa.float64(), pa.float32()])).map(lambda f: pa.chunked_array([pa.array(f[0], f[1])])),
        st.tuples(texts, st.sampled_from([pa.string(), pa.large_string()])).map(lambda t: pa.chunked_array([pa.array(t[0], t[1])])),
        bools.map(lambda v: pa.chunked_array([pa.array(v, pa.bool_())])),
        st.tuples(moments, st.sampled_from([pa.timestamp("ns"), pa.timestamp("us"), pa.timestamp("us", "UTC")])).map(
            lambda m: pa.chunked_array([pa.array(m[0], m[1])])
        ),
        st.lists(st.sampled_from([None, date(2019, 2, 3), date(1970, 1, 1)]), min_size=4, max_size=4).map(
            lambda v: pa.chunked_array([pa.array(v, pa.date32())])
        ),
        st.lists(st.sampled_from([None, Decimal("1.5"), Decimal(0)]), min_size=4, max_size=4).map(
            lambda v: pa.chunked_array([pa.array(v, pa.decimal128(5, 1))])
        ),
    )


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> Expression:
    one, other = Expression.column(draw(st.sampled_from("ab"))), Expression.column("b")
    value = draw(VALUES)
    op = draw(
        st.sampled_from(
            ["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "contains", "starts_with", "ends_with", "isin", "is_null"]
        )
    )
    if op == "is_null":
        found = one.is_null()
    elif op == "isin":
        found = one.isin(draw(st.lists(VALUES, max_size=3)))
    elif op.startswith("__"):
        found = getattr(one, op)(draw(st.sampled_from([value, other])))
    else:
        found = getattr(one, op)(draw(st.sampled_from(["", "a", "b"])))
    if depth and draw(st.booleans()):
        more = draw(expressions(depth - 1))
        found = draw(st.sampled_from([found & more, found | more, ~found, (found == more)]))
    return found


@settings(max_examples=300, deadline=None)
@given(one=columns(), other=columns(), expression=expressions())
def test_the_same_rows_as_one_by_one(one: pa.ChunkedArray, other: pa.ChunkedArray, expression: Expression) -> None:
    table = pa.table({"a": one, "b": other})
    assert taken(expression, table) == [expression.evaluate(row) for row in rows(table)], expression


def test_json_columns_are_compared_as_values() -> None:
    table = pa.table({"j": pa.array(['"x"', "3", None, "[1]"], pa.large_string())})
    assert RowFilter((Expression.column("j") == "x").tree).mask(table, ["json"]).tolist() == [True, False, False, False]
    assert RowFilter((Expression.column("j") > 2).tree).mask(table, ["json"]).tolist() == [False, True, False, False]
    assert RowFilter(Expression.column("j").is_null().tree).mask(table, ["json"]).tolist() == [False, False, True, False]


def test_moments_beyond_what_nanoseconds_reach() -> None:
    table = pa.table({"t": pa.array([datetime(2019, 1, 1), None], pa.timestamp("ns"))})
    assert taken(Expression.column("t") > datetime(1, 1, 1), table) == [True, False]
    assert taken(Expression.column("t") < datetime(9999, 1, 1, tzinfo=UTC), table) == [True, False]


def test_empty_slices_and_truth_of_columns() -> None:
    empty = pa.table({"n": pa.array([], pa.int64())})
    assert taken((Expression.column("n") > 1) | Expression.column("n").isin([1, "a"]), empty) == []
    table = pa.table({"n": pa.array([0, 1, None], pa.int64()), "b": pa.array([True, False, None])})
    assert taken(Expression.column("b") | (Expression.column("n") == 1), table) == [True, True, False]
    assert taken(Expression.column("gone").is_null(), table) == [True, True, True]


@pytest.mark.parametrize("kind", [np.uint64, np.int8, np.float32])
def test_narrow_and_unsigned_numbers(kind: Any) -> None:
    table = pa.table({"n": pa.array(np.array([0, 5, 100], kind))})
    assert taken(Expression.column("n") > -1, table) == [True, True, True]
    assert taken(Expression.column("n") < 2**70, table) == [True, True, True]
    assert taken(Expression.column("n") >= 5.5, table) == [False, False, True]
    assert taken(Expression.column("n") > 1000, table) == [False, False, False]
