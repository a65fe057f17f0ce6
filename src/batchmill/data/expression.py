"""Filter expressions of datasets: ``(dataset['x'] > 3) & ~dataset['name'].contains('test')`` as a tree that JSON can hold.

Leaves are ``{"column": NAME}``, ``{"metadata": NAME}`` (of a file) and literals: ``{"value": V}`` or ``{"datetime": ISO}``. Nodes are
``{"op": OP, "left": TREE, "right": TREE}`` for comparisons and texts, ``{"op": "and"|"or", "of": [TREE, ...]}``,
``{"op": "not"|"is_null", "of": TREE}`` and ``{"op": "isin", "left": TREE, "of": [LITERAL, ...]}``.

Null is equal to nothing, not even to null, and neither smaller nor larger; ``!=`` is the opposite of ``==``. Values of kinds that
cannot be compared are different, and neither smaller nor larger. A moment without a time zone is UTC.
Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import math
import operator
from datetime import date, datetime, timezone
from typing import Any, Callable, Iterable, Mapping, Optional

from batchmill.errors import InputError

Tree = Mapping[str, Any]
Row = Mapping[str, Any]
Evaluator = Callable[[Row, Row], Any]

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
BINARY = frozenset([*COMPARISONS, *TEXTS])
METADATA = ("Size", "LastModifiedTime", "CreationTime", "CreatedTime", "Extension", "CanSeek")
"""Azure ML: the names that ``file_metadata`` takes."""
NOT_A_NUMBER = "A filter cannot compare with {!r}. Use is_null()."


class Expression:
    """One expression; comparing and combining gives another.

    >>> size, name = Expression.metadata("Size"), Expression.column("name")
    >>> both = (size > 10) & ~name.starts_with("old")
    >>> both.evaluate({"name": "new"}, {"Size": 11}), both.evaluate({"name": "older"}, {"Size": 11})
    (True, False)
    >>> both
    (dataset.file_metadata('Size') > 10) & ~dataset['name'].starts_with('old')
    """

    __slots__ = ("_evaluator", "tree")

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._evaluator: Optional[Evaluator] = None

    @classmethod
    def column(cls, name: str) -> Expression:
        """The value of a column (Azure ML: ``dataset['name']``)."""
        return cls({"column": name})

    @classmethod
    def metadata(cls, name: str) -> Expression:
        """What is known about a file (Azure ML: ``dataset.file_metadata('Size')``).

        Raises:
            InputError: there is no such name.
        """
        if name not in METADATA:
            raise InputError(f"There is no file metadata {name!r}.", cure=f"Known are {', '.join(METADATA)}.")
        return cls({"metadata": name})

    @classmethod
    def from_tree(cls, tree: Any) -> Expression:
        """An expression that was stored.

        Raises:
            InputError: it is none.
        """
        _check(tree)
        return cls(tree)

    def evaluate(self, row: Row, metadata: Optional[Row] = None) -> bool:
        """Whether the row is taken; a column that the row lacks is null."""
        if self._evaluator is None:
            self._evaluator = _evaluator(self.tree)
        return bool(self._evaluator(row, metadata or {}))

    def columns(self) -> list[str]:
        """The columns it looks at, each once."""
        return list(dict.fromkeys(_leaves(self.tree, "column")))

    def uses_metadata(self) -> bool:
        """Whether it asks for anything that only files have."""
        return any(True for _ in _leaves(self.tree, "metadata"))

    # --- what makes new expressions -----------------------------------------------------------------------------------------------

    def _with(self, op: str, other: Any) -> Expression:
        return Expression({"op": op, "left": self.tree, "right": _as_tree(other)})

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return self._with("==", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return self._with("!=", other)

    def __lt__(self, other: Any) -> Expression:
        return self._with("<", other)

    def __le__(self, other: Any) -> Expression:
        return self._with("<=", other)

    def __gt__(self, other: Any) -> Expression:
        return self._with(">", other)

    def __ge__(self, other: Any) -> Expression:
        return self._with(">=", other)

    def __and__(self, other: Any) -> Expression:
        return self._joined("and", other)

    def __or__(self, other: Any) -> Expression:
        return self._joined("or", other)

    def __invert__(self) -> Expression:
        return Expression({"op": "not", "of": self.tree})

    def contains(self, text: str) -> Expression:
        """True where the value is a text that holds ``text``."""
        return self._with("contains", _text(text))

    def starts_with(self, text: str) -> Expression:
        """True where the value is a text that begins with ``text``."""
        return self._with("starts_with", _text(text))

    def ends_with(self, text: str) -> Expression:
        """True where the value is a text that ends with ``text``."""
        return self._with("ends_with", _text(text))

    def isin(self, values: Iterable[Any]) -> Expression:
        """True where the value equals one of these."""
        if isinstance(values, (str, bytes)):
            raise InputError(f"isin takes a list of values, not the one text {values!r}.", cure="Put it into brackets: [...].")
        return Expression({"op": "isin", "left": self.tree, "of": [_as_tree(value) for value in values]})

    def is_null(self) -> Expression:
        """True where there is no value."""
        return Expression({"op": "is_null", "of": self.tree})

    def _joined(self, op: str, other: Any) -> Expression:
        """Chains stay flat: a thousand conditions are no deep tree."""
        parts: list[Any] = []
        for tree in (self.tree, _as_tree(other)):
            parts.extend(tree["of"] if tree.get("op") == op else (tree,))
        return Expression({"op": op, "of": parts})

    def __bool__(self) -> bool:
        raise TypeError(
            "A filter expression has no value of its own: combine conditions with &, | and ~, each in brackets, not with and/or."
        )

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return _shown(self.tree, outer=True)


# --- making trees -------------------------------------------------------------------------------------------------------------------


def _as_tree(value: Any) -> Tree:
    if isinstance(value, Expression):
        return value.tree
    value = _of_python(value)
    if isinstance(value, datetime) and value != value:  # NaT of pandas
        raise InputError(NOT_A_NUMBER.format(value))
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, date):
        return {"datetime": value.isoformat() + "T00:00:00"}
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(NOT_A_NUMBER.format(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise InputError(f"A filter cannot compare with a {type(value).__name__}.", cure="Use a text, a number, a truth value or a datetime.")


def _of_python(value: Any) -> Any:
    """A scalar of pandas or numpy as one of Python; a moment to the microsecond."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    if hasattr(value, "item") and callable(value.item) and getattr(value, "ndim", 1) == 0:
        if value.dtype.kind != "M":
            return value.item()
        return value.astype("datetime64[us]").item() if value == value else math.nan  # item() makes a bare number of nanoseconds
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"A text is looked for with a text, not with {value!r}.")
    return value


def _check(tree: Any) -> None:
    if not isinstance(tree, Mapping):
        raise _broken(tree)
    op = tree.get("op")
    if op is None:
        known = [name for name in ("column", "metadata", "datetime") if isinstance(tree.get(name), str)]
        if len(tree) != 1 or not (known or "value" in tree):
            raise _broken(tree)
        if known == ["datetime"]:
            _moment(tree)
        elif known == ["metadata"]:
            Expression.metadata(tree["metadata"])
    elif op in BINARY and "left" in tree and "right" in tree:
        _check(tree["left"])
        _check(tree["right"])
    elif op in ("and", "or") and isinstance(tree.get("of"), (list, tuple)):
        for one in tree["of"]:
            _check(one)
    elif op in ("not", "is_null"):
        _check(tree.get("of"))
    elif op == "isin" and isinstance(tree.get("of"), (list, tuple)):
        for one in (tree.get("left"), *tree["of"]):
            _check(one)
    else:
        raise _broken(tree)


def _moment(tree: Tree) -> datetime:
    try:
        return datetime.fromisoformat(tree["datetime"])
    except ValueError:
        raise _broken(tree) from None


def _broken(tree: Any) -> InputError:
    return InputError(f"A filter of a dataset cannot be read: {tree!r}.", cure="Register the dataset again, or use a newer Batchmill.")


def _leaves(tree: Tree, kind: str) -> Iterable[str]:
    if kind in tree:
        yield tree[kind]
    below = tree.get("of", ())
    for one in (tree.get("left"), tree.get("right"), *(below if isinstance(below, (list, tuple)) else (below,))):
        if one is not None:
            yield from _leaves(one, kind)


# --- evaluating -----------------------------------------------------------------------------------------------------------------------


def _evaluator(tree: Tree) -> Evaluator:
    op = tree.get("op")
    if op is None:
        return _leaf(tree)
    if op in ("and", "or"):
        parts = [_evaluator(one) for one in tree["of"]]
        decide = all if op == "and" else any
        return lambda row, metadata: decide(part(row, metadata) for part in parts)
    if op == "isin":
        value, choices = _evaluator(tree["left"]), [_leaf(one)({}, {}) for one in tree["of"]]
        return lambda row, metadata: any(compare("==", value(row, metadata), one) for one in choices)
    if op == "not":
        inner = _evaluator(tree["of"])
        return lambda row, metadata: not inner(row, metadata)
    if op == "is_null":
        inner = _evaluator(tree["of"])
        return lambda row, metadata: is_null(inner(row, metadata))
    left, right = _evaluator(tree["left"]), _evaluator(tree["right"])
    return lambda row, metadata: compare(op, left(row, metadata), right(row, metadata))


def _leaf(tree: Tree) -> Evaluator:
    if "column" in tree:
        name = tree["column"]
        return lambda row, metadata: row.get(name)
    if "metadata" in tree:
        name = tree["metadata"]
        return lambda row, metadata: metadata.get(name)
    value = literal(tree)
    return lambda row, metadata: value


def literal(tree: Tree) -> Any:
    """The value of a literal leaf; datetimes as they were written."""
    return _moment(tree) if "datetime" in tree else tree["value"]


def is_null(value: Any) -> bool:
    """None, and what is not equal to itself (NaN, NaT)."""
    return value is None or value != value


def compare(op: str, left: Any, right: Any) -> bool:
    """Two values by the rules at the top of this page.

    >>> compare("!=", None, 3), compare("<", None, 3), compare("<", "a", 3), compare("contains", "abc", "b")
    (True, False, False, True)
    """
    if is_null(left) or is_null(right):
        return op == "!="
    if op in TEXTS:
        return isinstance(left, str) and isinstance(right, str) and TEXTS[op](left, right)
    if isinstance(left, datetime) and isinstance(right, datetime):
        left, right = _utc(left), _utc(right)
    try:
        return bool(COMPARISONS[op](left, right))
    except TypeError:
        return False


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment


# --- showing --------------------------------------------------------------------------------------------------------------------------


def _shown(tree: Tree, *, outer: bool = False) -> str:
    op = tree.get("op")
    if op is None:
        if "column" in tree:
            return f"dataset[{tree['column']!r}]"
        return f"dataset.file_metadata({tree['metadata']!r})" if "metadata" in tree else repr(literal(tree))
    if op == "not":
        return "~" + _shown(tree["of"])
    if op == "is_null":
        return f"{_shown(tree['of'])}.is_null()"
    if op == "isin":
        return f"{_shown(tree['left'])}.isin([{', '.join(_shown(one) for one in tree['of'])}])"
    if op in TEXTS:
        return f"{_shown(tree['left'])}.{op}({_shown(tree['right'])})"
    if op in ("and", "or"):
        text = (" & " if op == "and" else " | ").join(_shown(one) for one in tree["of"])
    else:
        text = f"{_shown(tree['left'])} {op} {_shown(tree['right'])}"
    return text if outer else f"({text})"
