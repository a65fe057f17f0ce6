"""What a recurrence may say, its errors, and the form in which it is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.time_zone import TimeZone


def test_time_zones_have_their_windows_names_and_are_known_here() -> None:
    assert len(TimeZone) == 131
    assert (TimeZone.UTC.value, TimeZone.UTC09.value) == ("UTC", "UTC-09")
    assert TimeZone("Pacific Standard Time") is TimeZone.PacificStandardTime
    assert TimeZone.PacificStandardTime.iana == "America/Los_Angeles"
    assert all(zone.zone.key == zone.iana for zone in TimeZone)


def test_a_start_is_kept_as_text_and_has_a_zone() -> None:
    recurrence = ScheduleRecurrence("Hour", 2, datetime(2026, 1, 31, 7, 5, 9, 123))
    assert (recurrence.start_time, recurrence.time_zone) == ("2026-01-31T07:05:09", TimeZone.UTC)
    assert recurrence.start == datetime(2026, 1, 31, 7, 5, 9)
    assert ScheduleRecurrence("Hour", 2).time_zone is None


def test_a_time_of_day_is_one_hour_and_one_minute() -> None:
    recurrence = ScheduleRecurrence("Day", 1, time_of_day="07:45")
    assert (recurrence.hours, recurrence.minutes) == ([7], [45])
    recurrence.validate()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"start_time": datetime(2026, 1, 1, tzinfo=UTC)}, "Can not specify tzinfo for start_time, use time_zone instead."),
        ({"time_of_day": "07:00", "hours": [1]}, "Can not specify time_of_day and hours or minutes."),
        ({"time_of_day": "07:00", "minutes": [1]}, "Can not specify time_of_day and hours or minutes."),
        ({"time_of_day": "seven"}, "time_of_day should be in the format hh:mm."),
        ({"time_of_day": "24:00"}, "Time of day hour value must be between 0 and 23."),
        ({"time_of_day": "23:60"}, "Time of day minute value must be between 0 and 59."),
    ],
)
def test_what_is_refused_at_construction(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="^" + text.replace(".", r"\.") + "$"):
        ScheduleRecurrence("Day", 1, **given)


@pytest.mark.parametrize(
    ("frequency", "interval", "given", "text"),
    [
        ("Second", 1, {}, "Invalid value for frequency, only one of Minute, Hour, Day, Week, or Month accepted"),
        ("minute", 1, {}, "Invalid value for frequency, only one of Minute, Hour, Day, Week, or Month accepted"),
        ("Day", 0, {}, "Interval must be an integer greater than 0."),
        ("Day", "1", {}, "Interval must be an integer greater than 0."),
        ("Day", True, {}, "Interval must be an integer greater than 0."),
        ("Hour", 1, {"hours": [1]}, "Can only specify hours if frequency is Week or Day."),
        ("Month", 1, {"minutes": [1]}, "Can only specify minutes if frequency is Week or Day."),
        ("Day", 1, {"week_days": ["Monday"]}, "Can only specify week days if frequency is Week."),
        ("Day", 1, {"time_zone": "Tokyo Standard Time"}, "Time zone is not a valid TimeZone enum."),
        ("Day", 1, {"hours": [24]}, "Hours must be between 0 and 23."),
        ("Day", 1, {"hours": 7}, "Hours must be between 0 and 23."),
        ("Week", 1, {"minutes": [-1]}, "Minutes must be between 0 and 59."),
        ("Week", 1, {"week_days": "Monday"}, "Week days must be a list of str, accepted values: Monday, Tuesday"),
        ("Week", 1, {"week_days": ["Mon"]}, "Week days must be a list of str, accepted values: Monday, Tuesday"),
        ("Day", 1, {"start_time": "soon"}, "start_time 'soon' is not a moment of the form 2026-01-31T07:00:00."),
        ("Day", 1, {"start_time": "2026-01-01T00:00:00Z"}, "Can not specify tzinfo for start_time, use time_zone instead."),
    ],
)
def test_what_validate_refuses(frequency: str, interval: Any, given: dict[str, Any], text: str) -> None:
    recurrence = ScheduleRecurrence(frequency, interval, **given)
    with pytest.raises(ValueError, match="^" + text.replace(".", r"\.")):
        recurrence.validate()


def test_it_is_kept_as_json_and_reads_for_people() -> None:
    zone = TimeZone.TokyoStandardTime
    recurrence = ScheduleRecurrence("Week", 2, "2026-01-01T00:00:00", zone, hours=[7, 19], minutes=[30], week_days=["Monday", "Friday"])
    recurrence.validate()
    again = ScheduleRecurrence.from_dict(recurrence.to_dict())
    assert again == recurrence
    assert again.time_zone is zone
    assert ScheduleRecurrence.from_dict({"frequency": "Day", "interval": 1, "time_zone": "Asia/Tokyo"}).time_zone is zone
    assert str(again) == "every 2 weeks on Monday, Friday at 07:30, 19:30 from 2026-01-01T00:00:00 (Tokyo Standard Time)"
    assert str(ScheduleRecurrence("Minute", 1)) == "every minute"
