"""Published pipelines and their endpoints, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from batchmill.pipeline.experiment import Experiment
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint
from batchmill.pipeline.published_pipeline import PublishedPipeline
from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.schedule import Schedule
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.workspace import Workspace
from tests.scheduled import small_pipeline, small_published, without_runners


@pytest.fixture
def team(database: str) -> Workspace:
    return Workspace.create("team", show_output=False)


def test_what_is_published_is_found_and_told(team: Workspace, tmp_path: Path) -> None:
    published = small_pipeline(team, tmp_path / "a").publish("scoring", "by the hour", "1.0", continue_on_step_failure=True)
    again = PublishedPipeline.get(team, published.id)
    assert (again.name, again.description, again.version, again.status) == ("scoring", "by the hour", "1.0", "Active")
    assert (again.total_run_steps, again.get_step_names(), again.continue_on_step_failure) == (1, ["show.py"], True)
    assert again == published
    assert again.graph == published.graph
    assert str(again) == f"Pipeline(Name: scoring,\nId: {again.id},\nStatus: Active,\nEndpoint: {again.endpoint})"
    assert again.endpoint.endswith(f"/workspaces/team/PipelineRuns/PipelineSubmit/{again.id}")
    with pytest.raises(UserErrorException, match="There is no published pipeline nothing in workspace team"):
        PublishedPipeline.get(team, "nothing")


def test_a_disabled_pipeline_is_not_submitted(team: Workspace, tmp_path: Path) -> None:
    published, other = small_published(team, tmp_path / "a"), small_published(team, tmp_path / "b")
    published.disable()
    assert PublishedPipeline.get(team, published.id).status == "Disabled"
    assert PublishedPipeline.list(team) == [other]
    assert PublishedPipeline.get_all(team, active_only=False) == [other, published]
    with pytest.raises(UserErrorException, match=r"is disabled and cannot be submitted\. Enable it: enable\(\)"):
        published.submit(team, "e")
    published.enable()
    assert published.status == "Active"


def test_a_submit_tells_what_it_is_of(team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_runners(monkeypatch)
    published = small_published(team, tmp_path, arguments=["--size", PipelineParameter("size", 5)])
    row = published.submit(team, "digits", pipeline_parameters={"size": 7}, continue_on_step_failure=True).row
    assert (row.experiment, row.properties["azureml.pipelineid"], row.details["pipeline"]) == ("digits", published.id, published.id)
    assert (row.details["graph"], row.details["parameters"], row.details["continue_on_step_failure"]) == (
        published.graph_id,
        {"size": 7},
        True,
    )
    assert Experiment(team, "digits").submit(published, tags={"a": "b"}).tags == {"a": "b"}
    with pytest.raises(Exception, match=r"^Pipeline parameter with name sise does not exist$"):
        published.submit(team, "digits", {"sise": 7})


def test_disabling_what_schedules_use_warns(team: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    published = small_published(team, tmp_path)
    later = ScheduleRecurrence("Hour", 1, "2100-01-01T00:00:00")
    schedule = Schedule.create(team, "hourly", published.id, "e", later)
    with caplog.at_level(logging.WARNING, logger="batchmill"):
        published.disable()
    assert f"is disabled while schedules use it: hourly ({schedule.id})" in caplog.text


def test_an_endpoint_has_versions(team: Workspace, tmp_path: Path) -> None:
    first, second = small_published(team, tmp_path / "a"), small_published(team, tmp_path / "b")
    endpoint = PipelineEndpoint.publish(team, "scoring", "for all", first)
    assert (endpoint.get_default_version(), endpoint.get_pipeline()) == ("0", first)
    endpoint.add(second)
    assert (endpoint.default_version, endpoint.get_pipeline("1")) == ("0", second)
    assert [(one.version, one.pipeline) for one in endpoint.list_versions()] == [("0", first), ("1", second)]
    endpoint.set_default(second)
    assert PipelineEndpoint.get(team, name="scoring").get_default_version() == "1"
    endpoint.set_default_version("0")
    endpoint.add_default(small_pipeline(team, tmp_path / "c"))
    assert (endpoint.default_version, [one.version for one in endpoint.get_all_versions()]) == ("2", ["0", "1", "2"])
    second.disable()
    assert (len(endpoint.list_pipelines()), len(endpoint.get_all_pipelines(active_only=False))) == (2, 3)
    assert PublishedPipeline.get(team, endpoint.get_pipeline().id).name == "scoring"


def test_what_endpoints_refuse(team: Workspace, tmp_path: Path) -> None:
    first, other = small_published(team, tmp_path / "a"), small_published(team, tmp_path / "b")
    endpoint = PipelineEndpoint.publish(team, "scoring", "", first)
    with pytest.raises(ValueError, match=r"^pipeline should be either type Pipeline or PublishedPipeline$"):
        PipelineEndpoint.publish(team, "other", "", "first")  # type: ignore[arg-type, unused-ignore]
    with pytest.raises(ValueError, match=r"^PipelineEndpoint already exists with the given name\. Please choose a unique value\.$"):
        PipelineEndpoint.publish(team, "scoring", "", other)
    with pytest.raises(ValueError, match=rf"^Cannot add pipeline , pipeline id {first.id} exists in PipelineEndpoint {{scoring}}$"):
        endpoint.add(first)
    with pytest.raises(ValueError, match=r"^Cannot set version 7, does not exist in pipeline endpoint scoring\."):
        endpoint.set_default_version("7")
    with pytest.raises(ValueError, match=rf"^Cannot set pipeline id {other.id}, does not exist in pipeline endpoint scoring\."):
        endpoint.set_default(other)
    with pytest.raises(ValueError, match=r"^Version 7, pipeline not found in pipelineEndpoint scoring$"):
        endpoint.get_pipeline("7")
    with pytest.raises(Exception, match=r"^Please, enter either id or name to get PipelineEndpoint$"):
        PipelineEndpoint.get(team)
    with pytest.raises(UserErrorException, match="There is no pipeline endpoint 'nothing'"):
        PipelineEndpoint.get(team, name="nothing")


def test_only_an_active_endpoint_is_submitted(team: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_runners(monkeypatch)
    first, second = small_published(team, tmp_path / "a"), small_published(team, tmp_path / "b")
    endpoint = PipelineEndpoint.publish(team, "scoring", "", first)
    endpoint.add(second)
    assert endpoint.submit("e").properties["azureml.pipelineid"] == first.id
    run = Experiment(team, "e").submit(endpoint, pipeline_version="1")
    assert (run.properties["azureml.pipelineid"], run.properties["azureml.pipelineversion"]) == (second.id, "1")
    endpoint.disable()
    with pytest.raises(ValueError, match=r"^Status must be Active, its Disabled$"):
        endpoint.submit("e")
    assert PipelineEndpoint.list(team) == []
    assert PipelineEndpoint.list(team, active_only=False) == [endpoint]
    endpoint.enable()
    assert endpoint.submit("e").id


def test_the_name_of_an_archived_endpoint_is_free(team: Workspace, tmp_path: Path) -> None:
    published = small_published(team, tmp_path)
    old = PipelineEndpoint.publish(team, "scoring", "", published)
    old.archive()
    assert old.status == "Archived"
    new = PipelineEndpoint.publish(team, "scoring", "", published)
    assert PipelineEndpoint.get(team, name="scoring") == new
    with pytest.raises(ValueError, match="PipelineEndpoint already exists"):
        old.reactivate("scoring")
    old.reactivate("older")
    assert (old.status, old.name) == ("Active", "older")
    with pytest.raises(ValueError, match="PipelineEndpoint already exists"):
        old.set_name("scoring")
    old.set_name("oldest")
    assert PipelineEndpoint.get(team, name="oldest") == old


def test_programs_that_cut_addresses_find_what_they_look_for(database: str, tmp_path: Path) -> None:
    """A6.14: nothing in front of the segment ``Id`` holds these letters."""
    ws = Workspace.create("IdTeam", show_output=False)
    endpoint = PipelineEndpoint.publish(ws, "scoring", "", small_published(ws, tmp_path))
    assert endpoint.endpoint.split("Id", 1)[1] == f"/{endpoint.id}"
    assert (endpoint.endpoint.split("Id", 1)[0] + "Name?name=" + endpoint.name).endswith("/PipelineEndpointSubmit/Name?name=scoring")
    assert json.dumps(endpoint.as_dict(), default=str)
