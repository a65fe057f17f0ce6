"""``batchmill pipelines``, ``batchmill schedules`` and ``batchmill serve`` as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


def test_schedules_are_made_without_a_file(ws: Any, published: Any, tmp_path: Path) -> None:
    start = ("--start", "2026-01-01T00:00:00")
    batchmill("schedules", "create", "a", "--pipeline", "small", "--every", "15 minutes", *start, "-p", "size=9", "--overlap", "queue")
    shown = as_json("schedules", "show", "a")
    assert (shown["recurrence"]["frequency"], shown["recurrence"]["interval"], shown["parameters"]) == ("Minute", 15, {"size": 9})
    assert (shown["overlap"], shown["experiment"]) == ("queue", "Default")
    words = ["--on", "monday,FRIDAY", "--at", "07:00", "--at", "07:30", "--time-zone", "Europe/Berlin", "--experiment", "e"]
    made = as_json("schedules", "create", "--name", "b", "--pipeline", published.id, *words, *start, "--description", "text")
    kept = made["recurrence"]
    assert (kept["frequency"], kept["week_days"], kept["hours"], kept["minutes"]) == ("Week", ["Monday", "Friday"], [7], [0, 30])
    assert (kept["time_zone"], kept["start_time"], made["description"]) == ("W. Europe Standard Time", start[1], "text")
    daily = as_json("schedules", "create", "c", "--pipeline", "small", "--at", "22:30", *start)["recurrence"]
    assert (daily["frequency"], daily["interval"], daily["hours"]) == ("Day", 1, [22])
    PipelineEndpoint.publish(ws, "scoring", "", published)
    looks = ["--datastore", "workspaceblobstore", "--path", "in", "--polling-interval", "0.5"]
    batchmill("schedules", "create", "d", "--endpoint", "scoring", *looks, "-p", "size=3")
    shown = as_json("schedules", "show", "d")
    assert (shown["datastore"], shown["path_on_datastore"], shown["polling_interval"]) == ("workspaceblobstore", "in", 0.5)
    assert (shown["overlap"], shown["parameters"]) == ("queue", {"size": 3})
    assert "files in workspaceblobstore/in, looked at every 0.5 min" in batchmill("schedules", "list").stdout


REFUSED = [
    ("--at 7:00 --at 08:30", "One schedule cannot fire at 07:00, 08:30: each hour has the same minutes. Make two schedules."),
    ("--every 0minutes", "Interval must be an integer greater than 0."),
    ("--every hour --at 07:00", "Can only specify hours if frequency is Week or Day."),
    ("--every fortnight", "Option --every has the value 'fortnight'"),
    ("--every hour -p nope=1", "Pipeline parameter with name nope does not exist in pipeline small. Its parameters are size."),
    ("--every hour -p size=many", "Parameter size has the value 'many': it must be of type int."),
    ("--every hour --start tomorrow", "start_time 'tomorrow' is not a moment"),
    ("--every hour --datastore x", "A schedule fires by the clock (--every) or when files come (--datastore), not both."),
    ("", "Nothing says when the schedule fires. Give --every, --at, --on, --datastore or --file."),
    ("--path in", "--path is of schedules that look at a datastore. Add --datastore."),
    ("--file s.yml --every hour", "--file says all of a schedule, and --every was given as well."),
    ("--on someday", "Week days must be a list of str"),
    ("--every day --time-zone Europe/Berln", "Europe/Berlin"),
    ("--every day --name other", "A schedule has one name."),
    ("--datastore nothere", "There is no datastore 'nothere'"),
    ("--datastore workspaceblobstore --path-parameter size", "Pipeline parameter size takes no path"),
    ("--file nothere.yml", "The file of the schedule nothere.yml cannot be read"),
]


def test_what_cannot_be_a_schedule_is_refused_in_one_line(ws: Any, published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from batchmill.cli.main import main

    for words, text in REFUSED:
        with pytest.raises(SystemExit) as ended:
            sys.exit(main(["schedules", "create", "c", "--pipeline", "small", *words.split()]))
        assert ended.value.code == 2, words
        told = capsys.readouterr().err
        assert text in told
        assert told.count("\n") == 1
    assert as_json("schedules", "list", "--all") == []


def test_what_a_file_of_a_schedule_must_not_say(ws: Any, published: Any) -> None:
    refused = [
        ("hourly", "The recurrence of a schedule is a mapping"),
        ("{frequency: Hour, interval: 1, every: 3}", "The recurrence of a schedule has the unknown key 'every'."),
        ("{frequency: Hour, interval: 1}\n  pipeline_parameters: {nope: 1}", "Pipeline parameter with name nope does not exist"),
    ]
    for recurrence, text in refused:
        Path("s.yml").write_text(f"Schedule:\n  recurrence: {recurrence}\n")
        assert text in batchmill("schedules", "create", "c", "--pipeline", "small", "--file", "s.yml", code=2).stderr
    Path("s.yml").write_text("Schedule:\n  recurrence: {frequency: Day, interval: 1, start_time: 2026-06-07, time_of_day: 10:50}\n")
    made = as_json("schedules", "create", "c", "--pipeline", "small", "--file", "s.yml")["recurrence"]
    assert (made["start_time"], made["hours"], made["minutes"]) == ("2026-06-07", [10], [50])


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
