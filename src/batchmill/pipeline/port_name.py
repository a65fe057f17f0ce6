"""The names of what a step reads and makes: letters, digits and underscores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

WORD = re.compile(r"\w+")


def check_data_name(name: Any, what: str = "PipelineData name") -> str:
    """The name of data between steps; ``what`` is what it is called in errors.

    Raises:
        ValueError: it is empty or holds something else than letters, digits and underscores; with Azure ML's words.
    """
    if not name:
        raise ValueError(f"{what} cannot be empty")
    if not isinstance(name, str) or WORD.fullmatch(name) is None:
        raise ValueError(f"{what}: [{name}] is not a valid, as it may contain only letters, digits, and underscores.")
    return name


def check_port_names(names: Iterable[str], what: str) -> None:
    """The names of all inputs, or of all outputs, of one step; ``what`` is "input" or "output".

    Raises:
        ValueError: one is no name, or stands there twice; with Azure ML's words.
    """
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or WORD.fullmatch(name) is None:
            raise ValueError(f"[{name}] is not a valid {what} name as it may contain only letters, digits, and underscores.")
        if name in seen:
            raise ValueError(f"[{name}] is repeated. {what.capitalize()} port names must be unique.")
        seen.add(name)
