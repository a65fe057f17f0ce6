"""The quick check of settings: values that are valid beyond doubt need no validator, and pydantic is not loaded for them.

What it accepts, `batchmill.settings.declared` accepts with the same result (tested); about everything else it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from batchmill.settings.table import FIELDS

_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_SIZE = re.compile(r"[1-9][0-9]*(kb|mb|gb|rows)?", re.IGNORECASE)
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def complete(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """All settings by name, those not in ``values`` with their defaults; None where a value needs a closer look.

    >>> complete({"script": "score.py", "workers": "2"})["workers"]
    2
    >>> complete({"script": "score.py", "workers": "two"})
    """
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in FIELDS:
            return None
        kind, detail, nullable, _ = FIELDS[name]
        found = None if value is None else _CHECKS[kind](value, detail)
        if found is None and not (value is None and nullable):
            return None
        given[name] = found
    if given.get("partition_keys") or (given.get("reuse") and given.get("output_action")):  # they exclude other settings
        return None
    if given.get("gpus_per_process") is not None:  # a part or a whole number
        return None
    result: dict[str, Any] = {}
    for name, (_, _, _, default) in FIELDS.items():
        if name not in given and default is ...:
            return None
        result[name] = given[name] if name in given else default.copy() if isinstance(default, (list, dict)) else default
    return result


def _is_text(value: Any) -> bool:
    return type(value) is str and value != "" and (value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value))


def _text(value: Any, pattern: re.Pattern[str] | None) -> str | None:
    return value if _is_text(value) and (pattern is None or pattern.fullmatch(value)) else None


def _word(value: Any, words: tuple[str, ...]) -> str | None:
    return value if type(value) is str and value in words else None


def _yes(value: Any, _: Any) -> bool | None:
    return value if type(value) is bool else None


def _number(value: Any, kind: Callable[[Any], Any], pattern: re.Pattern[str], bounds: tuple[float | None, float | None, bool]) -> Any:
    low, high, open_below = bounds
    if type(value) is str and pattern.fullmatch(value):
        value = kind(value)
    if type(value) is not int and type(value) is not kind:
        return None
    value = kind(value)
    fits = value == value and (low is None or value > low or (value == low and not open_below)) and (high is None or value <= high)
    return value if fits else None


def _texts(value: Any, _: Any) -> list[str] | None:
    return list(value) if type(value) is list and all(map(_is_text, value)) else None


def _pairs(value: Any, _: Any) -> dict[str, str] | None:
    if type(value) is not dict or not all(map(_is_text, value)):
        return None
    return dict(value) if all(text == "" or _is_text(text) for text in value.values()) else None


_CHECKS: dict[str, Callable[[Any, Any], Any]] = {
    "text": lambda value, _: _text(value, None),
    "size": lambda value, _: _text(value, _SIZE),
    "file_name": lambda value, _: _text(value, _FILE_NAME),
    "word": _word,
    "yes": _yes,
    "whole": lambda value, bounds: _number(value, int, _WHOLE, bounds),
    "number": lambda value, bounds: _number(value, float, _DECIMAL, bounds),
    "texts": _texts,
    "pairs": _pairs,
}
