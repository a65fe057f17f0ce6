"""Serving when things go wrong: clocks that jump, lost replies of the database, names that nobody can write, stores that changed."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import RegistryError
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint
from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.schedule import Schedule
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_turn import take_due
from batchmill.workspace.data_path import DataPath, DataPathComputeBinding
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace
from tests.scheduled import ServedWorkspace, end_runs, small_published, without_runners

HOURLY = ScheduleRecurrence("Hour", 1)


@pytest.fixture
def team(database: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    without_runners(monkeypatch)
    return Workspace.create("team", show_output=False)


@pytest.fixture
def store(team: Workspace, tmp_path: Path) -> Any:
    (tmp_path / "store").mkdir()
    return Datastore.register_local_folder(team, "files", tmp_path / "store")


def outcomes(schedule: Schedule) -> list[str]:
    """Of the fires, oldest first."""
    return [fire.outcome for fire in schedule.fires()][::-1]


def test_a_clock_that_was_hours_ahead_keeps_no_schedule_silent(team: Workspace, tmp_path: Path) -> None:
    schedule = Schedule.create(team, "hourly", small_published(team, tmp_path).id, "e", HOURLY)
    end_runs(team)
    ServedWorkspace(team).turn(hours=5, seconds=1)  # the clock is wrong: four fires missed, one begun
    assert outcomes(schedule) == ["Started", "Missed", "Missed", "Missed", "Missed", "Started"]
    end_runs(team)
    righted = ServedWorkspace(team)
    righted.turn(minutes=10)
    assert outcomes(schedule) == ["Started", "Started"]
    righted.turn(minutes=50, seconds=1)
    assert outcomes(schedule) == ["Started", "Started", "Started"]
    for _ in range(4):
        end_runs(team)
        righted.turn(hours=1)
    assert outcomes(schedule) == ["Started"] * 6  # the moment that had fired did not fire again


def test_a_clock_that_was_ahead_does_not_stop_the_looks(team: Workspace, store: Any, tmp_path: Path) -> None:
    schedule = Schedule.create(team, "files", small_published(team, tmp_path / "script").id, "e", datastore=store)
    ServedWorkspace(team).turn(hours=5)
    (tmp_path / "store" / "a.csv").write_text("new")
    ServedWorkspace(team).turn(minutes=1)
    assert outcomes(schedule) == ["Started"]


def test_a_reply_of_the_database_that_is_lost_loses_no_fire(team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = small_published(team, tmp_path)
    made = [Schedule.create(team, f"s{number}", published.id, "e", HOURLY) for number in range(2)]
    end_runs(team)
    served, take, calls = ServedWorkspace(team), ScheduleFires.take, []

    def lost(fires: ScheduleFires, *words: Any) -> Any:
        found = take(fires, *words)
        calls.append(found)
        if len(calls) == 2:
            raise RegistryError("the connection broke after the commit")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ScheduleFires, "take", lost)
        served.clock.go_on(hours=1)
        with pytest.raises(RegistryError):
            served.server.fire()
    assert sorted(outcomes(one)[1] for one in made) == ["Starting", "Starting"]
    served.turn(seconds=1)
    assert sorted(outcomes(one)[1] for one in made) == ["Started", "Starting"]  # in the hand of the server; forgotten by it
    monkeypatch.setattr("batchmill.pipeline.schedule_fires.FORGOTTEN", timedelta(0))
    served.turn(seconds=1)
    assert [outcomes(one)[1] for one in made] == ["Started", "Started"]


def test_a_first_run_that_was_interrupted_is_started_by_the_server(
    team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = small_published(team, tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("batchmill.pipeline.scheduled_run.start_scheduled", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Schedule.create(team, "hourly", published.id, "e", HOURLY)
    (schedule,) = Schedule.list(team)
    assert outcomes(schedule) == ["Starting"]
    ServedWorkspace(team).turn()
    assert outcomes(schedule) == ["Started"]


def test_a_first_run_that_cannot_be_started_is_told(team: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    published = small_published(team, tmp_path)
    Schedule.create(team, "first", published.id, "e", HOURLY)
    with caplog.at_level(logging.WARNING, "batchmill"):
        endpoint = PipelineEndpoint.publish(team, "scoring", "", published)
        published.disable()
        schedule = Schedule.create_for_pipeline_endpoint(team, "hourly", endpoint.id, "e", HOURLY)
    assert outcomes(schedule) == ["Failed"]
    assert f"The first run of schedule hourly ({schedule.id}) could not be started: Pipeline small" in caplog.text


def test_a_schedule_that_was_disabled_since_starts_nothing(team: Workspace, tmp_path: Path) -> None:
    schedule = Schedule.create(team, "hourly", small_published(team, tmp_path).id, "e", HOURLY)
    end_runs(team)
    served = ServedWorkspace(team)
    served.clock.go_on(hours=1)
    (fire,) = take_due(team, schedule.record, served.clock())
    schedule.disable()
    ScheduleFires(team).let_go(fire)
    served.turn()
    assert (schedule.fires()[0].outcome, schedule.fires()[0].note) == ("Skipped", "the schedule was disabled while it waited")
    assert len(team.registry.runs(limit=None)) == 1


def test_a_look_that_ends_after_the_schedule_was_disabled_starts_nothing(
    team: Workspace, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import batchmill.pipeline.datastore_poll as looking

    schedule = Schedule.create(team, "files", small_published(team, tmp_path / "script").id, "e", datastore=store)
    (tmp_path / "store" / "a.csv").write_text("new")
    marks_of = looking.marks_of

    def slow(*words: Any) -> Any:
        found = marks_of(*words)
        schedule.disable()
        return found

    monkeypatch.setattr(looking, "marks_of", slow)
    ServedWorkspace(team).turn(minutes=5)
    assert schedule.fires() == []


def test_whoever_decided_to_replace_a_run_died_before_canceling_it(
    team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule.create(team, "hourly", small_published(team, tmp_path).id, "e", HOURLY, overlap="replace")
    first, served = schedule.get_last_pipeline_run(), ServedWorkspace(team)
    assert first is not None
    served.clock.go_on(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr("batchmill.pipeline.schedule_turn.make_room", lambda *_: None)
        take_due(team, schedule.record, served.clock())
    served.turn(seconds=1)
    served.turn(seconds=1)
    assert first.get_status() == "Canceled"
    assert outcomes(schedule) == ["Started", "Started"]


def test_an_endless_interval_and_an_unknown_zone_hold_nobody_up(team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoneinfo import ZoneInfoNotFoundError

    published = small_published(team, tmp_path)
    endless = Schedule.create(team, "endless", published.id, "e", ScheduleRecurrence("Hour", 10**12, "2020-01-01T00:00:00"))
    assert endless.next_time is None
    tokyo = Schedule.create(team, "tokyo", published.id, "e", ScheduleRecurrence("Day", 1, "2020-01-01T00:00:00"))
    hourly = Schedule.create(team, "hourly", published.id, "e", HOURLY)
    end_runs(team)
    kept = tokyo.record.recurrence or {}
    from batchmill.pipeline.schedule_turn import schedule_rows

    schedule_rows(team).change(tokyo.id, {"recurrence": kept | {"time_zone": "Tokyo Standard Time"}})

    def without_tokyo(name: str) -> Any:
        if name == "Asia/Tokyo":
            raise ZoneInfoNotFoundError(name)
        return zone(name)

    import zoneinfo

    zone = zoneinfo.ZoneInfo
    monkeypatch.setattr(zoneinfo, "ZoneInfo", without_tokyo)
    served = ServedWorkspace(team)
    served.turn(hours=1)
    served.turn(hours=1)
    assert outcomes(hourly)[1] == "Started"
    told = [line for line in served.said if "tokyo" in line]
    assert len(told) == 1
    assert "cannot fire here: This machine knows nothing of the time zone Asia/Tokyo" in told[0]


def test_a_file_whose_name_is_no_text_is_told_and_starts_nothing(team: Workspace, store: Any, tmp_path: Path) -> None:
    bound = (PipelineParameter("input", DataPath(store, "")), DataPathComputeBinding())
    published = small_published(team, tmp_path / "script", arguments=[bound], inputs=[bound])
    schedule = Schedule.create(team, "files", published.id, "e", datastore=store, data_path_parameter_name="input")
    (tmp_path / "store" / b"\xff.csv".decode(errors="surrogateescape")).write_text("new")
    (tmp_path / "store" / "a.csv").write_text("new")
    served = ServedWorkspace(team)
    served.turn(minutes=5)
    assert [(fire.path, fire.outcome) for fire in schedule.fires()] == [("a.csv", "Started")]
    assert r"the name of the file '\udcff.csv' is no UTF-8 text: it starts no run. Rename it." in served.said[0]


def test_thousands_of_files_at_once(team: Workspace, store: Any, tmp_path: Path) -> None:
    bound = (PipelineParameter("input", DataPath(store, "")), DataPathComputeBinding())
    published = small_published(team, tmp_path / "script", arguments=[bound], inputs=[bound])
    schedule = Schedule.create(team, "files", published.id, "e", datastore=store, data_path_parameter_name="input")
    for number in range(1_200):
        (tmp_path / "store" / f"{number:04}.csv").touch()
    served = ServedWorkspace(team)
    served.turn(minutes=5)
    fires = schedule.fires()
    assert [fires[-1].path, fires[-1].outcome, len(fires)] == ["0000.csv", "Started", 1_200]
    assert {fire.outcome for fire in fires[:-1]} == {"Queued"}
    assert len(served.said) == 7  # five of those that wait, how many more, the run
    assert f"1,194 more like these. See batchmill schedules fires {schedule.id}" in served.said[5]
    end_runs(team)
    served.turn(seconds=1)
    assert [fire.path for fire in schedule.fires() if fire.outcome == "Started"] == ["0001.csv", "0000.csv"]


def test_a_server_that_is_told_to_end_leaves_what_it_has_in_hand(team: Workspace, tmp_path: Path) -> None:
    published = small_published(team, tmp_path)
    made = [Schedule.create(team, f"s{number}", published.id, "e", HOURLY) for number in range(3)]
    end_runs(team)
    served, stop = ServedWorkspace(team), threading.Event()
    served.clock.go_on(hours=1)
    start = served.server._start

    def last(fire: Any) -> None:
        start(fire)
        stop.set()

    served.server._start = last  # type: ignore[method-assign]
    served.server.run(stop)
    assert sorted(outcomes(one)[1] for one in made) == ["Started", "Starting", "Starting"]


def test_names_that_are_none(team: Workspace, tmp_path: Path) -> None:
    published = small_published(team, tmp_path)
    for name in (None, "", " ", 5):
        with pytest.raises(ValueError, match="its name must be a text that is not empty"):
            Schedule.create(team, name, published.id, "e", HOURLY)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="its name must be a text that is not empty"):
            PipelineEndpoint.publish(team, name, "", published)  # type: ignore[arg-type]
    first = PipelineEndpoint.publish(team, "scoring", "", published)
    first.archive()
    PipelineEndpoint.publish(team, "scoring", "", published)
    with pytest.raises(ValueError, match="PipelineEndpoint already exists with the given name"):
        first.enable()
