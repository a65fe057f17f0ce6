"""``--partition-format``: columns taken from the end of a path (Azure ML: ``partition_format`` of the dataset factories).

Read by worker processes too: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Optional, Sequence, Union

from batchmill.errors import PartitionFormatError

Value = Union[str, datetime, None]

RESERVED = frozenset({"path"})
"""Column names that Batchmill itself gives (``--include-path``), in small letters."""

STRING = r"[^./\\]+"
ANY = r"[^/]*"
DATE_PARTS = {"yyyy": (4, "year"), "MM": (2, "month"), "dd": (2, "day"), "HH": (2, "hour"), "mm": (2, "minute"), "ss": (2, "second")}
DATE_TOKENS = re.compile("(" + "|".join(DATE_PARTS) + ")")

ONE_COLUMN = "There must be at least one {column_name}"
NO_NAME = "Column name is not specified."
NO_YEAR = "Format 'yyyy' must be defined for datetime column."
NO_DATE = "Date format is not specified."
BRACKETS = "Brackets must is pair and cannot be nested"
TWO_DATES = "There cannot be more than one date part."
RESERVED_NAME = "The specified column name is reserved. Please use a different name."
TWICE = "A column name is used twice."


class PartitionFormat:
    """A pattern that the end of a path must match, whole names at a time.

    ``{name}`` is a column of text (without ``.``, ``/`` and ``\\``), ``{name:yyyy/MM/dd/HH/mm/ss}`` a column of dates (``yyyy`` at
    least), ``*`` anything within one name, ``{{`` and ``}}`` are brackets.

    >>> form = PartitionFormat("{user}/{date:yyyy/MM}/*.csv")
    >>> form.columns, form.values("in/ann/2024/05/x.csv")
    (['user', 'date'], ('ann', datetime.datetime(2024, 5, 1, 0, 0)))
    >>> form.values("in/ann/2024/13/x.csv")
    (None, None)

    Raises:
        PartitionFormatError: the pattern is not well formed; Azure ML's words.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.date_column: Optional[str] = None
        self._names: list[str] = []
        self._dates: list[str] = []
        expression = self._expression(text.lstrip("/"))
        if not self._names and self.date_column is None:
            raise self._invalid(ONE_COLUMN)
        self.columns = self._names + ([self.date_column] if self.date_column is not None else [])
        """Names in the order of the pattern, the date last."""
        if len(set(self.columns)) != len(self.columns):
            raise self._invalid(TWICE)
        self._search = re.compile("(?:^|/)" + expression + r"\Z", re.DOTALL).search
        # Only the last names of a path can match, and an expression that starts there need not try every slash of the path.
        self._depth = text.lstrip("/").count("/") + 1

    def _expression(self, text: str) -> str:
        expression, at = "", 0
        while at < len(text):
            character, pair = text[at], text[at : at + 2]
            if pair in ("{{", "}}"):
                expression += re.escape(character)
                at += 2
            elif character == "{":
                end = text.find("}", at)
                if end < 0 or "{" in text[at + 1 : end]:
                    raise self._invalid(BRACKETS)
                expression += self._column(text[at + 1 : end])
                at = end + 1
            elif character == "}":
                raise self._invalid(BRACKETS)
            else:
                expression += ANY if character == "*" else re.escape(character)
                at += 1
        return expression

    def _column(self, part: str) -> str:
        name, colon, date = part.partition(":")
        if not name.strip():
            raise self._invalid(NO_NAME, part)
        if name.lower() in RESERVED:
            raise self._invalid(RESERVED_NAME, part)
        if not colon:
            self._names.append(name)
            return f"({STRING})"
        if not date.strip():
            raise self._invalid(NO_DATE, part)
        if "yyyy" not in date:
            raise self._invalid(NO_YEAR, part)
        if self.date_column is not None:
            raise self._invalid(TWO_DATES)
        self.date_column = name
        return self._date(date)

    def _date(self, date: str) -> str:
        expression = ""
        for token in DATE_TOKENS.split(date):
            if token not in DATE_PARTS:
                expression += re.escape(token)
                continue
            digits, part = DATE_PARTS[token]
            group = f"_date_{part}"
            expression += f"(?P={group})" if part in self._dates else f"(?P<{group}>[0-9]{{{digits}}})"
            if part not in self._dates:
                self._dates.append(part)
        return expression

    def _invalid(self, reason: str, part: Optional[str] = None) -> PartitionFormatError:
        if part is None:
            return PartitionFormatError(f'Invalid partition_format "{self.text}". {reason}')
        return PartitionFormatError(f'Invalid part "{{{part}}}" in partition_format "{self.text}". {reason}')

    def values(self, path: str) -> tuple[Value, ...]:
        """One value per column; all of them None where the path does not match or names no day that exists."""
        cut = len(path)
        for _ in range(self._depth):
            cut = path.rfind("/", 0, cut)
            if cut < 0:
                break
        match = self._search(path, max(cut, 0))
        if match is None:
            return (None,) * len(self.columns)
        if self.date_column is None:
            return match.groups()
        parts = match.groupdict()
        dates = {part: int(parts[f"_date_{part}"]) for part in self._dates}
        try:
            date = datetime(dates["year"], dates.get("month", 1), dates.get("day", 1))
            date = date.replace(hour=dates.get("hour", 0), minute=dates.get("minute", 0), second=dates.get("second", 0))
        except ValueError:
            return (None,) * len(self.columns)
        named = set(match.re.groupindex.values())
        return (*(text for number, text in enumerate(match.groups(), 1) if number not in named), date)


def check_partition_keys(keys: Sequence[str], columns: Sequence[str]) -> None:
    """Requested keys must be among those that the paths have.

    Raises:
        PartitionFormatError: Azure ML's words.
    """
    if not set(keys) <= set(columns):
        raise PartitionFormatError(
            f"partition_keys {_braces(keys)} are not a subset of the dataset's partition keys {_braces(columns)}",
            cure="(take keys from the paths with --partition-format)" if not columns else None,
        )


def _braces(names: Sequence[str]) -> str:
    return "{" + ", ".join(repr(name) for name in names) + "}"
