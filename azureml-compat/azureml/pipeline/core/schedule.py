"""Schedules of published pipelines."""

from batchmill.pipeline.recurrence import ScheduleRecurrence as ScheduleRecurrence
from batchmill.pipeline.schedule import Schedule as Schedule
from batchmill.pipeline.time_zone import TimeZone as TimeZone
