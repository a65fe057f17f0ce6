"""Path patterns: ``*``, ``?`` and ``[a-z]`` within one name, ``**`` over any number of folders (also none).

A pattern is followed folder by folder, so that a walk enters only folders in which something can match:

>>> glob = Glob("2024/**/*.png")
>>> states = glob.enter(glob.start, b"2024")
>>> glob.match(states, b"a.png"), glob.match(states, b"a.txt"), glob.enter(glob.start, b"2025")
(True, False, ())
"""

from __future__ import annotations

import fnmatch
import os
import re
from functools import cached_property
from typing import TypeAlias

States: TypeAlias = tuple[int, ...]
"""Positions in the pattern that a folder has reached; empty: nothing below it can match."""

WILDCARDS = frozenset("*?[")
ANY_DEPTH = "**"


def is_glob(text: str) -> bool:
    """Whether ``text`` holds a wildcard."""
    return not WILDCARDS.isdisjoint(text)


def split_base(text: str) -> tuple[str, str]:
    """The folder before the first part with a wildcard, and the pattern below it: ``"a/b/*/c?"`` -> ``("a/b", "*/c?")``.

    A pattern that ends in ``/`` means everything below (Azure ML: "a trailing / means everything below it").
    """
    parts = text.split("/")
    first = next(number for number, part in enumerate(parts) if is_glob(part))
    base = "/".join(parts[:first]) or ("/" if first else "")
    pattern = [part for part in parts[first:] if part not in ("", ".")]
    if text.endswith("/"):
        pattern.append(ANY_DEPTH)
    return base, "/".join(pattern)


class Glob:
    """One pattern, relative to a base folder. Wildcards pass over names that begin with a dot unless ``include_hidden``."""

    def __init__(self, pattern: str, *, include_hidden: bool = False) -> None:
        self.pattern = pattern
        self._parts = pattern.split("/")
        self._hidden = include_hidden
        self._names = [None if part == ANY_DEPTH else re.compile(_name_pattern(part, include_hidden)) for part in self._parts]
        self._files: dict[States, re.Pattern[str]] = {}

    @cached_property
    def start(self) -> States:
        """The states of the base folder."""
        return self._closed({0})

    def enter(self, states: States, folder: bytes) -> States:
        """The states of a folder's subfolder ``folder`` (its name without ``/``)."""
        reached = set()
        for state in states:
            name = self._names[state]
            if name is None:
                if self._hidden or not folder.startswith(b"."):
                    reached.add(state)
            elif state + 1 < len(self._parts) and name.fullmatch(os.fsdecode(folder)):
                reached.add(state + 1)
        return self._closed(reached)

    def match(self, states: States, name: bytes) -> bool:
        """Whether a file of that name matches in a folder with these states."""
        return self.files(states).fullmatch(os.fsdecode(name)) is not None

    def files(self, states: States) -> re.Pattern[str]:
        """One expression for the names of all matching files of a folder."""
        found = self._files.get(states)
        if found is None:
            last = len(self._parts) - 1
            endings = [ANY_DEPTH if self._names[state] is None else self._parts[state] for state in states if state == last]
            texts = [_name_pattern("*" if part == ANY_DEPTH else part, self._hidden) for part in endings]
            found = self._files[states] = re.compile("|".join(texts) if texts else "(?!)")
        return found

    def _closed(self, states: set[int]) -> States:
        closed = set()
        for state in states:
            closed.add(state)
            while self._names[state] is None and state + 1 < len(self._parts):
                state += 1
                closed.add(state)
        return tuple(sorted(closed))


def _name_pattern(part: str, include_hidden: bool) -> str:
    hidden = "" if include_hidden or part[:1] not in WILDCARDS else r"(?!\.)"
    return f"(?:{hidden}{fnmatch.translate(part)})"
