"""Experiments and their runs as SDK v1 sees them, on SQLite and PostgreSQL; nobody carries them out here."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import batchmill
from batchmill.pipeline.experiment import Experiment
from batchmill.pipeline.experiment_run import ExperimentRun
from batchmill.pipeline.pipeline_run import PipelineRun
from batchmill.pipeline.run_details import ParallelRunStepDetails, RunDetails
from batchmill.pipeline.script_run import ScriptRun
from batchmill.pipeline.step_run import StepRun
from batchmill.worker.offline_run import OfflineRun
from batchmill.workspace.exceptions import ActivityFailedException, ExperimentExecutionException, UserErrorException
from batchmill.workspace.workspace import Workspace

DIES = """
import sys
from batchmill.workspace.workspace import Workspace
registry = Workspace.get("team").registry
registry.claim_run("p")
registry.change_run("p", status="Running")
registry.change_run("s", status="Running")
"""


@pytest.fixture
def ws(database: str) -> Workspace:
    return Workspace.create("team", show_output=False)


@pytest.fixture
def experiment(ws: Workspace) -> Experiment:
    return Experiment(ws, "digits")


@pytest.fixture
def pipeline(ws: Workspace, experiment: Experiment) -> PipelineRun:
    """A pipeline run "p", held by this process, with a running step "s" called score."""
    folder = ws.folder / "pipeline_runs" / "p"
    step = folder / "steps" / "s"
    (step / "logs" / "user_logs").mkdir(parents=True)
    ws.registry.add_run("p", kind="azureml.PipelineRun", name="nightly", experiment="digits", folder=str(folder))
    ws.registry.claim_run("p")
    ws.registry.change_run("p", status="Running")
    labels = {"azureml.pipeline": "p", "azureml.nodeid": "0a0a0a0a"}
    ws.registry.add_run(
        "s", kind="azureml.StepRun", name="score", experiment="digits", parent="p", folder=str(step), tags=labels, properties=labels
    )
    ws.registry.change_run("s", status="Running")
    return PipelineRun(experiment, "p")


def _log(ws: Workspace) -> Path:
    return ws.folder / "pipeline_runs" / "p" / "steps" / "s" / "logs" / "user_logs" / "std_log.txt"


def _end(ws: Workspace, error: str | None = None) -> None:
    status = "Completed" if error is None else "Failed"
    ws.registry.change_run("s", status=status, error=error)
    ws.registry.change_run("p", status=status, error=error and f"step score failed: {error}")


def test_experiments_are_made_when_they_are_named(ws: Workspace) -> None:
    assert dict(ws.experiments) == {}
    one = Experiment(ws, "digits")
    assert str(one) == repr(one) == "Experiment(Name: digits,\nWorkspace: team)"
    assert ws.experiments["digits"] == one
    assert one.id == Experiment(ws, "digits").id
    one.tag("team", "vision")
    assert Experiment(ws, "digits").tags == {"team": "vision"}
    assert Experiment.list(ws, tags={"team": "vision"}) == [one]
    assert Experiment.list(ws, tags="other") == []
    assert one.remove_tags("team") == {}
    with pytest.raises(UserErrorException, match="An experiment cannot be called 'a b'"):
        Experiment(ws, "a b")
    with pytest.raises(UserErrorException, match="There is no experiment 'nothing' in workspace team"):
        Experiment.get(ws, "nothing")
    with pytest.raises(UserErrorException, match="An object of type int cannot be submitted"):
        one.submit(3)


def test_runs_are_found_as_what_they_are(ws: Workspace, experiment: Experiment, pipeline: PipelineRun) -> None:
    logged = experiment.start_logging()
    assert [type(run) for run in experiment.get_runs()] == [ScriptRun, PipelineRun]
    assert [run.id for run in experiment.get_runs(include_children=True)] == [logged.id, "s", "p"]
    assert [run.id for run in ExperimentRun.list(experiment, status="Running", type="azureml.PipelineRun")] == ["p"]
    assert type(ws.get_run("s")) is StepRun
    assert ws.get_run("s").parent == pipeline
    assert pipeline.parent is None
    assert (pipeline.number, logged.number) == (1, 2)
    assert [step.id for step in pipeline.find_step_run("score")] == ["s"]
    assert pipeline.find_step_run("other") == []
    assert [step.name for step in pipeline.get_children(status="Running")] == ["score"]
    (step,) = pipeline.get_steps()
    assert (step.pipeline_run_id, step.node_id, step.type) == ("p", "0a0a0a0a", "azureml.StepRun")
    assert repr(pipeline) == "Run(Experiment: digits,\nId: p,\nType: azureml.PipelineRun,\nStatus: Running)"
    for cell in ("<td>digits</td>", "<th>Details Page</th>", "<th>Docs Page</th>"):
        assert cell in pipeline._repr_html_()


def test_a_run_that_is_not_there(ws: Workspace, experiment: Experiment, pipeline: PipelineRun) -> None:
    with pytest.raises(UserErrorException, match="there is no run nothing in workspace team"):
        PipelineRun(experiment, "nothing")
    with pytest.raises(UserErrorException, match="there is no run nothing in workspace team"):
        ws.get_run("nothing")
    with pytest.raises(UserErrorException, match="Run s is no run of a pipeline"):
        PipelineRun(experiment, "s")
    with pytest.raises(UserErrorException, match="Run p is no run of a step"):
        StepRun(experiment, "p")


def test_waiting_prints_what_azure_ml_prints(ws: Workspace, pipeline: PipelineRun, capsys: pytest.CaptureFixture[str]) -> None:
    _log(ws).write_text("first\nsecond")
    ender = threading.Timer(0.3, _end, [ws])
    ender.start()
    assert pipeline.wait_for_completion() == "Finished"
    ender.join()
    lines = capsys.readouterr().out.splitlines()
    url = (ws.folder / "pipeline_runs" / "p").as_uri()
    expected = [
        "PipelineRunId: p",
        f"Link to Azure Machine Learning Portal: {url}",
        "PipelineRun Status: Running",
        "StepRunId: s",
        f"Link to Azure Machine Learning Portal: {url}/steps/s",
        "StepRun( score ) Status: Running",
        "Streaming user_logs/std_log.txt",
        "=" * 31,
        "first",
        "second",
        "StepRun(score) Execution Summary",
        "=" * 32,
        "StepRun( score ) Status: Finished",
        "PipelineRun Execution Summary",
        "=" * 29,
        "PipelineRun Status: Finished",
    ]
    assert [line for line in lines if line and not line.startswith("{")] == expected
    assert sum(line.startswith("{'runId': ") for line in lines) == 2
    assert pipeline.get_details()["status"] == "Completed"
    assert pipeline.status == "Completed"


def test_k71_the_error_of_a_failed_run(ws: Workspace, pipeline: PipelineRun, capsys: pytest.CaptureFixture[str]) -> None:
    _end(ws, "no such model")
    with pytest.raises(ActivityFailedException, match="step score failed: no such model") as raised:
        pipeline.wait_for_completion(show_output=False)
    assert '"code": "UserError"' in raised.value.error_details
    assert pipeline.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
    assert capsys.readouterr().out.startswith('Error:\n{\n    "error": {')
    (step,) = pipeline.get_steps()
    assert step.wait_for_completion(raise_on_error=False) == "Failed"
    with pytest.raises(ActivityFailedException, match="no such model"):
        step.wait_for_completion(show_output=False)


def test_patience_ends(pipeline: PipelineRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.wait_for_completion(show_output=False, timeout_seconds=0.1) == "Running"
    assert pipeline.wait_for_completion(show_output=True, timeout_seconds=0.1) == "Running"
    (step,) = pipeline.get_steps()
    assert step.wait_for_completion(timeout_seconds=0) == "Running"
    assert capsys.readouterr().out.count("Timed out of waiting. Elapsed time: ") == 3


def test_ctrl_c_ends_the_waiting_and_not_the_run(pipeline: PipelineRun) -> None:
    for waiting in (pipeline.wait_for_completion, ExperimentRun(pipeline.experiment, "p").wait_for_completion):
        timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer.start()
        try:
            with pytest.raises(ExperimentExecutionException, match="goes on in its own process"):
                waiting(show_output=False)
        finally:
            timer.join()
            signal.signal(signal.SIGINT, before)
    assert pipeline.get_status() == "Running"


def test_waiting_for_a_run_whose_process_died_ends_and_names_the_cure(ws: Workspace, experiment: Experiment, pipeline: PipelineRun) -> None:
    ws.registry.release_run("p")
    subprocess.run([sys.executable, "-c", DIES], check=True, timeout=60)
    assert pipeline.get_status() == "NotResponding"
    with pytest.raises(ActivityFailedException, match="Go on with it: batchmill resume p"):
        pipeline.wait_for_completion(show_output=False)
    (step,) = pipeline.get_steps()
    assert step.wait_for_completion(raise_on_error=False) == "NotResponding"
    assert step.get_details()["error"]["error"]["code"] == "Interrupted"


def test_files_and_logs(ws: Workspace, pipeline: PipelineRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (step,) = pipeline.get_steps()
    assert step.get_stdout_log() is None
    _log(ws).write_text("hello\n")
    step.upload_file("outputs/scores.csv", io.BytesIO(b"1,2"))
    Path("folder/sub").mkdir(parents=True)
    Path("folder/sub/a.txt").write_text("a")
    step.upload_folder("kept", "folder")
    assert (ws.folder / "workspaceblobstore/azureml/ExperimentRun/dcid.s/outputs/scores.csv").read_text() == "1,2"
    assert step.get_file_names() == ["kept/sub/a.txt", "outputs/scores.csv", "user_logs/std_log.txt"]
    step.download_file("outputs/scores.csv")
    assert Path("scores.csv").read_text() == "1,2"
    step.download_files("kept/", "here", append_prefix=False)
    assert Path("here/sub/a.txt").read_text() == "a"
    assert step.get_job_log() == step.get_stdout_log() == "hello\n"
    assert step.get_details_with_logs()["logFiles"] == {"user_logs/std_log.txt": "hello\n"}
    assert [Path(path).read_text() for path in step.get_all_logs(tmp_path / "logs")] == ["hello\n"]
    with pytest.raises(UserErrorException, match=r"outputs/scores.csv already exists"):
        step.upload_file("outputs/scores.csv", "scores.csv")
    with pytest.raises(UserErrorException, match=r"File with path nothing was not found, available files include: kept/sub/a.txt"):
        step.download_file("nothing")
    with pytest.raises(UserErrorException, match="does not lead out of it"):
        step.upload_file("../x", "scores.csv")
    model = step.register_model("digits", "kept")
    assert (model.name, model.version, model.run_id) == ("digits", 1, "s")
    with pytest.raises(UserErrorException, match="Could not locate the provided model_path other"):
        step.register_model("digits", "other")


def test_metrics_tags_and_properties(pipeline: PipelineRun) -> None:
    (step,) = pipeline.get_steps()
    step.log("loss", 2)
    step.log("loss", 1.5)
    pipeline.log_row("table", a=1)
    assert step.get_metrics() == {"loss": [2, 1.5]}
    assert pipeline.get_metrics(recursive=True) == {"p": {"table": {"a": 1}}, "s": {"loss": [2, 1.5]}}
    pipeline.tag("a", "1")
    pipeline.set_tags({"b": 2, "c": None})
    assert pipeline.tags == {"a": "1", "b": "2", "c": ""}
    assert pipeline.remove_tags(["a", "c"]) == {"b": "2"}
    pipeline.add_properties({"x": 1})
    pipeline.add_properties({"x": 1})
    assert pipeline.get_properties() == {"x": "1"}
    with pytest.raises(UserErrorException, match="Property x of run p is '1'"):
        pipeline.add_properties({"x": 2})


def test_a_run_carried_out_here(experiment: Experiment) -> None:
    with experiment.start_logging() as run:
        assert run.get_status() == "Running"
        child = run.child_run("part")
        child.complete()
    assert run.get_status() == "Completed"
    run.fail("too late")
    assert run.get_status() == "Completed"
    assert [one.name for one in run.get_children()] == ["part"]
    with pytest.raises(ZeroDivisionError), experiment.start_logging() as run:
        raise ZeroDivisionError("by hand")
    assert run.get_details()["error"]["error"]["message"] == "ZeroDivisionError: by hand"
    with pytest.raises(ActivityFailedException, match="by hand"):
        run.wait_for_completion()


def test_cancel(ws: Workspace, pipeline: PipelineRun) -> None:
    pipeline.cancel()
    assert (pipeline.status, pipeline.get_status()) == ("CancelRequested", "Running")
    ws.registry.change_run("p", status="Canceled")
    assert pipeline.wait_for_completion(show_output=False) == "Canceled"


def test_the_context_of_a_process(ws: Workspace, pipeline: PipelineRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZUREML_RUN_ID", raising=False)
    assert isinstance(ExperimentRun.get_context(), OfflineRun)
    with pytest.raises(UserErrorException, match="This process belongs to no run"):
        ExperimentRun.get_context(allow_offline=False)
    monkeypatch.setenv("AZUREML_RUN_ID", "s")
    monkeypatch.setenv("AZUREML_ARM_WORKSPACE_NAME", "team")
    assert ExperimentRun.get_context().id == "s"


def test_run_details(ws: Workspace, pipeline: PipelineRun, capsys: pytest.CaptureFixture[str]) -> None:
    RunDetails(pipeline).show()
    shown = capsys.readouterr().out
    assert shown.startswith("Run p (nightly): Running, 0 of 1 steps, 0:0")
    assert "batchmill runs show p" in shown
    _end(ws, "boom")
    data = RunDetails(pipeline).get_widget_data()
    assert (data["status"], data["run_id"]) == ("Failed", "p")
    (child,) = data["child_runs"]
    assert (child["name"], child["status"], child["error"]) == ("score", "Failed", "boom")
    assert ParallelRunStepDetails(workspace=ws, run_id="p", step_name="score").run_instance.id == "s"
    with pytest.raises(UserErrorException, match="Run p has no step called other"):
        ParallelRunStepDetails(pipeline, step_name="other")
    with pytest.raises(UserErrorException, match="RunDetails shows a run of an experiment"):
        RunDetails(3)  # type: ignore[arg-type]


def test_names_of_the_front_door() -> None:
    assert batchmill.Experiment is Experiment
    assert batchmill.PipelineRun is PipelineRun
