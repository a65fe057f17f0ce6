"""Filter expressions: what they mean, what they refuse, and that a stored one is the same."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.data.expression import Expression
from batchmill.errors import InputError

x, name, size = Expression.column("x"), Expression.column("name"), Expression.metadata("Size")


@pytest.mark.parametrize(
    ("expression", "row", "expected"),
    [
        (x > 3, {"x": 4}, True),
        (x > 3, {"x": 3}, False),
        (x >= 3, {"x": 3}, True),
        (x < 3.5, {"x": 3}, True),
        (5 > x, {"x": 4}, True),  # noqa: SIM300 - the other way round is another operator
        (x == 3, {"x": 3.0}, True),
        (x != 3, {"x": "3"}, True),
        (x == None, {"x": None}, False),  # noqa: E711
        (x.is_null(), {"x": None}, True),
        (x.is_null(), {"x": float("nan")}, True),
        (x.is_null(), {}, True),
        (x > 3, {}, False),
        (~(x > 3), {}, True),
        (x != 3, {"x": None}, True),
        (x > 3, {"x": "many"}, False),
        ((x > 1) & (x < 3) & (name == "a"), {"x": 2, "name": "a"}, True),
        ((x > 1) & (x < 3) & (name == "a"), {"x": 2, "name": "b"}, False),
        ((x > 9) | name.contains("nan"), {"x": 2, "name": "banana"}, True),
        (name.starts_with("ba") & name.ends_with("a"), {"name": "banana"}, True),
        (name.contains("1"), {"name": 1}, False),
        (name.isin(["a", 3, None]), {"name": 3}, True),
        (name.isin(["a", 3, None]), {"name": None}, False),
        (name.isin([]), {"name": "a"}, False),
        (x == name, {"x": "a", "name": "a"}, True),
        (x & ~name, {"x": True, "name": False}, True),
        (x == np.int64(3), {"x": 3}, True),
        (x > pd.Timestamp("2024-01-01"), {"x": datetime(2024, 1, 2, tzinfo=UTC)}, True),
        (x == date(2024, 1, 1), {"x": datetime(2024, 1, 1)}, True),
        (x < datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), {"x": datetime(2024, 1, 1, 9, tzinfo=UTC)}, True),
    ],
)
def test_what_conditions_mean(expression: Expression, row: dict[str, Any], expected: bool) -> None:
    assert expression.evaluate(row) is expected
    stored = Expression.from_tree(json.loads(json.dumps(expression.tree)))
    assert stored.evaluate(row) is expected
    assert repr(stored) == repr(expression)


def test_metadata_and_columns_are_told_apart() -> None:
    both = (size > 10) | (Expression.column("Size") == "big")
    assert both.evaluate({"Size": "small"}, {"Size": 11})
    assert both.columns() == ["Size"]
    assert both.uses_metadata()
    assert not (x > 1).uses_metadata()


def test_shown_as_it_was_written() -> None:
    assert repr((size > 10) & ~name.isin(["a"])) == "(dataset.file_metadata('Size') > 10) & ~dataset['name'].isin(['a'])"


def test_a_long_chain_is_no_deep_tree() -> None:
    chain = x == 0
    for n in range(5000):
        chain = chain | (x == n)
    assert chain.evaluate({"x": 4999})
    assert Expression.from_tree(json.loads(json.dumps(chain.tree))).evaluate({"x": 4321})


def test_and_and_or_of_python_are_refused() -> None:
    with pytest.raises(TypeError, match="combine conditions with &"):
        bool(x > 1 and x < 3)
    with pytest.raises(TypeError, match="no value of its own"):
        assert 1 < x < 3


@pytest.mark.parametrize("unit", ["ns", "us", "s", "D"])
def test_a_moment_of_numpy_is_a_moment(unit: str) -> None:
    moment = np.datetime64("2026-07-01").astype(f"datetime64[{unit}]")
    assert (x > moment).tree["right"] == {"datetime": "2026-07-01T00:00:00"}
    assert x.isin([moment]).evaluate({"x": datetime(2026, 7, 1)})


def test_isin_takes_several_values() -> None:
    with pytest.raises(InputError, match=r"isin takes a list of values, not the one text 'abc'"):
        x.isin("abc")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), [1], np.array([1, 2]), np.array([1]), pd.NaT, np.datetime64("NaT"), pd.Series([1])]
)
def test_what_cannot_be_compared_with(value: Any) -> None:
    with pytest.raises(InputError, match="A filter cannot compare with"):
        x == value  # noqa: B015
    with pytest.raises(InputError, match="looked for with a text"):
        name.contains(3)  # type: ignore[arg-type]


def test_unknown_metadata_is_named() -> None:
    with pytest.raises(InputError, match=r"no file metadata 'size'\. Known are Size, LastModifiedTime"):
        Expression.metadata("size")


@pytest.mark.parametrize(
    "tree",
    [
        None,
        {},
        {"op": "xor", "left": {"column": "x"}, "right": {"value": 1}},
        {"op": ">", "left": {"column": "x"}},
        {"op": "and", "of": 3},
        {"op": "not"},
        {"column": 3},
        {"column": "x", "value": 3},
        {"datetime": "yesterday"},
        {"metadata": "Colour"},
    ],
)
def test_a_broken_tree_is_refused(tree: Any) -> None:
    with pytest.raises(InputError):
        Expression.from_tree(tree)


values = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=3) | st.datetimes(timezones=st.just(UTC))
)


@given(values, st.none() | st.integers(-5, 5) | st.text(max_size=3) | st.datetimes())
def test_laws_of_comparison(value: Any, other: Any) -> None:
    row = {"x": value}
    assert (x == other).evaluate(row) is not (x != other).evaluate(row)
    assert (x <= other).evaluate(row) is ((x < other) | (x == other)).evaluate(row)
    assert not ((x < other) & (x > other)).evaluate(row)
