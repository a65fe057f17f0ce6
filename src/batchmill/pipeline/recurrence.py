"""`ScheduleRecurrence`: when a schedule fires (Azure ML: ``azureml.pipeline.core.schedule.ScheduleRecurrence``). What it says is pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from batchmill.pipeline.time_zone import TimeZone

FREQUENCIES = ("Minute", "Hour", "Day", "Week", "Month")
WEEK_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
START = "%Y-%m-%dT%H:%M:%S"
CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)
FIELDS = ("frequency", "interval", "start_time", "time_zone", "hours", "minutes", "week_days")


class ScheduleRecurrence:
    """Every so many minutes, hours, days, weeks or months.

    Args:
        frequency: Minute, Hour, Day, Week or Month.
        interval: how many of them.
        start_time: where the grid begins: a moment without time zone, or the text of one (``2026-01-31T07:00:00``). Without it the grid
            begins with the schedule, whose first run is at once.
        time_zone: the zone of start_time, hours and week days (default: UTC).
        hours: of Day and Week, the hours of the day, 0 to 23.
        minutes: of Day and Week, the minutes of each of these hours, 0 to 59 (default: 0).
        week_days: of Week, the names of the days.
        time_of_day: ``hh:mm``, in place of one hour and one minute.

    >>> ScheduleRecurrence("Day", 2, hours=[22], minutes=[30]).validate()

    Raises:
        ValueError: start_time has a time zone, or time_of_day is none.
    """

    def __init__(
        self,
        frequency: str,
        interval: int,
        start_time: datetime | str | None = None,
        time_zone: TimeZone | None = None,
        hours: Sequence[int] | None = None,
        minutes: Sequence[int] | None = None,
        week_days: Sequence[str] | None = None,
        time_of_day: str | None = None,
    ) -> None:
        if time_of_day is not None:
            if hours is not None or minutes is not None:
                raise ValueError("Can not specify time_of_day and hours or minutes.")
            hour, minute = _clock(time_of_day)
            hours, minutes = [hour], [minute]
        self.frequency = frequency
        self.interval = interval
        self.start_time = _start_text(start_time)
        self.time_zone = TimeZone.UTC if time_zone is None and self.start_time is not None else time_zone
        self.hours = hours
        self.minutes = minutes
        self.week_days = week_days
        self.time_of_day = time_of_day

    @property
    def start(self) -> datetime | None:
        """``start_time`` as a moment without time zone.

        Raises:
            ValueError: it is the text of none, or of one with a time zone.
        """
        if self.start_time is None:
            return None
        try:
            found = datetime.fromisoformat(self.start_time)
        except ValueError:
            raise ValueError(f"start_time '{self.start_time}' is not a moment of the form 2026-01-31T07:00:00.") from None
        if found.tzinfo is not None:
            raise ValueError("Can not specify tzinfo for start_time, use time_zone instead.")
        return found

    @property
    def marked(self) -> bool:
        """Whether it fires at hours, minutes or week days of their own, whatever the time of the start."""
        return bool(self.hours or self.minutes or self.week_days)

    def validate(self) -> None:
        """Raises:
        ValueError: a value is not possible, or not with this frequency.
        """
        if self.frequency not in FREQUENCIES:
            raise ValueError("Invalid value for frequency, only one of Minute, Hour, Day, Week, or Month accepted")
        if not isinstance(self.interval, int) or isinstance(self.interval, bool) or self.interval < 1:
            raise ValueError("Interval must be an integer greater than 0.")
        for what, given in (("hours", self.hours), ("minutes", self.minutes)):
            if given is not None and self.frequency not in ("Day", "Week"):
                raise ValueError(f"Can only specify {what} if frequency is Week or Day.")
        if self.week_days is not None and self.frequency != "Week":
            raise ValueError("Can only specify week days if frequency is Week.")
        if self.time_zone is not None and not isinstance(self.time_zone, TimeZone):
            raise ValueError("Time zone is not a valid TimeZone enum.")
        if not _between(self.hours, 23):
            raise ValueError("Hours must be between 0 and 23.")
        if not _between(self.minutes, 59):
            raise ValueError("Minutes must be between 0 and 59.")
        if self.week_days is not None and (not _listed(self.week_days) or any(day not in WEEK_DAYS for day in self.week_days)):
            raise ValueError("Week days must be a list of str, accepted values: " + ", ".join(WEEK_DAYS) + ".")
        _ = self.start

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the time zone by its Windows name."""
        values = {name: getattr(self, name) for name in FIELDS}
        plain = {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in values.items()}
        return plain | {"time_zone": None if self.time_zone is None else self.time_zone.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScheduleRecurrence:
        """What `to_dict` made the values of; a time zone is also known by the name of its member or by its IANA name."""
        given = {name: values[name] for name in (*FIELDS, "time_of_day") if values.get(name) is not None}
        if "time_zone" in given:
            given["time_zone"] = _zone_called(given["time_zone"])
        return cls(given.pop("frequency", ""), given.pop("interval", 0), **given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleRecurrence) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.frequency, self.interval, self.start_time))

    def __str__(self) -> str:
        """For people: ``every 2 days at 22:30 (UTC)``."""
        unit = str(self.frequency).lower()
        text = f"every {unit}" if self.interval == 1 else f"every {self.interval} {unit}s"
        if self.week_days:
            text += f" on {', '.join(self.week_days)}"
        if self.hours:
            text += " at " + ", ".join(f"{hour:02}:{minute:02}" for hour in self.hours for minute in self.minutes or [0])
        elif self.minutes:
            text += " at minute " + ", ".join(map(str, self.minutes))
        if self.start_time:
            text += f" from {self.start_time}"
        return text if self.time_zone is None else f"{text} ({self.time_zone.value})"

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items() if value is not None)
        return f"ScheduleRecurrence({given})"


def _start_text(start: datetime | str | None) -> str | None:
    if not isinstance(start, datetime):
        return start
    if start.tzinfo is not None:
        raise ValueError("Can not specify tzinfo for start_time, use time_zone instead.")
    return start.strftime(START)


def _clock(text: str) -> tuple[int, int]:
    found = CLOCK.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("time_of_day should be in the format hh:mm.")
    hour, minute = int(found[1]), int(found[2])
    if hour > 23:
        raise ValueError("Time of day hour value must be between 0 and 23.")
    if minute > 59:
        raise ValueError("Time of day minute value must be between 0 and 59.")
    return hour, minute


def _between(values: Any, last: int) -> bool:
    if values is None:
        return True
    return _listed(values) and all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= last for one in values)


def _listed(values: Any) -> bool:
    return isinstance(values, (list, tuple))


def _zone_called(name: Any) -> Any:
    known = (zone for zone in TimeZone if name in (zone, zone.value, zone.name, zone.iana))
    return next(known, name)
