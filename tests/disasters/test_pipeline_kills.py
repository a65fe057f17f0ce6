"""The runner of a pipeline is killed at any moment: nothing is lost, nothing that has completed runs again, nothing is left running."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchmill.errors import RunBusyError
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_folder import RunFolder, runs_folder
from batchmill.pipeline.experiment import Experiment
from batchmill.pipeline.graph import DatasetSource, InputPort, Node, PathSource, Reference, Value
from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.parallel_run_step import ParallelRunStep
from batchmill.pipeline.pipeline import Pipeline
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.runner import resume_run, start_runner
from batchmill.records import RunStatus
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.environment import Environment
from batchmill.workspace.registered_run import RegisteredRun
from batchmill.workspace.workspace import Workspace
from tests.pipeline_runs import (
    added,
    end_runners,
    ended,
    input_from,
    kill_runner,
    known,
    log,
    node,
    output,
    processes_with,
    std_log,
    steps,
    submitted,
    until,
)

MAKES = """
import os, sys, time
counter, out, seconds = sys.argv[1:4]
with open(counter, "a") as file:
    file.write("x")
time.sleep(float(seconds))
os.makedirs(out)
text = "".join(open(os.path.join(folder, "text")).read() for folder in sys.argv[4:])
with open(os.path.join(out, "text"), "w") as file:
    file.write(text + os.path.basename(counter))
"""
PAUSES = """
import importlib, sys, time
from pathlib import Path
module, _, name = sys.argv[1].partition(":")
owner = importlib.import_module(module)
*way, last = name.split(".")
for part in way:
    owner = getattr(owner, part)
original, when, here, run, workspace = getattr(owner, last), sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5]
def pausing(*args, **kwargs):
    answer = original(*args, **kwargs) if when == "after" else None
    here.touch()
    time.sleep(600)
    return answer
setattr(owner, last, pausing)
from batchmill.pipeline.runner import carry_out_run
from batchmill.workspace.workspace import Workspace
carry_out_run(Workspace.get(workspace), run)
"""
MOMENTS = [
    ("batchmill.pipeline.runner:_carried", "before", 0),
    ("batchmill.pipeline.graph_runner:GraphRunner._step_rows", "before", 0),
    ("batchmill.pipeline.graph_runner:GraphRunner._step_rows", "after", 0),
    ("batchmill.pipeline.step_execution:found_inputs", "after", 0),
    ("batchmill.pipeline.step_execution:StepExecution._copy_snapshot", "after", 0),
    ("batchmill.pipeline.step_execution:bound_outputs", "after", 0),
    ("batchmill.pipeline.step_execution:StepExecution._note_end", "after", 1),
    ("batchmill.pipeline.step_execution:publish", "before", 1),
    ("batchmill.pipeline.step_outputs:_send", "after", 1),
    ("batchmill.pipeline.step_execution:publish", "after", 1),
    ("batchmill.pipeline.step_logs:keep_logs", "before", 1),
    ("batchmill.pipeline.step_logs:keep_logs", "after", 1),
    ("batchmill.pipeline.step_execution:StepExecution._end", "after", 1),
    ("batchmill.pipeline.runner:_keep_log", "before", 1),
]
"""Where the runner stops, and how often the first script has run by then."""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    found = Workspace.create("team", show_output=False)
    yield found
    end_runners(found)


def _chain(ws: Workspace, folder: Path, seconds: float = 0.0) -> list[Node]:
    """Three steps that each add a letter to what the one before left; the output of the first is brought to its place at the end."""
    nodes: list[Node] = []
    for letter in "abc":
        before = nodes[-1:]
        words = [str(folder / letter), Reference("output", letter), str(seconds), *(Reference("input", one.name) for one in before)]
        inputs = tuple(input_from(one, one.name) for one in before)
        nodes.append(node(ws, folder, letter, MAKES, words, inputs=inputs, outputs=(output(letter, mode="mount" if before else "upload"),)))
    return nodes


def _left(ws: Workspace, run_id: str) -> str:
    last = steps(ws, run_id)["c"].id
    return (ws.folder / "workspaceblobstore" / "azureml" / last / "c" / "text").read_text()


def _count(folder: Path, letter: str) -> int:
    path = folder / letter
    return len(path.read_text()) if path.exists() else 0


def _nothing_runs(ws: Workspace, run: RegisteredRun) -> bool:
    return not any(processes_with(f"BATCHMILL_STEP={step.id}") for step in steps(ws, run.id).values())


@pytest.mark.parametrize(("place", "when", "ran"), MOMENTS)
def test_a_kill_at_that_moment(ws: Workspace, tmp_path: Path, place: str, when: str, ran: int) -> None:
    run = added(ws, _chain(ws, tmp_path))
    here = tmp_path / "here"
    process = subprocess.Popen([sys.executable, "-c", PAUSES, place, when, str(here), run.id, ws.name], cwd=tmp_path)
    until(here.exists, f"the runner is at {place}")
    assert known(ws, run.id).live_status in ("Queued", "Running")
    with pytest.raises(RunBusyError):
        resume_run(ws, run.id)
    assert _count(tmp_path, "a") == ran
    process.kill()
    process.wait()
    assert known(ws, run.id).live_status == "Interrupted"
    assert all(step.live_status != "Running" for step in steps(ws, run.id).values())
    until(lambda: _nothing_runs(ws, run), "no process is left")
    resume_run(ws, run.id)
    assert ended(ws, run.id).status == "Completed", log(ws, run.id)
    assert _left(ws, run.id) == "abc"
    assert {letter: _count(tmp_path, letter) for letter in "abc"} == {"a": 1, "b": 1, "c": 1}
    assert (known(ws, run.id).attempts, len(steps(ws, run.id))) == (2, 3)


def test_an_output_at_a_place_of_its_own_is_brought_there_again(ws: Workspace, tmp_path: Path) -> None:
    """What lies there already is its own, and no reason to refuse."""
    words: list[Value] = [str(tmp_path / "a"), Reference("output", "a"), "0"]
    run = added(ws, [node(ws, tmp_path, "a", MAKES, words, outputs=(output("a", mode="upload", destination="results"),))])
    here, place = tmp_path / "here", "batchmill.pipeline.step_outputs:_send"
    process = subprocess.Popen([sys.executable, "-c", PAUSES, place, "after", str(here), run.id, ws.name], cwd=tmp_path)
    until(here.exists, f"the runner is at {place}")
    process.kill()
    process.wait()
    resume_run(ws, run.id)
    assert ended(ws, run.id).status == "Completed", log(ws, run.id)
    assert (_count(tmp_path, "a"), (ws.folder / "workspaceblobstore" / "results" / "text").read_text()) == (1, "a")


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_any_time(ws: Workspace, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    run = added(ws, _chain(ws, tmp_path, seconds=0.3))
    start_runner(ws, run.id)
    for _ in range(2):
        time.sleep(chance.uniform(0.0, 1.2))
        if known(ws, run.id).status == "Completed":
            break
        kill_runner(ws, run.id)
        until(lambda: known(ws, run.id).live_status in ("Interrupted", "Completed"), "the death is seen")
        done = {name: _count(tmp_path, name) for name, step in steps(ws, run.id).items() if step.status == RunStatus.COMPLETED}
        until(lambda: _nothing_runs(ws, run), "no process is left")
        resume_run(ws, run.id)
        assert all(_count(tmp_path, name) == count for name, count in done.items())
    assert ended(ws, run.id).status == "Completed", log(ws, run.id)
    assert _left(ws, run.id) == "abc"


def test_a_script_and_what_it_started_die_with_the_runner(ws: Workspace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    text = """
import pathlib, subprocess, sys, time
if pathlib.Path(sys.argv[1]).exists():
    print("again")
    sys.exit()
subprocess.Popen(["sleep", "300"], start_new_session=True)
subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 300"])
pathlib.Path(sys.argv[1]).touch()
time.sleep(300)
"""
    command = node(ws, tmp_path, "command", "", kind="command", script=None, command=(f"test -e {begun} || sleep 300",))
    run = submitted(ws, [node(ws, tmp_path, "a", text, [str(begun)]), command])
    until(lambda: begun.exists() and steps(ws, run.id)["command"].status == "Running", "the scripts run")
    kill_runner(ws, run.id)
    until(lambda: _nothing_runs(ws, run), "no process is left")
    assert known(ws, run.id).live_status == "Interrupted"
    assert {step.live_status for step in steps(ws, run.id).values()} == {"Interrupted"}
    resume_run(ws, run.id)
    assert ended(ws, run.id).status == "Completed"
    step = steps(ws, run.id)["a"]
    assert (step.details["attempt"], std_log(step)) == (2, "again\n")


def test_inputs_at_places_of_their_own_are_brought_again(ws: Workspace, tmp_path: Path) -> None:
    data, begun = ws.folder / "workspaceblobstore" / "data", tmp_path / "begun"
    data.mkdir()
    (data / "a").write_text("text")
    source = PathSource("workspaceblobstore", "data")
    files = DatasetSource("file", Dataset.File.from_files((ws.get_default_datastore(), "data")).definition.to_dict())
    ports = (
        InputPort("mounted", files, path_on_compute=str(tmp_path / "mounted")),
        InputPort("copied", files, "download", path_on_compute=str(tmp_path / "copied")),
        InputPort("linked", source, path_on_compute=str(tmp_path / "linked")),
    )
    text = """
import os, pathlib, sys, time
if not pathlib.Path(sys.argv[1]).exists():
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(300)
print(*(open(os.path.join(path, "a")).read() for path in sys.argv[2:]))
"""
    run = submitted(ws, [node(ws, tmp_path, "a", text, [str(begun), *(Reference("input", port.name) for port in ports)], inputs=ports)])
    until(begun.exists, "the script runs")
    kill_runner(ws, run.id)
    until(lambda: known(ws, run.id).live_status == "Interrupted", "the death is seen")
    resume_run(ws, run.id)
    assert ended(ws, run.id).status == "Completed", log(ws, run.id)
    assert std_log(steps(ws, run.id)["a"]) == "text text text\n"
    assert not (tmp_path / "mounted").exists()
    assert (tmp_path / "copied" / "a").exists()


def test_a_run_that_kills_its_runner_is_given_up(ws: Workspace, tmp_path: Path) -> None:
    kills = "import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()"
    run = submitted(ws, [node(ws, tmp_path, "kills", kills)])
    for _ in range(3):
        until(lambda: known(ws, run.id).live_status in ("Interrupted", "Failed"), "the runner is dead")
        assert known(ws, run.id).live_status == "Interrupted"
        resume_run(ws, run.id)
    assert ended(ws, run.id).status == "Failed"
    assert "died 3 times, and no step ended in between" in str(known(ws, run.id).error)
    assert all(step.ended for step in steps(ws, run.id).values())


def test_cancel_of_a_run_whose_runner_is_dead(ws: Workspace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    waits = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(300)"
    run = submitted(ws, [node(ws, tmp_path, "waits", waits, [str(begun)])])
    until(begun.exists, "the script runs")
    kill_runner(ws, run.id)
    until(lambda: known(ws, run.id).live_status == "Interrupted", "the death is seen")
    ws.registry.request_cancel(run.id)
    assert known(ws, run.id).status == "Canceled"
    assert steps(ws, run.id)["waits"].status == "Canceled"


SUBMITS = """
import sys
from pathlib import Path
from tests.pipeline_runs import node, submitted
from batchmill.workspace.workspace import Workspace
ws, folder = Workspace.get("team"), Path(sys.argv[1])
one = node(ws, folder, "one", "print('done')")
print("ready", flush=True)
sys.stdin.readline()
print(*(submitted(ws, [one]).id for _ in range(5)), flush=True)
"""


@pytest.mark.slow
def test_fifty_submits_from_ten_processes(ws: Workspace, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    commands = [[sys.executable, "-c", SUBMITS, str(tmp_path / str(n))] for n in range(10)]
    processes = [subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) for one in commands]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda process: process.communicate("\n", timeout=120)[0], processes))
    ids = [run_id for answer in answers for run_id in answer.split()]
    assert len(set(ids)) == 50
    assert {ended(ws, run_id, 240).status for run_id in ids} == {"Completed"}
    assert all(std_log(steps(ws, run_id)["one"]) == "done\n" for run_id in ids)


def test_the_end_of_who_submitted_changes_nothing(ws: Workspace, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SUBMITS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    ids = process.stdout.readline().split()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert {ended(ws, run_id).status for run_id in ids} == {"Completed"}


SCORES = """
import os, time
def init():
    pass
def run(mini_batch):
    with open(os.environ["COUNTS"], "a") as file:
        file.write(os.path.basename(mini_batch[0]) + " ")
    while os.path.basename(mini_batch[0]) >= "08.txt" and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return [os.path.basename(path) for path in mini_batch]
"""


def test_an_interrupted_parallel_step_goes_on(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, gate = tmp_path / "counts", tmp_path / "gate"
    monkeypatch.setenv("COUNTS", str(counts))
    monkeypatch.setenv("GATE", str(gate))
    source, images = tmp_path / "sources" / "score", ws.folder / "workspaceblobstore" / "images"
    source.mkdir(parents=True)
    (source / "score.py").write_text(SCORES)
    images.mkdir()
    names = [f"{n:02}.txt" for n in range(20)]
    for name in names:
        (images / name).write_text(name)
    config = ParallelRunConfig(
        environment=Environment("e"),
        entry_script="score.py",
        source_directory=str(source),
        error_threshold=0,
        output_action="append_row",
        compute_target="local",
        mini_batch_size="1",
        node_count=1,
        process_count_per_node=2,
    )
    files = Dataset.File.from_files((ws.get_default_datastore(), "images")).as_named_input("images")
    out = PipelineData("out", datastore=ws.get_default_datastore())
    step = ParallelRunStep("score", parallel_run_config=config, inputs=[files], output=out, allow_reuse=False)
    run_id = Experiment(ws, "tests").submit(Pipeline(ws, [step])).id
    until(lambda: counts.exists() and len(counts.read_text().split()) >= 6, "some are scored")
    row = steps(ws, run_id)["score"]
    parallel = (Path(row.folder) / "parallel_run").read_text()
    folder = RunFolder(runs_folder() / parallel)
    until(lambda: Run(folder).counts.mini_batches.succeeded >= 4, "they are committed")
    kill_runner(ws, run_id)
    until(lambda: not folder.alive() and not processes_with(f"BATCHMILL_RUN_ID={parallel}"), "no process is left")
    assert known(ws, run_id).live_status == "Interrupted"
    assert steps(ws, run_id)["score"].live_status == "Interrupted"
    begun, committed = len(counts.read_text().split()), Run(folder).counts.mini_batches.succeeded
    gate.touch()
    resume_run(ws, run_id)
    assert ended(ws, run_id).status == "Completed", log(ws, run_id)
    row = steps(ws, run_id)["score"]
    assert row.details["parallel_run"] == parallel
    written = (ws.folder / "workspaceblobstore" / "azureml" / row.id / "out" / "parallel_run_step.txt").read_text()
    assert written.split() == names
    assert len(counts.read_text().split()) == begun + len(names) - committed
