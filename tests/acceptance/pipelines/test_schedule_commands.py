"""``batchmill pipelines``, ``batchmill schedules`` and ``batchmill serve`` as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from azureml.pipeline.core import PipelineEndpoint, PipelineParameter

from tests.conftest import BATCHMILL
from tests.scheduled import small_published

YAML = """
Schedule:
  recurrence: {frequency: Minute, interval: 15, start_time: 2026-01-01T00:00:00, time_zone: UTC}
  pipeline_parameters: {size: 8}
"""


def batchmill(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(BATCHMILL), *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def as_json(*words: str) -> Any:
    return json.loads(batchmill(*words, "--json").stdout)


@pytest.fixture
def published(ws: Any, tmp_path: Path) -> Any:
    return small_published(ws, tmp_path / "script", arguments=["--size", PipelineParameter("size", 5)])


def test_pipelines_are_listed_submitted_and_disabled(ws: Any, published: Any) -> None:
    endpoint = PipelineEndpoint.publish(ws, "scoring", "for all", published)
    assert published.id in batchmill("pipelines", "list").stdout
    shown = as_json("pipelines", "show", "small")
    assert (shown["id"], shown["parameters"], shown["steps"]) == (published.id, {"size": 5}, ["show.py"])
    assert "parameter size" in batchmill("pipelines", "show", published.id).stdout
    assert as_json("pipelines", "endpoints")[0]["id"] == endpoint.id
    done = batchmill("pipelines", "submit", "small", "--experiment", "digits", "-p", "size=7", "--wait")
    run = ws.get_run(done.stdout.strip())
    assert (run.get_status(), run.experiment.name) == ("Finished", "digits")
    assert "--size 7" in run.find_step_run("show.py")[0].get_job_log()
    wrong = batchmill("pipelines", "submit", "small", "-p", "size=many", code=2)
    assert "Parameter size has the value 'many': it must be of type int." in wrong.stderr
    batchmill("pipelines", "disable", "small")
    assert as_json("pipelines", "list") == []
    assert "is disabled and cannot be submitted" in batchmill("pipelines", "submit", "small", code=2).stderr
    assert "unknown" not in batchmill("pipelines", "enable", published.id).stderr
    assert "There is no published pipeline nothing" in batchmill("pipelines", "show", "nothing", code=2).stderr


def test_schedules_are_made_shown_and_disabled(ws: Any, published: Any, tmp_path: Path) -> None:
    Path("s.yml").write_text(YAML)
    made = batchmill("schedules", "create", "every", "--file", "s.yml", "--pipeline", "small", "--experiment", "e")
    assert "Nobody serves workspace team, so nothing fires: start batchmill serve." in made.stderr
    listed = batchmill("schedules", "list").stdout
    assert "every 15 minutes from 2026-01-01T00:00:00 (UTC)" in listed
    assert "skip" in listed
    shown = as_json("schedules", "show", "every")
    assert (shown["id"], shown["overlap"], shown["parameters"], shown["last_fires"]) == (made.stdout.strip(), "skip", {"size": 8}, [])
    assert shown["next_time"]
    assert "has not fired yet" in batchmill("schedules", "fires", "every").stderr
    batchmill("schedules", "disable", "every")
    assert as_json("schedules", "list") == []
    assert as_json("schedules", "list", "--all")[0]["status"] == "Disabled"
    batchmill("schedules", "enable", "every")
    Path("s.yml").write_text("{}")
    refused = batchmill("schedules", "create", "every", "--file", "s.yml", "--pipeline", "small", code=2)
    assert 'Schedule Yaml file must have a "Schedule:" section' in refused.stderr
    assert "Give --pipeline or --endpoint." in batchmill("schedules", "create", "x", "--file", "s.yml", code=2).stderr


def test_fires_tell_their_reason(ws: Any, published: Any) -> None:
    from azureml.pipeline.core import Schedule, ScheduleRecurrence

    schedule = Schedule.create(ws, "hourly", published.id, "e", ScheduleRecurrence("Hour", 1))
    (fire,) = as_json("schedules", "fires", schedule.id)
    assert (fire["outcome"], fire["reason"]) == ("Started", "first run")
    shown = batchmill("schedules", "show", "hourly").stdout
    assert "1 started" in shown
    assert fire["run_id"] in shown


def test_serve_ends_in_order(ws: Any, published: Any) -> None:
    assert batchmill("serve", "--once").stderr == ""
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen([str(BATCHMILL), "serve"], stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        assert process.stderr is not None
        assert process.stderr.readline() == "Serving workspace team: schedules fire, interrupted runs go on. Ctrl-C ends it.\n"
        process.send_signal(number)
        assert process.communicate(timeout=30)[1] == "Workspace team is served no more; runs go on.\n"
        assert process.returncode == 0
