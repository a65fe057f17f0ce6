"""Filter expressions over the rows of a slice, a column at a time: the very rows that `data.expression` takes one by one.

What Arrow compares otherwise than Python does (texts with numbers, decimals, lists) is compared value by value.
Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from batchmill.data.expression import COMPARISONS, TEXTS, Expression, compare, is_null, literal

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1)
_EXACT = 2**53
"""Whole numbers up to this are exact as floating-point numbers."""


class RowFilter:
    """One expression, ready for many slices.

    >>> import pyarrow as pa
    >>> found = RowFilter((Expression.column("n") > 1).tree)
    >>> found.mask(pa.table({"n": [1, None, 3]}), ["float64"]).tolist()
    [False, False, True]
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree
        self.columns = Expression(tree).columns()
        """The columns it looks at, each once."""

    def mask(self, table: pa.Table, types: Sequence[str]) -> Any:
        """A numpy array that says of each row whether it is taken; ``types`` are the column types of `TableSlice`."""
        return _Rows(table, types).truth(self._tree)


class _Rows:
    def __init__(self, table: pa.Table, types: Sequence[str]) -> None:
        self._table = table
        self._types = types
        self._count = table.num_rows

    def truth(self, tree: Mapping[str, Any]) -> Any:
        import numpy as np

        op = tree.get("op")
        if op is None:
            return self._truth_of_leaf(tree)
        if op in ("and", "or"):
            join = np.logical_and if op == "and" else np.logical_or
            result = np.full(self._count, op == "and")
            for one in tree["of"]:
                join(result, self.truth(one), out=result)
            return result
        if op == "not":
            return ~self.truth(tree["of"])
        if op == "is_null":
            inner = tree["of"]
            return self._nulls(self._operand(inner)) if "op" not in inner else np.zeros(self._count, bool)
        if op == "isin":
            return self._is_in(self._operand(tree["left"]), [literal(one) for one in tree["of"]])
        return self._compared(op, self._operand(tree["left"]), self._operand(tree["right"]))

    def _truth_of_leaf(self, tree: Mapping[str, Any]) -> Any:
        import numpy as np

        operand = self._operand(tree)
        return np.fromiter((bool(value) for value in self._values(operand)), bool, self._count)

    def _operand(self, tree: Mapping[str, Any]) -> Any:
        """A column, the truth of an expression as one, or a value."""
        import pyarrow as pa

        if "column" in tree:
            n = self._table.schema.get_field_index(tree["column"])
            if n < 0:
                return None
            column = self._table.column(n)
            return _Json(column) if self._types[n] == "json" else column
        if "op" in tree:
            return pa.chunked_array([pa.array(self.truth(tree))])
        return literal(tree) if "metadata" not in tree else None

    def _values(self, operand: Any) -> Sequence[Any]:
        """The operand as Python values, one per row."""
        import pyarrow as pa

        if isinstance(operand, _Json):
            return operand.values()
        if isinstance(operand, pa.ChunkedArray):
            return [plain_value(value) for value in operand.to_pylist()]
        return [operand] * self._count

    def _nulls(self, operand: Any) -> Any:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(operand, pa.ChunkedArray):
            return pc.is_null(operand, nan_is_null=pa.types.is_floating(operand.type)).to_numpy()
        return np.fromiter((is_null(value) for value in self._values(operand)), bool, self._count)

    # --- comparisons --------------------------------------------------------------------------------------------------------------

    def _compared(self, op: str, left: Any, right: Any) -> Any:
        import numpy as np

        quick = self._quickly(op, left, right)
        if quick is not None:
            # Null is equal to nothing and neither smaller nor larger; != is the opposite of ==.
            nulls = self._nulls(left) | self._nulls(right)
            return np.where(nulls, op == "!=", quick)
        pairs = zip(self._values(left), self._values(right))
        return np.fromiter((compare(op, one, other) for one, other in pairs), bool, self._count)

    def _quickly(self, op: str, left: Any, right: Any) -> Any:
        """The comparison by Arrow where both sides are of one kind; the rows with nulls are anything. None: not so."""
        kind = _kind(left)
        if kind is None or kind != _kind(right):
            return None
        if op in TEXTS:
            return _text_test(op, left, right) if kind == "text" and isinstance(right, str) else None
        if kind == "moment":
            left, right = _ticks(left, _unit(left, right)), _ticks(right, _unit(left, right))
        elif kind == "number":
            if not _alike(left, right):
                return None
            left, right = _numbers(left), _numbers(right)
        else:
            return _arrow_comparison(op, left, right)
        import numpy as np

        with np.errstate(invalid="ignore"):
            return np.asarray(COMPARISONS[op](left, right), bool)

    def _is_in(self, operand: Any, choices: Sequence[Any]) -> Any:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        if _kind(operand) == "text" and isinstance(operand, pa.ChunkedArray):
            texts = [choice for choice in choices if isinstance(choice, str)]
            return pc.is_in(operand, value_set=pa.array(texts, operand.type)).to_numpy()
        result = np.zeros(self._count, bool)
        for choice in choices:
            result |= self._compared("==", operand, choice)
        return result


class _Json:
    """A column of Python values that travels as JSON text."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def values(self) -> list[Any]:
        return [None if text is None else json.loads(text) for text in self._column.to_pylist()]


def plain_value(value: Any) -> Any:
    """A value as expressions compare it: a day is its midnight."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value


def _kind(operand: Any) -> Any:
    import pyarrow as pa
    import pyarrow.types as types

    if not isinstance(operand, pa.ChunkedArray):
        for kind, classes in (("bool", bool), ("number", (int, float)), ("text", str), ("moment", datetime)):
            if isinstance(operand, classes):
                return kind
        return None
    tests: Sequence[tuple[str, Callable[[Any], bool]]] = (
        ("bool", types.is_boolean),
        ("number", lambda found: types.is_integer(found) or found in (pa.float32(), pa.float64())),
        ("text", lambda found: types.is_string(found) or types.is_large_string(found)),
        ("moment", lambda found: types.is_timestamp(found) or types.is_date32(found)),
    )
    return next((kind for kind, test in tests if test(operand.type)), None)


def _text_test(op: str, column: Any, text: str) -> Any:
    import pyarrow.compute as pc

    tests = {"contains": pc.match_substring, "starts_with": pc.starts_with, "ends_with": pc.ends_with}
    found = tests[op](column, pattern=text)
    return found.fill_null(False).to_numpy() if hasattr(found, "to_numpy") else found.as_py()


def _arrow_comparison(op: str, left: Any, right: Any) -> Any:
    """Texts (in the order of their characters) and truth values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
    found = names[op](left, right)
    return found.fill_null(False).to_numpy() if isinstance(found, pa.ChunkedArray) else found.as_py()


def _unit(left: Any, right: Any) -> str:
    """Nanoseconds where a column counts them, else microseconds, which reach further."""
    return "ns" if any(getattr(getattr(side, "type", None), "unit", "us") == "ns" for side in (left, right)) else "us"


def _ticks(operand: Any, unit: str) -> Any:
    """A moment as a whole number since 1970; nulls are 0."""
    import pyarrow as pa

    if isinstance(operand, datetime):
        if operand.tzinfo is not None:
            operand = operand.astimezone(timezone.utc).replace(tzinfo=None)
        return (operand - _EPOCH) // timedelta(microseconds=1) * (1000 if unit == "ns" else 1)
    zone = getattr(operand.type, "tz", None)
    return operand.cast(pa.timestamp(unit, zone), safe=False).cast(pa.int64()).fill_null(0).to_numpy()


def _alike(left: Any, right: Any) -> bool:
    """Whether comparing as numpy does gives what exact numbers would: not where large whole numbers meet fractions."""
    whole = [side for side in (left, right) if _is_whole(side)]
    return len(whole) != 1 or _largest(whole[0]) <= _EXACT


def _is_whole(operand: Any) -> bool:
    import pyarrow.types as types

    return isinstance(operand, int) if not hasattr(operand, "type") else bool(types.is_integer(operand.type))


def _largest(operand: Any) -> int:
    import pyarrow.compute as pc

    if isinstance(operand, int):
        return abs(operand)
    ends = pc.min_max(operand).as_py()
    return max(abs(int(ends["min"] or 0)), abs(int(ends["max"] or 0)))


def _numbers(operand: Any) -> Any:
    if isinstance(operand, (int, float)):
        return operand
    values = operand.fill_null(0).to_numpy()
    return values.astype("float64") if values.dtype.kind == "f" else values
