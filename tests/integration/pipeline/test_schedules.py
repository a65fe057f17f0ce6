"""Schedules: what they are, what they refuse, what serving them does; on SQLite and PostgreSQL, with a clock of the test's own."""

from __future__ import annotations

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
from batchmill.pipeline.serving import Serving
from batchmill.workspace.data_path import DataPath, DataPathComputeBinding
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.workspace import Workspace
from tests.scheduled import Clock, ServedWorkspace, end_runs, small_published, without_runners

HOURLY = ScheduleRecurrence("Hour", 1)
FAR = ScheduleRecurrence("Hour", 1, "2100-01-01T00:00:00")


@pytest.fixture
def team(database: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    without_runners(monkeypatch)
    return Workspace.create("team", show_output=False)


@pytest.fixture
def store(team: Workspace, tmp_path: Path) -> Any:
    folder = tmp_path / "store"
    (folder / "in").mkdir(parents=True)
    return Datastore.register_local_folder(team, "files", folder)


def with_path(ws: Workspace, store: Any, folder: Path) -> Any:
    """A published pipeline whose script is given a path."""
    bound = (PipelineParameter("input", DataPath(store, "in")), DataPathComputeBinding())
    return small_published(ws, folder, arguments=[bound], inputs=[bound])


def outcomes(schedule: Schedule) -> list[str]:
    """Of the fires, oldest first."""
    return [fire.outcome for fire in schedule.fires()][::-1]


def test_a_schedule_is_found_and_told(team: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = small_published(team, tmp_path, arguments=[PipelineParameter("size", 5)])
    capsys.readouterr()
    every = ScheduleRecurrence("Day", 2, hours=[22], minutes=[30], start_time="2100-01-01T00:00:00")
    made = Schedule.create(team, "My_Schedule", published.id, "e", every, "text", {"size": 7}, wait_for_provisioning=True)
    assert capsys.readouterr().out == "Provisioning status: Completed\n"
    found = Schedule.get(team, made.id)
    assert (found.name, found.description, found.status, found.pipeline_id, found.pipeline_endpoint_id) == (
        "My_Schedule",
        "text",
        "Active",
        published.id,
        None,
    )
    assert (found.recurrence, found.pipeline_parameters, found.overlap, found.datastore_name) == (every, {"size": 7}, "skip", None)
    assert found.recurrence is not None
    assert found.recurrence.frequency == "Day"
    assert str(found).startswith("Pipeline(Name: My_Schedule,\nId: ")
    assert found.next_time is not None
    assert found.next_time.isoformat() == "2100-01-01T22:30:00+00:00"
    second = Schedule.create(team, "My_Schedule", published.id, "e", FAR)
    assert Schedule.list(team, pipeline_id=published.id) == [second, made]
    made.disable()
    assert Schedule.list(team) == [second]
    assert Schedule.get_schedules_for_pipeline_id(team, published.id) == [second, made]
    assert (made.get_pipeline_runs(), made.get_last_pipeline_run()) == ([], None)
    with pytest.raises(UserErrorException, match="There is no schedule nothing in workspace team"):
        Schedule.get(team, "nothing")


def test_what_create_refuses(team: Workspace, store: Any, tmp_path: Path) -> None:
    published = small_published(team, tmp_path / "script")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"recurrence": HOURLY, "datastore": store}, "Can not specify both a Recurrence and a Datastore"),
        (
            {"recurrence": HOURLY, "data_path_parameter_name": "p"},
            "Data Path parameter name can only be specified for Datastore schedules.",
        ),
        ({"recurrence": HOURLY, "path_on_datastore": "p"}, "Path on datastore parameter can only be specified for Datastore schedules."),
        ({"datastore": team.datastores["workspacefilestore"]}, "Datastore must be of type AzureBlobDatastore"),
        ({"datastore": 5}, "Datastore must be of type AzureBlobDatastore"),
        ({"datastore": store, "polling_interval": 0}, "The polling interval must be greater than 0 minutes."),
        ({"recurrence": ScheduleRecurrence("Hour", 0)}, "Interval must be an integer greater than 0."),
        ({"recurrence": FAR, "overlap": "both"}, "overlap is one of skip, queue, replace, not 'both'."),
        ({}, "A schedule needs a Recurrence or a Datastore: give recurrence= or datastore=."),
    ]
    for given, text in refused:
        with pytest.raises(ValueError, match="^" + text.replace(".", r"\.")):
            Schedule.create(team, "s", published.id, "e", **given)
    with pytest.raises(Exception, match=r"^Pipeline parameter with name input does not exist$"):
        Schedule.create(team, "s", published.id, "e", datastore=store, data_path_parameter_name="input")
    with pytest.raises(Exception, match=r"^Pipeline parameter with name size does not exist$"):
        Schedule.create(team, "s", published.id, "e", FAR, pipeline_parameters={"size": 1})
    published.disable()
    with pytest.raises(UserErrorException, match="is disabled and cannot be submitted"):
        Schedule.create(team, "s", published.id, "e", FAR)
    assert Schedule.list(team, active_only=False) == []


def test_what_update_changes_and_refuses(team: Workspace, store: Any, tmp_path: Path) -> None:
    published = with_path(team, store, tmp_path / "script")
    clock, looking = Schedule.create(team, "c", published.id, "e", FAR), Schedule.create(team, "d", published.id, "e", datastore=store)
    assert (looking.recurrence, looking.polling_interval, looking.overlap) == (None, 5, "queue")
    refused: list[tuple[Schedule, dict[str, Any], str]] = [
        (clock, {"status": "active"}, "Status must be either Active or Disabled"),
        (clock, {"datastore": store}, "Can not specify a Datastore for a Recurrence schedule."),
        (clock, {"data_path_parameter_name": "input"}, "Data Path parameter name can only be specified for Datastore schedules."),
        (looking, {"recurrence": HOURLY}, "Can not specify a recurrence for a Datastore schedule."),
        (looking, {"polling_interval": -1}, "The polling interval must be greater"),
    ]
    for schedule, given, text in refused:
        with pytest.raises(ValueError, match="^" + text.replace(".", r"\.")):
            schedule.update(**given)
    clock.update(name="c2", description="text", recurrence=HOURLY, continue_on_step_failure=True, overlap="replace")
    assert (clock.name, clock.description, clock.recurrence, clock.overlap) == ("c2", "text", HOURLY, "replace")
    assert clock.continue_on_step_failure is True
    assert clock.fires() == []  # a new recurrence begins with its grid, not with a run
    looking.update(path_on_datastore="in", data_path_parameter_name="input", polling_interval=1)
    assert (looking.path_on_datastore, looking.data_path_parameter_name, looking.polling_interval) == ("in", "input", 1)


def test_the_first_run_begins_with_the_schedule(team: Workspace, tmp_path: Path) -> None:
    published = small_published(team, tmp_path)
    schedule = Schedule.create(team, "hourly", published.id, "scoring", HOURLY)
    (fire,) = schedule.fires()
    assert (fire.outcome, fire.reason) == ("Started", "first run")
    run = schedule.get_last_pipeline_run()
    assert run is not None
    assert (run.id, run.experiment.name, run.row.details["source"]) == (fire.run_id, "scoring", "Schedule")
    assert run.properties["azureml.scheduleid"] == schedule.id
    served = ServedWorkspace(team)
    served.turn(minutes=30)
    assert len(schedule.fires()) == 1
    end_runs(team)
    served.turn(minutes=30, seconds=10)
    assert [one.reason for one in schedule.fires()] == ["recurrence", "first run"]
    assert schedule.get_pipeline_runs()[-1] == run
    assert served.said == [f"Schedule hourly ({schedule.id}) started run {schedule.fires()[0].run_id}: recurrence."]


def test_overlapping_runs_are_skipped_queued_or_replaced(team: Workspace, tmp_path: Path) -> None:
    published = small_published(team, tmp_path)
    made = {policy: Schedule.create(team, policy, published.id, "e", HOURLY, overlap=policy) for policy in ("skip", "queue", "replace")}
    served = ServedWorkspace(team)
    served.turn(hours=1, seconds=1)
    assert {policy: outcomes(one)[1] for policy, one in made.items()} == {"skip": "Skipped", "queue": "Queued", "replace": "Started"}
    assert team.registry.run(str(made["replace"].fires()[1].run_id)).status == "Canceled"  # type: ignore[union-attr]
    served.turn(hours=1)
    assert outcomes(made["queue"]) == ["Started", "Queued", "Queued"]
    end_runs(team)
    served.turn(seconds=1)
    assert outcomes(made["queue"]) == ["Started", "Started", "Queued"]
    made["queue"].disable()
    served.turn(seconds=1)
    assert outcomes(made["queue"]) == ["Started", "Started", "Skipped"]
    assert made["queue"].fires()[0].note == "the schedule was disabled while it waited"


def test_missed_fires_are_written_down_and_not_made_up(team: Workspace, tmp_path: Path) -> None:
    schedule = Schedule.create(team, "hourly", small_published(team, tmp_path).id, "e", HOURLY)
    end_runs(team)
    served = ServedWorkspace(team)
    served.turn(hours=3, minutes=30)
    assert outcomes(schedule) == ["Started", "Missed", "Missed", "Missed"]
    assert "missed 3 fires" in served.said[0]
    served.turn(minutes=30)
    assert outcomes(schedule)[-1] == "Started"


def test_what_cannot_be_submitted_fails_with_its_reason(team: Workspace, tmp_path: Path) -> None:
    published = small_published(team, tmp_path)
    schedule = Schedule.create(team, "hourly", published.id, "e", HOURLY)
    published.disable()
    end_runs(team)
    served = ServedWorkspace(team)
    served.turn(hours=1)
    fire = schedule.fires()[0]
    assert (fire.outcome, str(fire.note).partition(" (")[0]) == ("Failed", "Pipeline small")
    assert "is disabled and cannot be submitted" in served.said[-1]
    published.enable()
    served.turn(hours=1)
    assert outcomes(schedule)[-1] == "Started"


def test_a_schedule_of_an_endpoint_takes_its_default_version(team: Workspace, tmp_path: Path) -> None:
    first, second = small_published(team, tmp_path / "a"), small_published(team, tmp_path / "b")
    endpoint = PipelineEndpoint.publish(team, "scoring", "", first)
    schedule = Schedule.create_for_pipeline_endpoint(team, "hourly", endpoint.id, "e", HOURLY)
    assert (schedule.pipeline_id, schedule.pipeline_endpoint_id) == (None, endpoint.id)
    assert Schedule.get_schedules_for_pipeline_endpoint_id(team, endpoint.id) == [schedule]
    endpoint.add_default(second)
    end_runs(team)
    ServedWorkspace(team).turn(hours=1)
    ids = [run.properties["azureml.pipelineid"] for run in schedule.get_pipeline_runs()]
    assert ids == [second.id, first.id]


def test_several_servers_fire_each_moment_once(team: Workspace, tmp_path: Path) -> None:
    made = [Schedule.create(team, f"s{number}", small_published(team, tmp_path).id, "e", HOURLY, overlap="queue") for number in range(3)]
    end_runs(team)
    clock = Clock()
    clock.go_on(hours=1, seconds=1)
    servers = [ServedWorkspace(team, clock).server for _ in range(6)]
    threads = [threading.Thread(target=server.fire) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcomes(one) for one in made] == [["Started", "Started"]] * 3
    assert len(team.registry.runs(limit=None)) == 6


def test_files_that_come_or_change_start_runs(team: Workspace, store: Any, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    (folder / "old.csv").write_text("there before")
    schedule = Schedule.create(team, "files", small_published(team, tmp_path / "script").id, "e", datastore=store, polling_interval=5)
    assert schedule.get_last_pipeline_run() is None
    served = ServedWorkspace(team)
    served.turn(minutes=6)
    assert schedule.fires() == []
    (folder / "a.csv").write_text("new")
    (folder / "b.csv").write_text("new")
    (folder / ".hidden").write_text("new")
    served.turn(minutes=1)  # it is not time yet
    assert schedule.fires() == []
    served.turn(minutes=5)
    (fire,) = schedule.fires()
    assert (fire.reason, fire.path, fire.note, fire.outcome) == ("new file", "a.csv", "and 1 more", "Started")
    end_runs(team)
    (folder / "old.csv").write_text("changed")
    served.turn(minutes=5)
    assert (schedule.fires()[0].reason, schedule.fires()[0].path) == ("changed file", "old.csv")
    schedule.disable()
    (folder / "c.csv").write_text("new")
    served.turn(minutes=5)
    schedule.enable()
    served.turn(minutes=10)
    assert len(schedule.fires()) == 2  # not made up


def test_a_store_that_cannot_be_looked_at_is_told_and_tried_again(team: Workspace, store: Any, tmp_path: Path) -> None:
    schedule = Schedule.create(team, "files", small_published(team, tmp_path / "script").id, "e", datastore=store)
    store.unregister()
    served = ServedWorkspace(team)
    served.turn(minutes=5)
    assert f"Schedule files ({schedule.id}) cannot look at files: There is no datastore 'files'" in served.said[0]
    Datastore.register_local_folder(team, "files", tmp_path / "store")
    (tmp_path / "store" / "a.csv").write_text("new")
    served.turn(minutes=5)
    assert outcomes(schedule) == ["Started"]


def test_a_yaml_file_says_a_schedule(team: Workspace, store: Any, tmp_path: Path) -> None:
    text = """
Schedule:
  description: weekly
  recurrence:
    {frequency: Week, interval: 1, start_time: 2100-06-07T10:50:00, time_zone: Tokyo Standard Time, hours: [1], week_days: [Friday]}
  pipeline_parameters: {a: 1}
  continue_on_step_failure: None
  datastore_name: files
"""
    (tmp_path / "s.yml").write_text(text)
    values = Schedule.load_yaml(team, str(tmp_path / "s.yml"))
    assert isinstance(values["recurrence"], ScheduleRecurrence)
    values["recurrence"].validate()
    assert (values["description"], values["pipeline_parameters"], values["continue_on_step_failure"]) == ("weekly", {"a": 1}, None)
    assert values["datastore"] == values["datastore_name"] == store
    (tmp_path / "bad.yml").write_text("schedule: {}")
    with pytest.raises(ValueError, match=r'^Schedule Yaml file must have a "Schedule:" section$'):
        Schedule.load_yaml(team, str(tmp_path / "bad.yml"))


def test_who_serves_is_known(team: Workspace) -> None:
    serving = Serving(team)
    assert serving.living() == []
    serving.begin()
    assert len(Serving(team).living()) == 1
    serving.beat()
    serving.end()
    assert serving.living() == []


def test_a_database_out_of_reach_loses_no_fire(team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule.create(team, "hourly", small_published(team, tmp_path).id, "e", HOURLY)
    end_runs(team)
    served = ServedWorkspace(team)

    def refused(*_: object) -> None:
        raise RegistryError("out of reach")

    with monkeypatch.context() as patch:
        patch.setattr("batchmill.pipeline.serve.start_scheduled", refused)
        served.clock.go_on(hours=1)
        with pytest.raises(RegistryError):
            served.server.fire()
    assert outcomes(schedule) == ["Started", "Starting"]
    served.turn(seconds=30)
    assert outcomes(schedule) == ["Started", "Started"]
    assert schedule.record.considered - schedule.record.anchor == timedelta(hours=1)
