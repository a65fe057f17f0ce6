"""Runs of pipelines as their users meet them: submitted through the SDK, looked at, followed, canceled and resumed by commands."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.experiment import Experiment
from batchmill.pipeline.experiment_run import ExperimentRun
from batchmill.pipeline.output_dataset import OutputFileDatasetConfig
from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.parallel_run_step import ParallelRunStep
from batchmill.pipeline.pipeline import Pipeline
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.pipeline_run import PipelineRun
from batchmill.pipeline.python_script_step import PythonScriptStep
from batchmill.pipeline.script_run import ScriptRun
from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.environment import Environment
from batchmill.workspace.exceptions import ActivityFailedException, UserErrorException
from batchmill.workspace.run_configuration import ScriptRunConfig
from batchmill.workspace.workspace import Workspace
from tests.acceptance.conftest import until
from tests.acceptance.test_cli_terminal import on_a_terminal
from tests.conftest import Project

GREETS = """
import os, sys, time
print("hello", *sys.argv[1:], flush=True)
while len(sys.argv) > 1 and sys.argv[1] == "wait" and not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
print("bye")
"""
SCORES = """
import os

def run(mini_batch):
    print("scoring", len(mini_batch))
    for path in mini_batch:
        if "bad" in path:
            raise ValueError("a bad file")
    return [os.path.basename(path) for path in mini_batch]
"""
FAILS = """
import os, sys
print("about to fail")
sys.exit(0 if os.path.exists(sys.argv[1]) else 3)
"""


@pytest.fixture
def ws(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace, meant by the commands and by this process."""
    from batchmill.workspace.database import close_databases

    monkeypatch.setenv("BATCHMILL_HOME", str(project.home))
    monkeypatch.setenv("BATCHMILL_WORKSPACE", "team")
    monkeypatch.chdir(project.folder)
    project.write({"src/greet.py": GREETS, "src/fail.py": FAILS})
    yield Workspace.create("team", show_output=False)
    close_databases()


def _step(script: str, name: str, *arguments: str) -> PythonScriptStep:
    return PythonScriptStep(
        script, name, list(arguments), compute_target="local", source_directory="src", allow_reuse=False, outputs=None, inputs=None
    )


def _waiting(ws: Workspace) -> tuple[PipelineRun, Path]:
    """A run whose first step waits for a file."""
    gate = Path("gate").absolute()
    first, second = _step("greet.py", "first", "wait", str(gate)), _step("greet.py", "second")
    second.run_after(first)
    return Pipeline(ws, [second]).submit("digits"), gate


def _failing(ws: Workspace, **options: Any) -> PipelineRun:
    """A run of which one step fails until there is a file ``fixed``; one needs it, one does not."""
    broken, needs, free = _step("fail.py", "broken", os.path.abspath("fixed")), _step("greet.py", "needs"), _step("greet.py", "free")
    needs.run_after(broken)
    free.run_after(_begins := _step("greet.py", "begins"))
    broken.run_after(_begins)
    return Pipeline(ws, [needs, free]).submit("digits", **options)


def _statuses(run: PipelineRun) -> dict[str, str]:
    return {step.name: step.get_status() for step in run.get_steps()}


def test_k71_a_failed_step(ws: Workspace, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = _failing(ws, continue_on_step_failure=True)
    with pytest.raises(ActivityFailedException, match=r"Step broken failed: The script fail.py ended with exit code 3"):
        run.wait_for_completion()
    assert run.get_status() == "Failed"
    assert _statuses(run) == {"begins": "Finished", "broken": "Failed", "needs": "Canceled", "free": "Finished"}
    printed = capsys.readouterr().out
    assert re.search(r"^StepRun\( broken \) Status: Failed$", printed, re.M)
    assert "Streaming user_logs/std_log.txt\n===============================\nabout to fail\n" in printed
    other = _failing(ws)
    assert other.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
    assert _statuses(other)["needs"] == "Canceled"

    shown = project.batchmill("runs", "show", run.id)
    assert re.search(r"^status +Failed$", shown.stdout, re.M)
    assert re.search(r"^broken +Failed +0:0\d +\S+  The script fail.py ended with exit code 3: about to fail$", shown.stdout, re.M)
    assert re.search(r"^needs +Canceled +\S+  not started, because step broken failed$", shown.stdout, re.M)
    told = json.loads(project.batchmill("runs", "show", run.id, "--json").stdout)
    assert (told["kind"], told["experiment"], told["status"]) == ("azureml.PipelineRun", "digits", "Failed")
    assert {step["name"]: step["status"] for step in told["steps"]} == {
        "begins": "Completed",
        "broken": "Failed",
        "needs": "Canceled",
        "free": "Completed",
    }
    errors = project.batchmill("runs", "errors", run.id)
    assert errors.stdout.splitlines()[0] == "step broken  Failed  The script fail.py ended with exit code 3: about to fail"
    assert "Log of step broken: batchmill runs logs " in errors.stderr
    (first, _) = json.loads(project.batchmill("runs", "errors", run.id, "--json").stdout)
    assert (first["name"], first["parallel_run"]) == ("broken", None)

    Path("fixed").touch()
    resumed = project.batchmill("resume", run.id)
    assert (resumed.returncode, resumed.stdout) == (0, ""), resumed.stderr
    assert "step broken: Completed" in resumed.stderr
    assert "step needs: Completed" in resumed.stderr
    assert set(_statuses(run).values()) == {"Finished"}
    again = project.batchmill("resume", run.id, "--json")
    assert (again.returncode, json.loads(again.stdout)["status"]) == (0, "Completed")


def test_runs_of_all_kinds_are_listed(ws: Workspace, project: Project) -> None:
    project.write({"score.py": "def run(mini_batch):\n    return [str(one) for one in mini_batch]\n", "in/a.txt": "a"})
    assert project.batchmill("run", "score.py", "--input", "in", "--quiet").returncode == 0
    run = Pipeline(ws, [_step("greet.py", "greet")]).submit("digits")
    assert run.wait_for_completion(show_output=False) == "Finished"
    script = Experiment(ws, "other").submit(ScriptRunConfig("src", "greet.py", ["loudly"]), tags={"team": "vision"})
    script.wait_for_completion()

    lines = [line.split() for line in project.batchmill("runs", "list").stdout.splitlines()]
    assert lines[0][:5] == ["ID", "KIND", "NAME", "STATUS", "STARTED"]
    assert [line[1] for line in lines[1:]] == ["script", "pipeline", "parallel"]
    assert [line[3] for line in lines[1:]] == ["Completed"] * 3
    listed = json.loads(project.batchmill("runs", "list", "--json").stdout)
    assert [one["id"] for one in listed][:2] == [script.id, run.id]
    assert listed[0]["tags"] == {"team": "vision"}
    one = project.batchmill("runs", "list", "--limit", "1")
    assert [line.split()[0] for line in one.stdout.splitlines()[1:]] == [script.id]
    rest = json.loads(project.batchmill("runs", "list", "--json", "--after", script.id).stdout)
    assert [one["id"] for one in rest] == [run.id, listed[2]["id"]]
    assert [one["id"] for one in json.loads(project.batchmill("runs", "list", "--json", "--after", run.id).stdout)] == [listed[2]["id"]]
    of_experiment = json.loads(project.batchmill("runs", "list", "--json", "--experiment", "digits").stdout)
    assert [one["id"] for one in of_experiment] == [run.id]
    steps = project.batchmill("runs", "list", "--kind", "step").stdout.splitlines()
    assert [line.split()[1:4] for line in steps[1:]] == [["step", "greet", "Completed"]]
    assert json.loads(project.batchmill("runs", "list", "--json", "--kind", "parallel").stdout) == [listed[2]]
    wrong = project.batchmill("runs", "list", "--kind", "nothing")
    assert (wrong.returncode, "parallel, pipeline, script, step" in wrong.stderr) == (2, True)
    assert json.loads(project.batchmill("runs", "show", "last", "--json").stdout)["id"] == script.id
    assert json.loads(project.batchmill("runs", "show", run.id[:8], "--json").stdout)["id"] == run.id
    missing = project.batchmill("runs", "show", "nothing")
    assert (missing.returncode, "There is no run with the id or name 'nothing'" in missing.stderr) == (2, True)


def test_logs(ws: Workspace, project: Project) -> None:
    run, gate = _waiting(ws)
    until(lambda: "hello" in project.batchmill("runs", "logs", run.id, "--step", "first").stdout)
    follower = project.batchmill
    gate.touch()
    followed = follower("runs", "logs", run.id, "--follow").stdout
    assert "==> step first: user_logs/std_log.txt <==\nhello wait" in followed
    assert followed.rstrip().endswith("Completed") or "bye" in followed
    text = project.batchmill("runs", "logs", run.id).stdout
    assert "==> runner.txt <==" in text
    assert text.index("step first: user_logs") < text.index("step second: user_logs")
    assert project.batchmill("runs", "logs", run.id, "--step", "second").stdout == (
        "==> step second: user_logs/std_log.txt <==\nhello\nbye\n"
    )
    missing = project.batchmill("runs", "logs", run.id, "--step", "third")
    assert (missing.returncode, "has no step called 'third'. Its steps: " in missing.stderr) == (2, True)
    wrong = project.batchmill("runs", "logs", run.id, "--mini-batch", "0")
    assert (wrong.returncode, "is a run of a pipeline" in wrong.stderr) == (2, True)
    store = ws.folder / "workspaceblobstore" / "azureml" / "ExperimentRun"
    (step,) = run.find_step_run("first")
    assert (store / f"dcid.{step.id}" / "user_logs" / "std_log.txt").read_text().endswith("bye\n")
    assert "runner.txt" in run.get_file_names()[0]


def test_cancel_and_resume(ws: Workspace, project: Project) -> None:
    run, gate = _waiting(ws)
    until(lambda: run.get_status() == "Running" and _statuses(run).get("first") == "Running")
    canceled = project.batchmill("runs", "cancel", run.id)
    assert canceled.returncode == 0
    assert canceled.stderr == f"Run {run.id} (digits) is canceled. Go on with it: batchmill resume {run.id}\n"
    assert run.wait_for_completion(show_output=False) == "Canceled"
    assert _statuses(run) == {"first": "Canceled", "second": "Canceled"}
    assert "nothing to cancel" in project.batchmill("runs", "cancel", run.id).stderr
    gate.touch()
    assert project.batchmill("resume", run.id, "--quiet").stderr == ""
    assert run.get_status() == "Finished"


def test_a_killed_runner_is_seen_and_the_run_goes_on(ws: Workspace, project: Project) -> None:
    run, gate = _waiting(ws)
    until(lambda: _statuses(run).get("first") == "Running")
    holder = run.row.holder
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    until(lambda: run.get_status() == "NotResponding")
    with pytest.raises(ActivityFailedException, match=f"Go on with it: batchmill resume {run.id}"):
        run.wait_for_completion(show_output=False)
    shown = project.batchmill("runs", "show", run.id).stdout
    assert re.search(r"^status +Interrupted$", shown, re.M)
    assert re.search(rf"^resume +batchmill resume {run.id}$", shown, re.M)
    gate.touch()
    resumed = project.batchmill("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert _statuses(run) == {"first": "Finished", "second": "Finished"}
    (step,) = run.find_step_run("first")
    wrong = project.batchmill("resume", step.id)
    assert (wrong.returncode, f"A pipeline goes on as a whole: batchmill resume {run.id}" in wrong.stderr) == (2, True)


def test_a_single_script(ws: Workspace, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment(ws, "digits")
    run = experiment.submit(ScriptRunConfig("src", "greet.py", ["to", 3]))
    assert isinstance(run, ScriptRun)
    told = run.wait_for_completion(show_output=True)
    assert (told["status"], told["runDefinition"]["script"]) == ("Completed", "greet.py")
    printed = capsys.readouterr().out
    assert printed.startswith(f"RunId: {run.id}\nWeb View: file://")
    assert "\nStreaming user_logs/std_log.txt\n===============================\nhello to 3\nbye\n" in printed
    assert "\nExecution Summary\n=================\n" in printed
    assert run.get_file_names() == ["logs/runner.txt", "user_logs/std_log.txt"]
    assert [type(one) for one in experiment.get_runs()] == [ScriptRun]
    failed = experiment.submit(ScriptRunConfig("src", command="echo out; exit 4"))
    with pytest.raises(ActivityFailedException, match="ended with exit code 4: out"):
        failed.wait_for_completion()
    assert "hello to 3" in project.batchmill("runs", "logs", run.id).stdout
    with pytest.raises(UserErrorException, match="needs script or command"):
        experiment.submit(ScriptRunConfig("src"))


def test_a_parallel_step(ws: Workspace, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run, step = _scoring(ws, project)
    assert run.wait_for_completion() == "Finished"
    printed = capsys.readouterr().out
    assert re.search(r"^Streaming logs/job_progress_overview\.\d{10}\.txt$", printed, re.M)
    (made,) = run.find_step_run("score")
    data = made.get_output_data("scores")
    assert (data.datastore_name, data.path_on_datastore) == ("workspaceblobstore", f"azureml/{made.id}/scores")
    data.download("here", show_progress=False)
    lines = Path("here", data.path_on_datastore, "parallel_run_step.txt").read_text().splitlines()
    assert sorted(lines) == sorted(f"{number}.txt" for number in range(10))
    assert run.get_pipeline_output("final").path_on_datastore == data.path_on_datastore
    with pytest.raises(ValueError, match="Step score has no output other; its outputs are scores"):
        made.get_output_data("other")
    with pytest.raises(ValueError, match="Pipeline output with name other does not exist"):
        run.get_pipeline_output("other")
    assert "Processed 3 of 3 mini batches" in (made.get_job_log() or "")
    assert made.get_metrics()["Failed Items"] == 1
    (consumed,) = made.get_details()["inputDatasets"]
    assert consumed["consumptionDetails"]["inputName"] == "files"
    run.save("kept")
    assert json.loads(Path("kept", f"{run.id}.json").read_text())["nodes"][0]["name"] == "score"

    told = json.loads(project.batchmill("runs", "show", run.id, "--json").stdout)
    parallel = told["steps"][0]["parallel_run"]
    assert "bad.txt" in project.batchmill("runs", "errors", parallel).stdout
    assert "3/3 mini-batches, 11 items, 1 failed" in project.batchmill("runs", "show", run.id).stdout
    printed = project.batchmill("runs", "logs", run.id).stdout  # which of the processes got work is up to them
    assert re.search(r"==> step score: logs/user/stdout/node0/process00\d\.stdout\.txt <==", printed)
    assert [one["id"] for one in json.loads(project.batchmill("runs", "list", "--json").stdout)] == [run.id]

    again = Pipeline(ws, [step]).submit("digits")
    assert again.wait_for_completion() == "Finished"
    assert "StepRun( score ) reused: same script, inputs, environment" in capsys.readouterr().out
    (reused,) = again.get_steps()
    assert reused.properties["azureml.reusedrunid"] == made.id
    assert reused.get_output_data("scores").path_on_datastore == data.path_on_datastore
    assert reused.get_job_log() == made.get_job_log()
    assert re.search(r"^score +Completed \(reused\) ", project.batchmill("runs", "show", again.id).stdout, re.M)

    assert project.batchmill("runs", "remove", again.id).returncode == 0
    removed = project.batchmill("runs", "remove", run.id)
    assert removed.stderr == f"Removed run {run.id} (digits); what it left in datastores stays.\n"
    assert list((project.home / "runs").iterdir()) == []
    assert not Path(told["folder"]).exists()
    assert json.loads(project.batchmill("runs", "list", "--json").stdout) == []


def _scoring(ws: Workspace, project: Project) -> tuple[PipelineRun, ParallelRunStep]:
    """A run that scores eleven files on a compute target, one of which is bad."""
    project.write({"src/score.py": SCORES, **{f"in/{number}.txt": "x" for number in range(10)}, "in/bad.txt": "x"})
    store: Any = ws.get_default_datastore()
    store.upload("in", "in", show_progress=False)
    target = ComputeTarget.create(ws, "cpu-cluster", AmlCompute.provisioning_configuration("STANDARD_D2_V2", max_nodes=1))
    config = ParallelRunConfig(
        environment=Environment("e"),
        entry_script="score.py",
        source_directory="src",
        error_threshold=5,
        output_action="append_row",
        mini_batch_size="5",
        compute_target=target,
        node_count=1,
    )
    scores = PipelineData("scores", datastore=store, pipeline_output_name="final")
    files = Dataset.File.from_files((store, "in")).as_named_input("files")
    step = ParallelRunStep(name="score", parallel_run_config=config, inputs=[files], output=scores)
    return Pipeline(ws, [step]).submit("digits"), step


def test_followed_on_a_terminal(ws: Workspace, project: Project) -> None:
    run, gate = _waiting(ws)
    shows = f"RunDetails(Workspace.get('team').get_run('{run.id}')).show()"
    project.write({"show.py": f"from batchmill import RunDetails, Workspace\n{shows}\n"})
    gate.touch()
    code, seen = on_a_terminal(project, "exec", "show.py", COLUMNS="160")
    assert code == 0, seen
    assert f"Run {run.id} (digits): Completed, 2 of 2 steps" in seen
    assert seen.count("\x1b[?25h") == seen.count("\x1b[?25l") > 0  # the cursor is back
    code, seen = on_a_terminal(project, "resume", run.id)
    assert (code, "Completed" in seen) == (0, True)


def test_a_parallel_run_of_the_command_line_seen_through_the_sdk(ws: Workspace, project: Project) -> None:
    project.write({"score.py": SCORES, "in/a.txt": "a"})
    ws.get_default_datastore().upload("in", "in", show_progress=False)  # type: ignore[attr-defined]
    ended = project.batchmill("run", "score.py", "--input", "datastore://workspaceblobstore/in", "--quiet", "--json")
    told = json.loads(ended.stdout)
    (row,) = ws.registry.runs(kind="parallel_run")
    assert row.id == told["id"]
    run = ws.get_run(row.id)
    assert (type(run), run.type, run.get_status()) == (ExperimentRun, "parallel_run", "Completed")
    assert run.wait_for_completion()["status"] == "Completed"
    assert run.get_metrics() == {}
    run.cancel()
    assert run.get_status() == "Completed"
    assert json.loads(project.batchmill("runs", "show", row.id, "--json").stdout) == told


def test_what_the_details_tell_of_datasets_that_were_made(ws: Workspace, project: Project) -> None:
    project.write({"src/make.py": "import os, sys\nopen(os.path.join(sys.argv[1], 'a.txt'), 'w').write('a')\n"})
    made = OutputFileDatasetConfig("made").register_on_complete("kept")
    step = PythonScriptStep("make.py", arguments=[made], compute_target="local", source_directory="src")
    run = Pipeline(ws, [step]).submit("digits")
    assert run.wait_for_completion(show_output=False) == "Finished"
    (told,) = next(run.get_steps()).get_details()["outputDatasets"]
    assert (told["outputType"], told["outputDetails"]) == ("RunOutput", {"outputName": "made"})
    assert (told["dataset"].name, told["dataset"].version) == ("kept", 1)
    assert told["identifier"] == {"savedId": ws.datasets["kept"].id}
