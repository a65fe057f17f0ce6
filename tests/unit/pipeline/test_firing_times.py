"""When a recurrence fires: examples of every rule, and a slow and obvious implementation to compare with."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.pipeline.firing_times import next_time, next_times
from batchmill.pipeline.recurrence import WEEK_DAYS, ScheduleRecurrence
from batchmill.pipeline.time_zone import TimeZone

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday


def first(recurrence: ScheduleRecurrence, count: int, created: datetime = NOON, after: datetime | None = None) -> list[str]:
    found = islice(next_times(recurrence, created, created if after is None else after), count)
    return [moment.strftime("%a %m-%d %H:%M") for moment in found]


def test_a_start_in_the_past_gives_the_next_of_its_grid() -> None:
    start = (NOON - timedelta(minutes=10)).replace(tzinfo=None)
    assert next_time(ScheduleRecurrence("Minute", 15, start), NOON, NOON) == NOON + timedelta(minutes=5)


def test_a_start_long_ago_is_no_long_way() -> None:
    for frequency in ("Minute", "Hour", "Day", "Week", "Month"):
        found = next_time(ScheduleRecurrence(frequency, 1, "1970-01-01T00:00:00"), NOON, NOON)
        assert found is not None
        assert timedelta(0) < found - NOON <= timedelta(days=31)


def test_without_start_the_first_is_at_once() -> None:
    before = NOON - timedelta(seconds=1)
    assert first(ScheduleRecurrence("Hour", 2), 3, after=before) == ["Wed 03-04 12:00", "Wed 03-04 14:00", "Wed 03-04 16:00"]
    assert first(ScheduleRecurrence("Day", 1, hours=[8, 20]), 3, after=before) == ["Wed 03-04 12:00", "Wed 03-04 20:00", "Thu 03-05 08:00"]
    assert first(ScheduleRecurrence("Hour", 2), 1) == ["Wed 03-04 14:00"]


def test_a_start_in_the_future_is_the_first() -> None:
    assert first(ScheduleRecurrence("Day", 1, "2026-03-10T09:30:00"), 2) == ["Tue 03-10 09:30", "Wed 03-11 09:30"]


def test_with_marks_a_start_is_no_run_itself() -> None:
    every = ScheduleRecurrence("Day", 1, "2026-03-10T09:30:00", hours=[7])
    assert first(every, 2) == ["Wed 03-11 07:00", "Thu 03-12 07:00"]
    weekly = ScheduleRecurrence("Week", 1, "2026-03-10T09:30:00", week_days=["Monday", "Tuesday"])
    assert first(weekly, 3) == ["Tue 03-10 09:30", "Mon 03-16 09:30", "Tue 03-17 09:30"]


def test_hours_and_minutes_are_combined() -> None:
    every = ScheduleRecurrence("Day", 2, "2026-03-05T00:00:00", hours=[22, 6], minutes=[30, 0])
    assert first(every, 5) == ["Thu 03-05 06:00", "Thu 03-05 06:30", "Thu 03-05 22:00", "Thu 03-05 22:30", "Sat 03-07 06:00"]
    assert first(ScheduleRecurrence("Day", 1, "2026-03-05T09:10:00", minutes=[20, 50]), 2) == ["Thu 03-05 09:20", "Thu 03-05 09:50"]


def test_every_other_week_counts_weeks_from_monday() -> None:
    every = ScheduleRecurrence("Week", 2, "2026-03-04T13:00:00", week_days=["Sunday", "Monday"], hours=[8])
    assert first(every, 4) == ["Sun 03-08 08:00", "Mon 03-16 08:00", "Sun 03-22 08:00", "Mon 03-30 08:00"]


def test_a_month_without_that_day_has_its_last_one() -> None:
    every = ScheduleRecurrence("Month", 1, "2026-01-31T07:00:00")
    assert first(every, 4) == ["Tue 03-31 07:00", "Thu 04-30 07:00", "Sun 05-31 07:00", "Tue 06-30 07:00"]


def test_summer_time_skips_a_time_and_shows_one_twice() -> None:
    berlin = TimeZone.WEuropeStandardTime
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    at_half_past_two = ScheduleRecurrence("Day", 1, "2026-01-01T02:30:00", berlin)
    assert first(at_half_past_two, 2, spring) == ["Sun 03-29 01:30", "Mon 03-30 00:30"]  # 03:30 instead; 02:30
    both = ScheduleRecurrence("Day", 1, "2026-01-01T00:00:00", berlin, hours=[2, 3], minutes=[30])
    assert first(both, 3, spring) == ["Sun 03-29 01:30", "Mon 03-30 00:30", "Mon 03-30 01:30"]  # one, not two
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert first(at_half_past_two, 2, autumn) == ["Sun 10-25 00:30", "Mon 10-26 01:30"]  # the first of the two
    hourly = ScheduleRecurrence("Hour", 24, "2026-01-01T02:30:00", berlin)
    assert first(hourly, 2, spring) == ["Sun 03-29 01:30", "Mon 03-30 01:30"]  # elapsed time


def test_a_day_that_a_zone_left_out_disturbs_no_order() -> None:
    samoa = ScheduleRecurrence("Day", 1, "2011-12-28T00:00:00", TimeZone.SamoaStandardTime, hours=[1, 23])
    moments = list(islice(next_times(samoa, datetime(2011, 12, 1, tzinfo=UTC), datetime(2011, 12, 1, tzinfo=UTC)), 12))
    assert moments == sorted(set(moments))


def test_the_calendar_ends() -> None:
    assert list(next_times(ScheduleRecurrence("Month", 10**6, "2026-01-01T00:00:00"), NOON, NOON)) == []
    assert next_time(ScheduleRecurrence("Minute", 10**12, "2026-01-01T00:00:00"), NOON, NOON) is None


def obvious(recurrence: ScheduleRecurrence, created: datetime, after: datetime, until: datetime) -> list[datetime]:
    """Every day of the calendar, every mark of it, nothing skipped or computed ahead."""
    zone = recurrence.time_zone or TimeZone.UTC
    start = recurrence.start or created.astimezone(zone.zone).replace(tzinfo=None)
    begin = created if recurrence.start is None else instant(start, zone)
    if recurrence.frequency in ("Minute", "Hour"):
        unit = timedelta(minutes=1 if recurrence.frequency == "Minute" else 60)
        grid = {begin + unit * recurrence.interval * k for k in range(int((until - begin) / unit / recurrence.interval) + 2)}
    else:
        grid = {instant(mark, zone) for mark in calendar_marks(recurrence, start, until)}
    found = {moment for moment in grid if moment >= begin and moment >= created}
    if recurrence.start is None:
        found.add(created)
    return sorted(moment for moment in found if after < moment <= until)


def calendar_marks(recurrence: ScheduleRecurrence, start: datetime, until: datetime) -> list[datetime]:
    clock = [(start.hour, start.minute, start.second, start.microsecond)]
    if recurrence.hours or recurrence.minutes:
        clock = [(hour, minute, 0, 0) for hour in recurrence.hours or [start.hour] for minute in recurrence.minutes or [0]]
    marks, day = [], start.date() - timedelta(days=7)
    while day <= until.date() + timedelta(days=2):
        if falls_on(recurrence, start.date(), day):
            marks += [datetime(day.year, day.month, day.day, *at) for at in clock]
        day += timedelta(days=1)
    return marks


def falls_on(recurrence: ScheduleRecurrence, start: date, day: date) -> bool:
    if recurrence.frequency == "Day":
        return (day - start).days % recurrence.interval == 0
    if recurrence.frequency == "Week":
        wanted = recurrence.week_days or [WEEK_DAYS[start.weekday()]]
        monday, first_monday = day - timedelta(days=day.weekday()), start - timedelta(days=start.weekday())
        return WEEK_DAYS[day.weekday()] in wanted and (monday - first_monday).days // 7 % recurrence.interval == 0
    months = (day.year - start.year) * 12 + day.month - start.month
    return months % recurrence.interval == 0 and day.day == min(start.day, calendar.monthrange(day.year, day.month)[1])


def instant(local: datetime, zone: TimeZone) -> datetime:
    """The first moment at which the clock on the wall shows that; if it never does, the one by the clock as it was before."""
    about = local.replace(tzinfo=UTC)
    offsets = [(about + timedelta(days=days)).astimezone(zone.zone).utcoffset() or timedelta(0) for days in (-1, 1)]
    moments = sorted(about - offset for offset in offsets)
    shown = [moment for moment in moments if moment.astimezone(zone.zone).replace(tzinfo=None) == local]
    return shown[0] if shown else about - offsets[0]


ZONES = [
    None,
    TimeZone.UTC,
    TimeZone.WEuropeStandardTime,
    TimeZone.PacificStandardTime,
    TimeZone.LordHoweStandardTime,
    TimeZone.IndiaStandardTime,
    TimeZone.PacificSAStandardTime,
]
MINUTES = st.datetimes(datetime(2025, 1, 1), datetime(2027, 6, 1)).map(lambda moment: moment.replace(second=0, microsecond=0))


@st.composite
def recurrences(draw: st.DrawFn) -> ScheduleRecurrence:
    frequency = draw(st.sampled_from(["Minute", "Hour", "Day", "Week", "Month"]))
    interval = draw(st.integers(1, 40 if frequency == "Minute" else 4))
    start = draw(st.one_of(st.none(), MINUTES))
    zone = draw(st.sampled_from(ZONES))
    marks: dict[str, list[int] | None] = {"hours": None, "minutes": None}
    if frequency in ("Day", "Week"):
        marks["hours"] = draw(st.one_of(st.none(), st.lists(st.integers(0, 23), min_size=1, max_size=4)))
        marks["minutes"] = draw(st.one_of(st.none(), st.lists(st.sampled_from([0, 15, 30, 59]), min_size=1, max_size=3)))
    days = draw(st.one_of(st.none(), st.lists(st.sampled_from(WEEK_DAYS), min_size=1))) if frequency == "Week" else None
    recurrence = ScheduleRecurrence(frequency, interval, start, zone, **marks, week_days=days)
    recurrence.validate()
    return recurrence


@given(recurrences(), MINUTES, st.integers(0, 10**6))
def test_the_obvious_implementation_agrees(recurrence: ScheduleRecurrence, made: datetime, later: int) -> None:
    created = made.replace(tzinfo=UTC)
    after = created + timedelta(seconds=later - 10)
    until = after + timedelta(days=1 if recurrence.frequency == "Minute" else 120)
    found = list(takewhile(lambda moment: moment <= until, next_times(recurrence, created, after)))
    assert found == obvious(recurrence, created, after, until)


@pytest.mark.parametrize("zone", [TimeZone.WEuropeStandardTime, TimeZone.LordHoweStandardTime, TimeZone.EasternStandardTime])
def test_a_year_of_half_hours_agrees_through_summer_time(zone: TimeZone) -> None:
    recurrence = ScheduleRecurrence("Day", 1, "2026-01-01T00:00:00", zone, hours=list(range(24)), minutes=[0, 15, 30, 45])
    created = datetime(2025, 12, 1, tzinfo=UTC)
    until = created + timedelta(days=400)
    found = list(takewhile(lambda moment: moment <= until, next_times(recurrence, created, created)))
    assert found == obvious(recurrence, created, created, until)
