"""The moments at which a recurrence fires. Pure: knows no clock.

Minutes and hours are counted in elapsed time, so ``Hour`` with interval 24 moves against the clock on the wall when summer time begins.
Days, weeks and months keep to the clock on the wall of the recurrence's time zone:

* a time that the clock skips (summer time begins) is that much later, so 02:30 becomes 03:30;
* a time that it shows twice (summer time ends) is the first of the two;
* two marks that become the same moment are one;
* a month without the day of the start (the 31st) has its last day instead.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from batchmill.pipeline.recurrence import WEEK_DAYS, ScheduleRecurrence
from batchmill.pipeline.time_zone import TimeZone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAYS = {"Day": 1, "Week": 7, "Month": 31}
"""How long a period is at most."""


def next_times(recurrence: ScheduleRecurrence, created: datetime, after: datetime) -> Iterator[datetime]:
    """The moments (UTC) behind ``after`` at which a schedule of that recurrence fires, in order.

    ``created`` is when the schedule was made. Without start_time the first moment is ``created``, the others lie on the grid that begins
    there. A start_time in the past begins a grid, whose moments before ``created`` are left out; one in the future is the first moment,
    unless hours, minutes or week days say others (Azure ML). Hours and minutes are combined each with each; without minutes they are at
    minute 0, without hours at the hour of the start.

    >>> every = ScheduleRecurrence("Day", 2, hours=[22], minutes=[30], start_time="2026-01-01T00:00:00")
    >>> moment = datetime(2026, 1, 2, tzinfo=UTC)
    >>> next(next_times(every, moment, moment)).isoformat()
    '2026-01-03T22:30:00+00:00'
    """
    created, after = created.astimezone(UTC), after.astimezone(UTC)
    zone = (recurrence.time_zone or TimeZone.UTC).zone
    start = recurrence.start
    if start is None:
        if created > after:
            yield created
        first, local, earliest = created, created.astimezone(zone).replace(tzinfo=None), max(after, created)
    else:
        first, local, earliest = _instant(start, zone), start, after
    begin = max(after, created, first)
    for moment in _grid(recurrence, first, local, zone, begin):
        if moment > earliest and moment >= max(first, created):
            yield moment


def next_time(recurrence: ScheduleRecurrence, created: datetime, after: datetime) -> datetime | None:
    """The first of `next_times`; None where the calendar ends before it."""
    return next(next_times(recurrence, created, after), None)


def _grid(recurrence: ScheduleRecurrence, first: datetime, local: datetime, zone: ZoneInfo, begin: datetime) -> Iterator[datetime]:
    """All moments of the grid in order, from somewhat before ``begin``."""
    if recurrence.frequency in ("Minute", "Hour"):
        try:
            step = timedelta(**{f"{recurrence.frequency.lower()}s": recurrence.interval})
        except OverflowError:
            step = timedelta.max  # no second moment before the calendar ends
        return _elapsed(first, step, begin)
    of_period = {"Day": _day, "Week": _week, "Month": _month}[recurrence.frequency]
    passed = (begin.astimezone(zone).replace(tzinfo=None) - local).days
    number = max(0, passed // (DAYS[recurrence.frequency] * recurrence.interval) - 2)
    return _in_order(lambda at: [_instant(mark, zone) for mark in of_period(recurrence, local, at * recurrence.interval)], number)


def _elapsed(first: datetime, step: timedelta, begin: datetime) -> Iterator[datetime]:
    try:
        moment = first + max(0, (begin - first) // step) * step
        while True:
            yield moment
            moment += step
    except OverflowError:  # the calendar of Python ends with the year 9999
        return


def _in_order(of_period: Callable[[int], list[datetime]], number: int) -> Iterator[datetime]:
    """The moments of one period after the other, each once. A jump of the clock may move some behind the first of the next period."""
    held: list[datetime] = []
    last = None
    while True:
        try:
            found = of_period(number)
        except (OverflowError, ValueError):  # beyond the year 9999
            found = []
        ready = sorted(set(held) if not found else {one for one in held if one < min(found)})
        for moment in ready:
            if last is None or moment > last:
                yield moment
                last = moment
        if not found:
            return
        held = [one for one in held if one not in ready] + found
        number += 1


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _times(recurrence: ScheduleRecurrence, local: datetime) -> list[time]:
    if not recurrence.hours and not recurrence.minutes:
        return [local.time()]
    return [time(hour, minute) for hour in recurrence.hours or [local.hour] for minute in recurrence.minutes or [0]]


def _day(recurrence: ScheduleRecurrence, local: datetime, days: int) -> list[datetime]:
    day = local.date() + timedelta(days=days)
    return [datetime.combine(day, at) for at in _times(recurrence, local)]


def _week(recurrence: ScheduleRecurrence, local: datetime, weeks: int) -> list[datetime]:
    """Weeks begin on Monday."""
    monday = local.date() + timedelta(days=7 * weeks - local.weekday())
    numbers = [WEEK_DAYS.index(name) for name in recurrence.week_days or [WEEK_DAYS[local.weekday()]]]
    return [datetime.combine(monday + timedelta(days=number), at) for number in numbers for at in _times(recurrence, local)]


def _month(recurrence: ScheduleRecurrence, local: datetime, months: int) -> list[datetime]:
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    return [local.replace(year=year, month=month + 1, day=min(local.day, calendar.monthrange(year, month + 1)[1]))]
