"""Finding the fields of JSON lines and their kinds, once for the whole input, chunk by chunk."""

from __future__ import annotations

import json
from typing import Any

from batchmill.data.column_types import type_of_kind
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.json_lines import object_lines, read_objects

_INT64 = 2**63


class JsonTypePass:
    """Collects the fields of a whole input; lines that are no objects are left to the readers, which fail them by name."""

    def __init__(self) -> None:
        self._kinds: dict[str, str | None] = {}
        self._nulls: set[str] = set()
        self._seen_rows = False

    def observe(self, text: Utf8Text) -> None:
        """Take a chunk of whole lines into account."""
        table = None if text.bad_lines else read_objects(text, None, "infer")
        if table is not None:
            found = {field.name: (_kind_of_arrow(field.type), table.column(n).null_count > 0) for n, field in enumerate(table.schema)}
            rows = table.num_rows
        else:
            found, rows = _observe_each(text)
        for name, (kind, nulls) in found.items():
            if name not in self._kinds:
                self._kinds[name] = kind
                nulls = nulls or self._seen_rows
            else:
                self._kinds[name] = _common(self._kinds[name], kind)
            if nulls:
                self._nulls.add(name)
        if rows:
            self._nulls.update(name for name in self._kinds if name not in found)
            self._seen_rows = True

    def result(self, *, complete: bool) -> list[dict[str, str]]:
        """Names and types of the columns, in the order in which they were met."""
        columns = []
        for name, kind in self._kinds.items():
            type_name = "json" if kind == "json" else type_of_kind(kind, complete=complete, nulls=name in self._nulls)
            columns.append({"name": name, "type": type_name})
        return columns


def _observe_each(text: Utf8Text) -> tuple[dict[str, tuple[str | None, bool]], int]:
    kinds: dict[str, str | None] = {}
    filled: dict[str, int] = {}
    rows = 0
    for start, line in object_lines(text):
        try:
            values = None if start in text.bad_lines else json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            continue
        rows += 1
        for name, value in values.items():
            kinds[name] = _common(kinds.get(name), _kind_of_value(value))
            filled[name] = filled.get(name, 0) + (value is not None)
    return {name: (kind, filled[name] < rows) for name, kind in kinds.items()}, rows


def _common(one: str | None, other: str | None) -> str | None:
    if one == other or other is None:
        return one
    if one is None:
        return other
    return "float" if {one, other} == {"int", "float"} else "json"


def _kind_of_value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -_INT64 <= value < _INT64 else "float"
    return {float: "float", str: "str"}.get(type(value), "json")


def _kind_of_arrow(type: Any) -> str | None:
    import pyarrow.types as types

    if types.is_null(type):
        return None
    if types.is_boolean(type):
        return "bool"
    if types.is_integer(type):
        return "int"
    if types.is_floating(type):
        return "float"
    return "str" if types.is_string(type) or types.is_timestamp(type) else "json"
