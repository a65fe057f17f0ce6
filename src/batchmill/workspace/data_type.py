"""How columns and headers of tabular datasets are to be read: `DataType`, `PromoteHeadersBehavior` (Azure ML: the same names)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from batchmill.workspace.exceptions import UserErrorException


class DataType:
    """A type for ``set_column_types``; values that do not fit become null.

    >>> DataType.to_float(decimal_mark=",")
    DataType.to_float(decimal_mark=',')
    """

    def __init__(self, choice: Mapping[str, Any]) -> None:
        self.choice = dict(choice)
        """What a definition holds, see `batchmill.data.chosen_types`."""

    @staticmethod
    def to_string() -> DataType:
        """Text."""
        return DataType({"type": "string"})

    @staticmethod
    def to_long() -> DataType:
        """Whole numbers of 64 bits."""
        return DataType({"type": "long"})

    @staticmethod
    def to_float(decimal_mark: str = ".") -> DataType:
        """Numbers with fractions; ``decimal_mark`` stands before the fraction.

        Raises:
            UserErrorException: ``decimal_mark`` is not one character.
        """
        if not isinstance(decimal_mark, str) or len(decimal_mark) != 1 or decimal_mark.isalnum() or decimal_mark in "+-":
            raise UserErrorException(f"The decimal_mark {decimal_mark!r} is not '.', ',' or another character that no number holds.")
        return DataType({"type": "float"} if decimal_mark == "." else {"type": "float", "decimal_mark": decimal_mark})

    @staticmethod
    def to_bool() -> DataType:
        """Truth values: true and false in any case, 1 and 0."""
        return DataType({"type": "bool"})

    @staticmethod
    def to_datetime(formats: str | Sequence[str] | None = None) -> DataType:
        """Dates and times. ``formats`` (``"%d.%m.%Y"``) are tried in order; without them ISO, then month before day.

        Raises:
            UserErrorException: a format is no text with a ``%``.
        """
        found = [formats] if isinstance(formats, str) else list(formats or ())
        for one in found:
            if not isinstance(one, str) or "%" not in one:
                raise UserErrorException(f"The format {one!r} of a date is not a text like '%Y-%m-%d'.")
        return DataType({"type": "datetime", "formats": found} if found else {"type": "datetime"})

    @staticmethod
    def to_stream(workspace: Any = None, escaped: bool = False, **_azure: Any) -> DataType:
        """Paths of files; they stay texts."""
        return DataType({"type": "stream"})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataType) and self.choice == other.choice

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        facts = ", ".join(f"{key}={value!r}" for key, value in self.choice.items() if key != "type")
        return f"DataType.to_{self.choice['type']}({facts})"


def column_choices(set_column_types: Any) -> dict[str, dict[str, Any]]:
    """The ``set_column_types`` of a factory as a definition holds them.

    Raises:
        UserErrorException: it is no mapping of column names to `DataType`.
    """
    if set_column_types is None:
        return {}
    if not isinstance(set_column_types, Mapping):
        raise UserErrorException("set_column_types is a mapping like {'column': DataType.to_float()}.")
    for name, value in set_column_types.items():
        if not isinstance(name, str) or not isinstance(value, DataType):
            raise UserErrorException(f"set_column_types gives {name!r} the type {value!r}: use one of DataType, like DataType.to_float().")
    return {name: dict(value.choice) for name, value in set_column_types.items()}


class PromoteHeadersBehavior(Enum):
    """Which files begin with a line of column names."""

    NO_HEADERS = 0
    ONLY_FIRST_FILE_HAS_HEADERS = 1
    COMBINE_ALL_FILES_HEADERS = 2
    ALL_FILES_HAVE_SAME_HEADERS = 3


def header_word(header: Any) -> str:
    """The ``header`` of a factory in the words of the run settings.

    Raises:
        UserErrorException: with Azure ML's words.
    """
    if isinstance(header, PromoteHeadersBehavior):
        return header.name.lower()
    if isinstance(header, bool):
        return (PromoteHeadersBehavior.ALL_FILES_HAVE_SAME_HEADERS if header else PromoteHeadersBehavior.NO_HEADERS).name.lower()
    allowed = ", ".join(f"PromoteHeadersBehavior.{one.name}" for one in PromoteHeadersBehavior)
    raise UserErrorException(f"Unsupported header provided. The allowed values are True, False, {allowed}.")
