"""What is to be done for a schedule at a moment: states and a moment in, decisions out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.schedule_due import (
    GRACE,
    MOST_MISSED,
    Change,
    Decision,
    change_decisions,
    changes_between,
    due_decisions,
    upcoming,
)
from batchmill.pipeline.schedule_record import Outcome, Reason, ScheduleRecord

MADE = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def record(recurrence: ScheduleRecurrence | None = None, **changes: object) -> ScheduleRecord:
    made = ScheduleRecord(
        id="s",
        name="hourly",
        description=None,
        status="Active",
        pipeline_id="p",
        pipeline_endpoint_id=None,
        experiment="e",
        recurrence=None if recurrence is None else recurrence.to_dict(),
        parameters={},
        datastore=None if recurrence is not None else "store",
        path_on_datastore=None,
        polling_interval=5,
        data_path_parameter_name=None,
        continue_on_step_failure=None,
        overlap="skip",
        anchor=MADE,
        considered=MADE - INSTANT,
        created=MADE,
        modified=MADE,
    )
    return replace(made, **changes)


def brief(decisions: list[Decision]) -> list[tuple[str, Outcome]]:
    return [(decision.planned.strftime("%H:%M"), decision.outcome) for decision in decisions]


EVERY_15 = ScheduleRecurrence("Minute", 15)


def test_the_first_run_is_due_when_the_schedule_is_made() -> None:
    (decision,) = due_decisions(record(EVERY_15), MADE)
    assert (decision.planned, decision.outcome, decision.reason) == (MADE, Outcome.STARTING, Reason.FIRST)


def test_nothing_is_due_before_its_time_and_twice() -> None:
    considered = record(EVERY_15, considered=MADE)
    assert due_decisions(considered, MADE + timedelta(minutes=14, seconds=59)) == []
    (decision,) = due_decisions(considered, MADE + timedelta(minutes=15))
    assert (decision.reason, decision.outcome) == (Reason.RECURRENCE, Outcome.STARTING)
    assert due_decisions(replace(considered, considered=decision.planned), MADE + timedelta(minutes=16)) == []


def test_what_nobody_attended_to_is_missed_and_not_made_up() -> None:
    decisions = due_decisions(record(EVERY_15, considered=MADE), MADE + timedelta(minutes=45, seconds=30))
    assert brief(decisions) == [("12:15", Outcome.MISSED), ("12:30", Outcome.MISSED), ("12:45", Outcome.STARTING)]
    assert decisions[0].note == "batchmill serve was not running"


def test_a_year_of_missed_fires_is_not_written_down_one_by_one() -> None:
    now = MADE + timedelta(days=365)
    decisions = due_decisions(record(ScheduleRecurrence("Minute", 1), considered=MADE), now)
    assert len(decisions) <= MOST_MISSED + 2
    assert decisions[0].note is not None
    assert decisions[0].note.endswith("before it were missed too")
    assert decisions[-1].planned == now


def test_a_disabled_schedule_does_nothing() -> None:
    disabled = record(EVERY_15, status="Disabled")
    assert due_decisions(disabled, MADE + timedelta(hours=1)) == []
    assert upcoming(disabled, MADE) is None
    assert change_decisions(replace(record(), status="Disabled"), MADE, [Change("a", True)]) == []


def test_the_policies_for_runs_that_are_not_over() -> None:
    now = MADE + timedelta(minutes=15)
    due = record(EVERY_15, considered=MADE)
    (skipped,) = due_decisions(due, now, ["r1"])
    assert (skipped.outcome, skipped.note) == (Outcome.SKIPPED, "run r1 is not over")
    (queued,) = due_decisions(replace(due, overlap="queue"), now, ["r1"])
    assert (queued.outcome, queued.cancel) == (Outcome.QUEUED, ())
    (replaced,) = due_decisions(replace(due, overlap="replace"), now, ["r2", "r1"])
    assert (replaced.outcome, replaced.cancel, replaced.note) == (Outcome.QUEUED, ("r2", "r1"), "run r2 is canceled for it")
    (behind,) = due_decisions(replace(due, overlap="queue"), now, [], True)
    assert behind.outcome is Outcome.QUEUED


def test_each_file_has_a_run_where_a_parameter_takes_its_path() -> None:
    changes = [Change("in/a.csv", True), Change("in/b.csv", False)]
    each = change_decisions(record(None, data_path_parameter_name="input", overlap="queue"), MADE, changes)
    assert [(one.path, one.outcome, one.reason) for one in each] == [
        ("in/a.csv", Outcome.STARTING, Reason.NEW_FILE),
        ("in/b.csv", Outcome.QUEUED, Reason.CHANGED_FILE),
    ]
    (together,) = change_decisions(record(overlap="queue"), MADE, changes)
    assert (together.path, together.note) == ("in/a.csv", "and 1 more")
    assert change_decisions(record(), MADE, []) == []


def test_changes_are_new_files_and_new_marks() -> None:
    before, now = {"a": "1", "b": "1", "gone": "1"}, {"a": "1", "b": "2", "c": "1"}
    assert changes_between(before, now, "in/") == [Change("in/b", False), Change("in/c", True)]
    assert changes_between(before, now) == [Change("b", False), Change("c", True)]
    assert changes_between(now, now) == []


@pytest.mark.parametrize("overlap", ["skip", "queue", "replace"])
@given(looks=st.lists(st.integers(1, 400), min_size=1, max_size=30), ends=st.data())
def test_every_moment_has_exactly_one_decision_and_runs_never_overlap(overlap: str, looks: list[int], ends: st.DataObject) -> None:
    schedule = record(ScheduleRecurrence("Minute", 2), considered=MADE, overlap=overlap)
    now, active, waiting, seen = MADE, 0, 0, list[datetime]()
    for seconds in looks:
        now += timedelta(seconds=seconds)
        if active and ends.draw(st.booleans()):
            active = 0
        if waiting and not active:
            waiting, active = waiting - 1, 1
        decisions = due_decisions(schedule, now, ["r"] * active, bool(waiting))
        for decision in decisions:
            seen.append(decision.planned)
            assert (decision.outcome is Outcome.MISSED) == (now - decision.planned > GRACE)
            if decision.outcome is Outcome.STARTING:
                assert not active
                assert not waiting
                active = 1
            waiting += decision.outcome is Outcome.QUEUED
        if decisions:
            schedule = replace(schedule, considered=max(decision.planned for decision in decisions))
    assert seen == [MADE + timedelta(minutes=2 * number) for number in range(1, len(seen) + 1)]
    assert now - (seen[-1] if seen else MADE) < timedelta(minutes=2)
