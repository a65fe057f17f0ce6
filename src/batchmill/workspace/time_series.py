"""Filters by time: which rows of a dataset with timestamps lie before, behind or between moments."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from batchmill.data.expression import Expression
from batchmill.workspace.exceptions import DatasetTimestampMissingError, UserErrorException

if TYPE_CHECKING:
    from batchmill.data.definition import Definition

MISSING = (
    "Cannot perform time-series filter `{}` on dataset without timestamp columns defined.\n"
    "Please use `with_timestamp_columns` to enable time-series capabilities"
)
PARTS = ("month", "day", "hour", "minute", "second")
DATE_COLUMN = re.compile(r"\{(?P<name>[^{}:]+):(?P<date>[^{}]+)\}")
TOKENS = {"month": "MM", "day": "dd", "hour": "HH", "minute": "mm", "second": "ss"}


def check_timestamps(timestamp: str | None, partition_timestamp: str | None) -> None:
    """The rules about timestamp columns.

    Raises:
        UserErrorException: with Azure ML's words.
    """
    if timestamp is None and partition_timestamp is not None:
        raise UserErrorException("partition_timestamp can be assigned only if timestamp is assigned.")
    if timestamp is not None and timestamp == partition_timestamp:
        raise UserErrorException("partition_timestamp cannot be the same as timestamp.")
    for name in (timestamp, partition_timestamp):
        if name is not None and (not isinstance(name, str) or not name):
            raise UserErrorException(f"A timestamp column is named by a text, not by {name!r}.")


def check_moment(name: str, value: Any) -> datetime:
    """A bound of a time filter; a day is its midnight.

    Raises:
        UserErrorException: it is no date-time.
    """
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime()
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise UserErrorException(f"The {name} {value!r} is not a datetime.")
    return value


def time_filter(definition: Definition, method: str, start: datetime | None, end: datetime | None, *, include_boundary: bool) -> Expression:
    """The condition on the timestamp columns; partitions that end before the start, or begin behind the end, are ruled out by theirs.

    Raises:
        DatasetTimestampMissingError: there are no timestamp columns.
    """
    if definition.timestamp is None:
        raise DatasetTimestampMissingError(MISSING.format(method))
    time = Expression.column(definition.timestamp)
    conditions = []
    if start is not None:
        conditions.append(time >= start if include_boundary else time > start)
    if end is not None:
        conditions.append(time <= end if include_boundary else time < end)
    if definition.partition_timestamp is not None:
        partition = Expression.column(definition.partition_timestamp)
        begin = None if start is None else _partition_of(start, definition)
        if begin is not None:
            conditions.append(partition >= begin)
        if end is not None:
            conditions.append(partition <= end)
    found = conditions[0]
    for one in conditions[1:]:
        found = found & one
    return found


def _partition_of(moment: datetime, definition: Definition) -> datetime | None:
    """The beginning of the partition that a moment lies in; None where nothing says how long partitions are."""
    for found in DATE_COLUMN.finditer(definition.partition_format or ""):
        if found["name"] != definition.partition_timestamp:
            continue
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        finest = max((n for n, part in enumerate(PARTS) if TOKENS[part] in found["date"]), default=-1)
        least = {"month": 1, "day": 1}
        coarse: dict[str, Any] = {part: least.get(part, 0) for part in PARTS[finest + 1 :]}
        return moment.replace(microsecond=0, **coarse)
    return None
