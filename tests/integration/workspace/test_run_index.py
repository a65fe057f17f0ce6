"""The runs of a workspace on SQLite and PostgreSQL: what is known of them, and who works at them."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from batchmill.errors import RegistryError
from batchmill.workspace.holder import Holder
from batchmill.workspace.registered_run import NewRun, RegisteredRun
from batchmill.workspace.registry import Registry
from batchmill.workspace.workspace import Workspace

CLAIMS = """
import sys
from batchmill.workspace.current import find_workspace
registry = find_workspace("default").registry
print(registry.claim_run("p"), flush=True)
sys.stdin.readline()
"""
ADDS_A_DETAIL = """
import sys
from batchmill.workspace.current import find_workspace
registry = find_workspace("default").registry
print("ready", flush=True)
sys.stdin.readline()
for n in range(5):
    registry.change_run("p", details={sys.argv[1] + str(n): n}, tags={sys.argv[1] + str(n): n})
    registry.log_metric("p", sys.argv[1], "value", n)
"""


@pytest.fixture
def registry(database: str) -> Registry:
    return Workspace.create("default", show_output=False).registry


@pytest.fixture
def pipeline(registry: Registry) -> RegisteredRun:
    return registry.add_run("p", kind="azureml.PipelineRun", name="mine", experiment="e", details={"graph": "g"}, tags={"a": 1})


def _known(registry: Registry, id: str) -> RegisteredRun:
    run = registry.run(id)
    assert run is not None
    return run


def _claiming() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CLAIMS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def test_a_run_is_added_and_changed(registry: Registry, pipeline: RegisteredRun) -> None:
    assert (pipeline.status, pipeline.tags, pipeline.attempts, pipeline.holder) == ("Queued", {"a": "1"}, 0, None)
    running = registry.change_run("p", status="Running", details={"k": [1]}, tags={"b": "2"}, properties={"x": "y"}, reuse_key="r")
    assert running is not None
    assert running.started is not None
    assert (running.details, running.tags, running.properties) == ({"graph": "g", "k": [1]}, {"a": "1", "b": "2"}, {"x": "y"})
    failed = registry.change_run("p", status="Failed", error="it broke", drop_tags=["a"])
    assert failed is not None
    assert (failed.error, failed.tags, failed.reuse_key, failed.started) == ("it broke", {"b": "2"}, "r", running.started)
    assert failed.ended is not None
    again = registry.change_run("p", status="Queued")
    assert again is not None
    assert (again.error, again.ended) == (None, None)
    assert json.dumps(again.as_dict())
    with pytest.raises(RegistryError):
        registry.add_run("p", kind="azureml.PipelineRun", name="mine")


def test_a_change_on_condition(registry: Registry, pipeline: RegisteredRun) -> None:
    assert registry.change_run("p", status="Running", if_status=("Completed", "Failed")) is None
    assert _known(registry, "p") == pipeline
    assert registry.change_run("q", status="Running") is None


def test_a_parallel_run_keeps_what_others_added(registry: Registry) -> None:
    registry.record_run("r", name="score", status="Running", folder="/r")
    registry.change_run("r", tags={"a": "b"}, properties={"c": "d"})
    registry.record_run("r", name="score", status="Completed", folder="/r", ended=datetime.now(UTC))
    run = _known(registry, "r")
    assert (run.kind, run.tags, run.properties, run.live_status) == ("parallel_run", {"a": "b"}, {"c": "d"}, "Completed")


def test_filters_and_pages(registry: Registry, pipeline: RegisteredRun) -> None:
    names = ["one", "two", "three"]
    steps = [NewRun(f"s{n}", "azureml.StepRun", name, "NotStarted", "e", parent="p", tags={"n": str(n)}) for n, name in enumerate(names)]
    registry.add_runs(steps)
    registry.change_run("s1", status="Completed", reuse_key="key")
    assert {run.id for run in registry.runs(parent="p")} == {"s0", "s1", "s2"}
    assert [run.id for run in registry.runs(kind="azureml.PipelineRun")] == ["p"]
    assert len(registry.runs(kind=("azureml.PipelineRun", "azureml.StepRun"))) == 4
    assert [run.id for run in registry.runs(parent="p", name="three")] == ["s2"]
    assert [run.id for run in registry.runs(reuse_key="key", status="Completed")] == ["s1"]
    assert registry.runs(reuse_key="other") == []
    assert [run.id for run in registry.runs(tags={"n": "2"})] == ["s2"]
    labelled = registry.runs(tags={"n": None})
    assert len(labelled) == 3
    first = registry.runs(tags={"n": None}, limit=2)
    assert first + registry.runs(tags={"n": None}, after=first[-1].id) == labelled
    assert registry.runs(properties={"n": "2"}) == []
    assert registry.remove_run("p")
    assert registry.runs() == []


def test_all_runs_are_added_or_none(registry: Registry, pipeline: RegisteredRun) -> None:
    with pytest.raises(RegistryError):
        registry.add_runs([NewRun("s", "azureml.StepRun", "one"), NewRun("p", "azureml.StepRun", "two")])
    assert [run.id for run in registry.runs()] == ["p"]


def test_one_process_at_a_time_works_at_a_run(registry: Registry, pipeline: RegisteredRun) -> None:
    registry.add_run("s", kind="azureml.StepRun", name="one", parent="p")
    first = _claiming()
    assert first.stdout is not None
    assert first.stdout.readline() == "True\n"
    assert not registry.claim_run("p")
    assert not registry.beat("p")
    registry.change_run("p", status="Running")
    registry.change_run("s", status="Running")
    assert _known(registry, "p").live_status == "Running"
    assert _known(registry, "s").live_status == "Running"
    assert _known(registry, "s").holder == _known(registry, "p").holder
    _kill(first)
    assert _known(registry, "p").live_status == "Interrupted"
    assert [run.live_status for run in registry.runs()] == ["Interrupted"] * 2
    assert registry.claim_run("p")
    assert registry.beat("p")
    assert (_known(registry, "p").attempts, _known(registry, "p").live_status) == (2, "Running")
    registry.release_run("p")
    assert _known(registry, "p").holder is None
    assert not registry.claim_run("unknown")


def test_many_processes_claim_at_once(registry: Registry, pipeline: RegisteredRun) -> None:
    processes = [_claiming() for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda process: process.stdout.readline(), processes))
    for process in processes:
        process.communicate("\n", timeout=30)
    assert sorted(answers) == ["False\n"] * 5 + ["True\n"]
    assert _known(registry, "p").attempts == 1


def test_a_run_that_nobody_takes_up(registry: Registry, pipeline: RegisteredRun) -> None:
    assert pipeline.live_status == "Queued"
    assert replace(pipeline, modified=datetime.now(UTC) - timedelta(minutes=2)).live_status == "Interrupted"
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    assert registry.hand_run_over("p", Holder(Holder.me().host, dead.pid, "1"))
    assert _known(registry, "p").live_status == "Interrupted"
    assert registry.claim_run("p")
    assert _known(registry, "p").live_status == "Queued"
    assert registry.hand_run_over("p", Holder.me())


def test_cancel(registry: Registry, pipeline: RegisteredRun) -> None:
    registry.add_run("s", kind="azureml.StepRun", name="one", parent="p", status="NotStarted")
    registry.add_run("done", kind="azureml.StepRun", name="two", parent="p", status="Completed")
    assert registry.claim_run("p")
    asked = registry.request_cancel("p")
    assert asked is not None
    assert (asked.status, asked.cancel_requested) == ("Queued", True)
    registry.release_run("p")
    assert registry.request_cancel("p") is not None
    assert [_known(registry, run).status for run in ("p", "s", "done")] == ["Canceled", "Canceled", "Completed"]
    again = registry.change_run("p", status="Queued")
    assert again is not None
    assert not again.cancel_requested
    assert registry.request_cancel("unknown") is None


def test_nothing_is_lost_when_many_change_at_once(registry: Registry, pipeline: RegisteredRun) -> None:
    command = [sys.executable, "-c", ADDS_A_DETAIL]
    processes = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "wxyz"]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    run = _known(registry, "p")
    assert len(run.details) == 21
    assert len(run.tags) == 21
    logged = registry.metrics("p")
    assert len(logged) == 20
    assert [metric.value for metric in logged if metric.name == "x"] == [0, 1, 2, 3, 4]


def test_metrics_of_any_value(registry: Registry) -> None:
    values = [1, 2.5, "text \x00", True, None, [1, 2], {"a": [1]}, math.inf]
    for value in values:
        registry.log_metric("r", "m", "value", value)
    registry.log_metric("r", "n", "value", math.nan)
    assert [metric.value for metric in registry.metrics("r")[:-1]] == values
    assert math.isnan(registry.metrics("r")[-1].value)
    assert registry.metrics("other") == []


def test_experiments(registry: Registry, pipeline: RegisteredRun) -> None:
    made = registry.experiment("new")
    assert registry.experiment("new") == made
    assert registry.experiments() == ["e", "new"]
    assert registry.change_experiment("new", {"a": 1}).tags == {"a": "1"}
    assert registry.change_experiment("new", {"b": 2}).tags == {"a": "1", "b": "2"}
    assert registry.experiment("new").id == made.id
