"""Schedules as the SDK's users know them: specification K77 and K78, with a clock of the test's own and runs that really run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azureml.core import Datastore
from azureml.data.datapath import DataPath, DataPathComputeBinding
from azureml.pipeline.core import Pipeline, PipelineParameter
from azureml.pipeline.core.schedule import Schedule, ScheduleRecurrence, TimeZone
from azureml.pipeline.steps import PythonScriptStep

from tests.scheduled import ServedWorkspace, end_runs, small_published, without_runners

LISTS = """
import os, sys
path = sys.argv[1]
print("got", os.path.basename(path), open(path).read() if os.path.isfile(path) else sorted(os.listdir(path)))
"""


def test_k77_a_start_in_the_past_gives_the_next_of_its_grid(ws: Any, tmp_path: Path, monkeypatch: Any) -> None:
    without_runners(monkeypatch)
    published = small_published(ws, tmp_path / "script")
    start = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(minutes=10)
    recurrence = ScheduleRecurrence(frequency="Minute", interval=15, start_time=start, time_zone=TimeZone.UTC)
    schedule = Schedule.create(ws, "k77", pipeline_id=published.id, experiment_name="k77", recurrence=recurrence)
    served = ServedWorkspace(ws)
    assert schedule.next_time == (start + timedelta(minutes=15)).replace(tzinfo=UTC)
    served.turn(minutes=4, seconds=55)
    assert schedule.get_pipeline_runs() == []
    served.turn(seconds=6)
    assert len(schedule.get_pipeline_runs()) == 1
    end_runs(ws)
    schedule.disable()
    served.turn(minutes=45)
    assert len(schedule.fires()) == 1
    monkeypatch.setattr("batchmill.pipeline.schedule.datetime", Standing(served.clock.now))
    schedule.enable()
    served.turn(minutes=15)
    assert [fire.outcome for fire in schedule.fires()] == ["Started", "Started"]


class Standing:
    """A class of moments whose `now` is one of them."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def now(self, zone: Any) -> datetime:
        return self._moment.astimezone(zone)


def test_k78_a_new_file_starts_one_run_with_its_path(ws: Any, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.mkdir()
    (script / "lists.py").write_text(LISTS)
    (tmp_path / "old.csv").write_text("old")
    store = Datastore(ws, "workspaceblobstore")
    store.upload_files([str(tmp_path / "old.csv")], target_path="incoming", show_progress=False)

    bound = (PipelineParameter("input_data", DataPath(store, "incoming")), DataPathComputeBinding(mode="mount"))
    step = PythonScriptStep("lists.py", arguments=[bound], inputs=[bound], compute_target="local", source_directory=str(script))
    published = Pipeline(ws, [step]).publish(name="lists")
    schedule = Schedule.create(
        ws,
        "k78",
        published.id,
        "k78",
        datastore=store,
        polling_interval=1,
        data_path_parameter_name="input_data",
        path_on_datastore="incoming",
    )
    assert schedule.recurrence is None
    served = ServedWorkspace(ws)
    served.turn(minutes=2)
    assert schedule.get_pipeline_runs() == []

    (tmp_path / "new.csv").write_text("fresh")
    store.upload_files([str(tmp_path / "new.csv")], target_path="incoming/below", show_progress=False)
    served.turn(minutes=2)
    assert schedule.get_pipeline_runs() == []

    store.upload_files([str(tmp_path / "new.csv")], target_path="incoming", show_progress=False)
    served.turn(minutes=2)
    served.turn(minutes=2)
    (run,) = schedule.get_pipeline_runs()
    assert run.wait_for_completion(show_output=False) == "Finished"
    assert "got new.csv fresh" in run.find_step_run("lists.py")[0].get_job_log()
    (fire,) = schedule.fires()
    assert (fire.reason, fire.path) == ("new file", "incoming/new.csv")
