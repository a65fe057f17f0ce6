"""What is to be done for a schedule at a moment. Pure: states and a moment in, decisions out; no clock, database or file."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchmill.pipeline.firing_times import next_time, next_times
from batchmill.pipeline.schedule_record import ACTIVE, Outcome, Overlap, Reason, ScheduleRecord

GRACE = timedelta(seconds=60)
"""A fire that nobody attended to for longer is missed."""
MOST_MISSED = 100
"""So many missed fires are written down one by one; of the earlier ones their number."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one fire; ``cancel`` are ids of runs that make room for it."""

    planned: datetime
    outcome: Outcome
    reason: Reason
    path: str = ""
    note: str | None = None
    cancel: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A file that came or changed: its path on the datastore."""

    path: str
    new: bool


def due_decisions(record: ScheduleRecord, now: datetime, active: Sequence[str] = (), waiting: bool = False) -> list[Decision]:
    """What to do with the fires of a recurrence that have become due.

    Args:
        active: ids of the runs of the schedule that are not over.
        waiting: whether a run of it waits for them.
    """
    rule = record.rule
    if rule is None or record.status != ACTIVE:
        return []
    late, in_time, number = deque[datetime](maxlen=MOST_MISSED), list[datetime](), 0
    for moment in next_times(rule, record.anchor, record.considered):
        if moment > now:
            break
        if now - moment > GRACE:
            late.append(moment)
            number += 1
        else:
            in_time.append(moment)
    first = record.anchor if rule.start_time is None else None
    missed = [
        Decision(moment, Outcome.MISSED, _reason(moment, first), note=_missed_note(number - len(late), at))
        for at, moment in enumerate(late)
    ]
    due = [(moment, _reason(moment, first), "", None) for moment in in_time]
    return missed + _fitted(record.overlap, due, list(active), waiting)


def change_decisions(
    record: ScheduleRecord, now: datetime, changes: Sequence[Change], active: Sequence[str] = (), waiting: bool = False
) -> list[Decision]:
    """What to do about files that came or changed: a run for each where a parameter takes its path, else one for all of them."""
    if not changes or record.status != ACTIVE:
        return []
    note = None
    if record.data_path_parameter_name is None:
        note = f"and {len(changes) - 1} more" if len(changes) > 1 else None
        changes = changes[:1]
    due = [(now, Reason.NEW_FILE if one.new else Reason.CHANGED_FILE, one.path, note) for one in changes]
    return _fitted(record.overlap, due, list(active), waiting)


def changes_between(before: Mapping[str, str], now: Mapping[str, str], folder: str = "") -> list[Change]:
    """The files whose mark is new or another one, by name, with their paths on the datastore."""
    lead = f"{folder.strip('/')}/" if folder.strip("/") else ""
    return [Change(lead + name, name not in before) for name, mark in sorted(now.items()) if before.get(name) != mark]


def upcoming(record: ScheduleRecord, now: datetime) -> datetime | None:
    """When it fires next; None for datastore schedules and disabled ones."""
    rule = record.rule
    return None if rule is None or record.status != ACTIVE else next_time(rule, record.anchor, max(now, record.considered))


def _fitted(overlap: str, due: Collection[tuple[datetime, Reason, str, str | None]], active: list[str], waiting: bool) -> list[Decision]:
    """Each fire by the policy: begun at once where no run is in its way."""
    decisions = []
    for moment, reason, path, note in due:
        if not active and not waiting:
            decisions.append(Decision(moment, Outcome.STARTING, reason, path, note))
            active = ["its run"]
            continue
        if overlap == Overlap.SKIP:
            decisions.append(Decision(moment, Outcome.SKIPPED, reason, path, _busy(active, "is not over")))
            continue
        cancel = tuple(active) if overlap == Overlap.REPLACE else ()
        told = _busy(active, "is canceled for it" if cancel else "is not over")
        decisions.append(Decision(moment, Outcome.QUEUED, reason, path, note or told, cancel))
        waiting = True
    return decisions


def _busy(active: Sequence[str], what: str) -> str:
    return f"run {active[0]} {what}" if active and active[0] != "its run" else "an earlier fire waits or has just begun"


def _reason(moment: datetime, first: datetime | None) -> Reason:
    return Reason.FIRST if moment == first else Reason.RECURRENCE


def _missed_note(left_out: int, place: int) -> str:
    more = f"; {left_out:,} before it were missed too" if left_out and place == 0 else ""
    return f"batchmill serve was not running{more}"
