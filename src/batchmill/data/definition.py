"""What a dataset is, before anything of it is read: sources, how to read them, and operations in the order they were asked for.

A definition is a value: two of them are the same dataset when their `Definition.digest` is the same. It is stored as JSON.
Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Mapping, Optional

from batchmill.data.expression import Expression
from batchmill.errors import InputError

FILE, TABULAR = "file", "tabular"
FILES, CSV, PARQUET, JSON_LINES, SQL = "files", "csv", "parquet", "jsonl", "sql"
FORMATS = {FILE: (FILES,), TABULAR: (CSV, PARQUET, JSON_LINES, SQL)}

NUMBER = (int, float)
OPERATIONS: Mapping[str, Mapping[str, Any]] = {
    "take": {"count": int},
    "skip": {"count": int},
    "sample": {"probability": NUMBER, "seed": int},
    "split": {"from": NUMBER, "to": NUMBER, "seed": int},
    "filter": {"expression": dict},
    "keep_columns": {"columns": list},
    "drop_columns": {"columns": list},
}
"""The facts of each operation and their types. ``split`` keeps what falls between two fractions (Azure ML: ``random_split``)."""
OF_TABLES = frozenset({"keep_columns", "drop_columns"})


@dataclass(frozen=True)
class Definition:
    """One dataset, lazily: nothing here has been looked at.

    ``kind`` is "file" or "tabular", ``sources`` are canonical texts in order (``datastore://NAME/PATH``, a URL, an absolute path; as
    `open_input` takes them once they are physical), ``format`` "files", "csv", "parquet", "jsonl" or "sql". ``options`` are keyword
    arguments of `TableOptions` and ``column_types``, ``invalid_lines``, for SQL ``query``, ``query_timeout``. ``is_file``: the one
    source is a file, not a folder. ``operations`` are mappings like ``{"op": "take", "count": 20}``, applied in that order to all
    sources one behind the other. ``timestamp`` and ``partition_timestamp`` name columns; ``partitioned`` says what `partition_by` wrote:
    ``{"keys": [...], "types": {...}}``.

    >>> two = Definition("file", ("datastore://store/images",)).with_operation(op="take", count=2)
    >>> two == Definition.from_dict(two.to_dict()), two.operations
    (True, ({'op': 'take', 'count': 2},))
    """

    kind: str
    sources: tuple[str, ...]
    format: str = FILES
    options: Mapping[str, Any] = field(default_factory=dict)
    partition_format: Optional[str] = None
    is_file: bool = False
    operations: tuple[Mapping[str, Any], ...] = ()
    timestamp: Optional[str] = None
    partition_timestamp: Optional[str] = None
    partitioned: Optional[Mapping[str, Any]] = None

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in hexadecimal."""
        import hashlib

        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def partition_keys(self) -> list[str]:
        """The columns that the paths hold, in the order of the partition format, the date last (Azure ML: ``partition_keys``)."""
        if self.partitioned is not None:
            return list(self.partitioned["keys"])
        if self.partition_format is None:
            return []
        from batchmill.data.partition_format import PartitionFormat

        return list(PartitionFormat(self.partition_format).columns)

    def with_operation(self, **operation: Any) -> Definition:
        """The same dataset with one more operation behind the others.

        Raises:
            InputError: there is no such operation, or not with these facts.
        """
        _check_operation(operation, self.kind)
        return replace(self, operations=(*self.operations, operation))

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it; what has its default value is left out, so that a digest outlives new fields."""
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            default = one.default_factory() if one.default_factory is not MISSING else one.default
            if value != default:
                found[one.name] = _plain(value)
        return found

    @classmethod
    def from_dict(cls, values: Any) -> Definition:
        """What `to_dict` gave.

        Raises:
            InputError: it is no definition that this version understands; says what is wrong with it.
        """
        if not isinstance(values, dict):
            raise _broken(f"it is a {type(values).__name__}, not an object")
        known = {one.name for one in fields(cls)}
        for name in values:
            if name not in known:
                raise _broken(f"the field {name!r} is unknown")
        for name, (kinds, word) in _TYPES.items():
            if name in values and not (isinstance(values[name], kinds) or (values[name] is None and name in _OPTIONAL)):
                raise _broken(f"{name!r} is {values[name]!r}, not {word}")
        _check_values(values)
        tuples = {name: tuple(values[name]) for name in ("sources", "operations") if name in values}
        return cls(**{**values, **tuples})


_TYPES: Mapping[str, tuple[Any, str]] = {
    "kind": (str, "a text"),
    "sources": ((list, tuple), "a list"),
    "format": (str, "a text"),
    "options": (dict, "an object"),
    "partition_format": (str, "a text"),
    "is_file": (bool, "true or false"),
    "operations": ((list, tuple), "a list"),
    "timestamp": (str, "a text"),
    "partition_timestamp": (str, "a text"),
    "partitioned": (dict, "an object"),
}
_OPTIONAL = frozenset({"partition_format", "timestamp", "partition_timestamp", "partitioned"})


def _check_values(values: Mapping[str, Any]) -> None:
    kind, sources = values.get("kind"), values.get("sources")
    if kind not in FORMATS:
        raise _broken(f"'kind' is {kind!r}, not one of {', '.join(FORMATS)}")
    if values.get("format", FILES) not in FORMATS[kind]:
        raise _broken(f"'format' of a {kind} dataset is {values.get('format', FILES)!r}, not one of {', '.join(FORMATS[kind])}")
    if not sources or not all(isinstance(source, str) and source for source in sources):
        raise _broken("'sources' must be a list of texts, and not empty")
    partitioned = values.get("partitioned")
    if partitioned is not None and not isinstance(partitioned.get("keys"), list):
        raise _broken("'partitioned' has no list of 'keys'")
    for operation in values.get("operations", ()):
        _check_operation(operation, kind)


def _check_operation(operation: Any, kind: str) -> None:
    if not isinstance(operation, dict) or operation.get("op") not in OPERATIONS:
        raise _broken(f"the operation {operation!r} is unknown")
    name = operation["op"]
    facts = OPERATIONS[name]
    if kind == FILE and name in OF_TABLES:
        raise _broken(f"the operation {name!r} is one of tables, and this is a file dataset")
    for fact, value in operation.items():
        if fact != "op" and fact not in facts:
            raise _broken(f"the operation {name!r} has no {fact!r}")
        if fact != "op" and (not isinstance(value, facts[fact]) or isinstance(value, bool)):
            raise _broken(f"the operation {name!r} has {fact!r} = {value!r}")
    missing = [fact for fact in facts if fact not in operation]
    if missing:
        raise _broken(f"the operation {name!r} lacks {missing[0]!r}")
    if name == "filter":
        Expression.from_tree(operation["expression"])


def _broken(why: str) -> InputError:
    return InputError(f"The definition of a dataset cannot be read: {why}.", cure="Register the dataset again, or use a newer Batchmill.")


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dictionaries, all the way down: what JSON gives back."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
