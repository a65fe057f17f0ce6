"""The sensors of the example, scored by a step each and by one step for all (acceptance case K08)."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.test_k01_k03_models import python
from tests.conftest import Project

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "sensors"
COLUMNS = ["TS", "Device", "Sensor", "Val", "Prediction"]
SENSORS = [f"{device}_{sensor}" for device in (1, 2, 3) for sensor in (1, 2, 3, 4, 5)]
STEPS = """
import json
from azureml.core import Workspace
ws = Workspace.from_config()
run = next(iter(ws.experiments["EXPERIMENT"].get_runs()))
steps = {}
for step in run.get_steps():
    output = step.get_output_data("preds")
    output.download("got")
    store = output.datastore.container_name
    steps[step.name] = {"status": step.get_status(), "path": output.path_on_datastore, "store": store, "id": step.id}
print(json.dumps(steps))
"""
ONE_STEP = """
import json
from azureml.core import Workspace
ws = Workspace.from_config()
run = next(iter(ws.experiments["sensors-in-one-step"].get_runs()))
(step,) = run.find_step_run("score-sensors")
output = step.get_output_data("predictions")
output.download("one")
print(json.dumps({"status": run.get_status(), "path": output.path_on_datastore}))
"""
SCHEDULES = """
import json
from azureml.core import Workspace
from azureml.pipeline.core.schedule import Schedule
ws = Workspace.from_config()
(schedule,) = Schedule.list(ws)
last = schedule.get_last_pipeline_run()
print(json.dumps({"status": schedule.status, "frequency": schedule.recurrence.frequency, "run": last.get_status() if last else None}))
"""


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Readings and models of three devices with five sensors each, in ``plant/``, and the first run of the schedule over."""
    folder = tmp_path_factory.mktemp("sensors")
    project = Project(folder / "project", folder / "home")
    project.folder.mkdir()
    example(project, "make_data.py", "plant")
    said = example(project, "pipeline_as_microsoft.py", "plant", "--schedule")
    assert said.splitlines()[-1] == "Schedule sensors-hourly is Active: every hour, 15 steps."
    until(lambda: schedule(project)["run"] in ("Finished", "Failed"), 240)
    return project


def schedule(project: Project) -> dict[str, Any]:
    """The schedule, and how its last run stands."""
    return dict(json.loads(python(project, SCHEDULES)))


def example(project: Project, script: str, *words: str) -> str:
    command = [sys.executable, str(EXAMPLE / script), *words]
    ended = subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def readings(project: Project) -> list[dict[str, str]]:
    with open(project.folder / "plant" / "data" / "sensor_data.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predictions(paths: list[Path], delimiter: str = ",") -> Counter[tuple[str, ...]]:
    rows: Counter[tuple[str, ...]] = Counter()
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            rows.update((row["Device"], row["Sensor"], row["Val"], row["Prediction"]) for row in reader)
            assert reader.fieldnames == COLUMNS
    return rows


def steps_of(project: Project, experiment: str) -> dict[str, dict[str, Any]]:
    return dict(json.loads(python(project, STEPS.replace("EXPERIMENT", experiment))))


def files_of(project: Project, steps: dict[str, dict[str, Any]]) -> list[Path]:
    return [path for step in steps.values() for path in (project.folder / "got" / step["path"]).iterdir()]


def test_the_data_is_the_same_each_time(sensors: Project) -> None:
    rows = readings(sensors)
    assert len(rows) == 900
    assert {f"{row['Device']}_{row['Sensor']}" for row in rows} == set(SENSORS)
    first = (sensors.folder / "plant" / "data" / "sensor_data.csv").read_bytes()
    example(sensors, "make_data.py", "plant")
    assert (sensors.folder / "plant" / "data" / "sensor_data.csv").read_bytes() == first


def test_k08_one_step_a_sensor_published_and_scheduled(sensors: Project) -> None:
    assert schedule(sensors) == {"status": "Active", "frequency": "Hour", "run": "Finished"}
    steps = steps_of(sensors, "sensors-step-by-step")
    assert sorted(steps) == SENSORS
    assert {step["status"] for step in steps.values()} == {"Finished"}
    assert {step["store"] for step in steps.values()} == {"preds"}
    assert all(step["path"] == f"azureml/{step['id']}/preds" for step in steps.values())
    files = files_of(sensors, steps)
    assert sorted(path.name for path in files) == [f"preds_{name}.csv" for name in SENSORS]
    found = predictions(files)
    assert found.total() == 900
    off = sum(number for row, number in found.items() if row[3] == "-1")
    assert 10 < off < 120


def test_one_step_for_all_predicts_the_same(sensors: Project) -> None:
    said = example(sensors, "pipeline_recommended.py", "plant")
    assert said.splitlines()[-1].startswith("15 sensors: registered and partitioned in ")
    told = json.loads(python(sensors, ONE_STEP))
    assert told["status"] == "Finished"
    one = predictions([sensors.folder / "one" / told["path"] / "predictions.txt"], " ")
    assert one == predictions(files_of(sensors, steps_of(sensors, "sensors-step-by-step")))
