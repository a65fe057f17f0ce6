"""Parallel-run steps carried out by themselves: late values, outputs, cancel, resume, what ends them as failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import BatchmillError
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.pipeline.carry_parallel import ID_FILE, carry_parallel
from batchmill.pipeline.graph import PARALLEL_RUN, DatasetSource, Graph, InputPort, Node, OutputPort, PathSource, Reference
from batchmill.pipeline.step_work import BoundInput, BoundOutput, StepOutcome, StepWork
from batchmill.records import RunStatus
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.environment import Environment
from batchmill.workspace.workspace import Workspace

ECHO = """
import os, sys

def run(mini_batch):
    if mini_batch and os.path.basename(mini_batch[0]) == "bad.txt":
        raise ValueError("bad")
    return [os.path.basename(path) for path in mini_batch]
"""
TELL = """
import json, os, sys
from azureml_user.parallel_run import EntryScript

def run(mini_batch):
    with open(os.path.join(EntryScript().output_dir, f"told-{os.getpid()}.json"), "w") as file:
        json.dump({"argv": sys.argv[1:], "environ": dict(os.environ)}, file)
    return [1] * len(mini_batch)
"""


@dataclass
class Bench:
    """A workspace with a step whose parts a test may change."""

    ws: Workspace
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    canceled: Callable[[], bool] = lambda: False
    announced: list[str] = field(default_factory=list)

    def files(self, names: list[str]) -> BoundInput:
        """Files of the default datastore as an input."""
        store = self.ws.get_default_datastore()
        for name in names:
            path = self.ws.folder / "workspaceblobstore" / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        dataset = Dataset.File.from_files((store, "in/"))
        return BoundInput(InputPort("images", DatasetSource("file", {}, None)), dataset_id=dataset.save(self.ws))

    def work(self, script: str, inputs: list[BoundInput], **node: Any) -> StepWork:
        """The step; ``out`` is its output."""
        (self.folder / "snapshot").mkdir(parents=True, exist_ok=True)
        (self.folder / "snapshot" / "score.py").write_text(script)
        port = OutputPort("out", "workspaceblobstore")
        place = f"azureml/{self.folder.name}/out"
        path = self.ws.folder / "workspaceblobstore" / place
        path.mkdir(parents=True, exist_ok=True)
        settings = {"output": "out", "error_threshold": 0, "output_action": "append_row", **self.settings}
        fields: dict[str, Any] = {
            "id": "0badcafe",
            "name": "score",
            "kind": PARALLEL_RUN,
            "module": "m",
            "script": "score.py",
            "inputs": tuple(one.port for one in inputs),
            "outputs": (port,),
            "settings": settings,
        }
        made = Node(**{**fields, **node})
        self.ws.registry.add_run(self.folder.name, kind="azureml.StepRun", name="score", status=RunStatus.QUEUED)
        return StepWork(
            workspace=self.ws,
            pipeline_run_id="pipeline",
            step_run_id=self.folder.name,
            experiment="digits",
            graph=Graph((made,)),
            node=made,
            parameters={"size": "2KB", "few": "3"},
            folder=self.folder,
            attempt=1,
            inputs={one.port.name: one for one in inputs},
            outputs={"out": BoundOutput(port, str(path), f"datastore://workspaceblobstore/{place}")},
            canceled=self.canceled,
            announce=self.announced.append,
        )

    def run(self) -> Run:
        """The parallel run that carries the step out."""
        return Run.find((self.folder / ID_FILE).read_text())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    ws = Workspace.create("default", show_output=False)
    return Bench(ws, tmp_path / "step-run")


def rows(work: StepWork, name: str = "parallel_run_step.txt") -> list[str]:
    return Path(work.outputs["out"].path, name).read_text().splitlines()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


NAMES = [f"{number:02d}.txt" for number in range(7)]


def test_a_step_with_late_values(bench: Bench) -> None:
    bench.settings = {"mini_batch_size": Reference("parameter", "few"), "metrics_name_prefix": "score ", "process_count_per_node": 2}
    work = bench.work(ECHO, [bench.files(NAMES)], arguments=("--size", Reference("parameter", "size")))
    outcome = carry_parallel(work)
    assert outcome.status is RunStatus.COMPLETED, outcome.error
    assert rows(work) == NAMES
    assert outcome.details is not None
    assert outcome.details["counts"]["mini_batches"] == {"total": 3, "succeeded": 3, "failed": 0, "not_run": 0, "retried": 0}
    assert outcome.details["output"] == "datastore://workspaceblobstore/azureml/step-run/out"
    assert outcome.details["parallel_run"] == bench.run().id
    metrics = {one.name: one.value for one in bench.ws.registry.metrics(work.step_run_id)}
    assert metrics["score Total Mini Batches"] == 3
    assert metrics["score Failed Items"] == 0
    run = bench.ws.registry.run(work.step_run_id)
    assert run is not None
    assert run.status == RunStatus.RUNNING
    assert (work.folder / "logs" / "job_result.txt").exists()


def test_what_scripts_are_told(bench: Bench, tmp_path: Path) -> None:
    labels = BoundInput(InputPort("labels", PathSource("workspaceblobstore", "labels"), side=True), path=str(tmp_path))
    environment = Environment("batch")
    environment.environment_variables = {"OF_THE_ENVIRONMENT": "1"}
    work = bench.work(
        TELL,
        [bench.files(NAMES), labels],
        arguments=("--labels_dir", Reference("input", "labels"), "--number", 5),
        environment=environment.to_dict(),
        environment_variables={"MINE": "x"},
        params={"p": "q"},
        node_count=2,
    )
    outcome = carry_parallel(work)
    assert outcome.status is RunStatus.COMPLETED, outcome.error
    told = json.loads(next(Path(work.outputs["out"].path).glob("told-*.json")).read_text())
    output = work.outputs["out"].path
    assert told["argv"] == ["--output", output, "--labels_dir", str(tmp_path), "--number", "5"]
    ids = {"AZUREML_RUN_ID": "step-run", "AZUREML_ROOT_RUN_ID": "pipeline", "AZUREML_ARM_PROJECT_NAME": "digits"}
    ids |= {"AZUREML_NODE_COUNT": "2", "MINE": "x", "OF_THE_ENVIRONMENT": "1", "AZUREML_BI_OUTPUT_PATH": output, "labels": str(tmp_path)}
    ids |= {"AML_PARAMETER_p": "q", "AZUREML_ARM_WORKSPACE_NAME": "default", "images": work.inputs["images"].dataset_id or ""}
    assert {name: told["environ"].get(name) for name in ids} == ids
    assert dict(bench.run().names())["environment"] == "batch:1"


def test_a_folder_that_another_step_left(bench: Bench) -> None:
    bench.files(["a.csv", "b.csv"])
    folder = BoundInput(InputPort("made", PathSource("workspaceblobstore", "in")), place="datastore://workspaceblobstore/in")
    work = bench.work(ECHO, [folder])
    assert carry_parallel(work).status is RunStatus.COMPLETED
    assert rows(work) == ["a.csv", "b.csv"]


def test_mini_batches_without_input(bench: Bench) -> None:
    bench.settings = {"rank_mini_batch_count": 4, "append_row_file_name": "ranks.txt"}
    work = bench.work("def run(rank):\n    return [rank * rank]\n", [])
    assert carry_parallel(work).status is RunStatus.COMPLETED
    assert rows(work, "ranks.txt") == ["0", "1", "4", "9"]


@pytest.mark.parametrize(
    ("script", "settings", "error"),
    [
        ("def walk(mini_batch):\n    pass\n", {}, "run"),
        ("def run(mini_batch)\n", {}, "score.py"),
        (ECHO, {"mini_batch_size": "1 KB"}, "mini_batch_size"),
        (ECHO, {"mini_batch_size": 0}, "must be greater than 0"),
        (ECHO, {"partition_keys": "user"}, "must be the JSON text of a list of texts"),
        (ECHO, {"partition_keys": '["user"]'}, "partition"),
        (ECHO, {"first_task_creation_timeout": 0.0000001}, "Unable to create any task within 1e-07 seconds."),
        (ECHO, {"task_overhead_timeout": "soon"}, "--task_overhead_timeout of a ParallelRunStep has the value 'soon'"),
    ],
)
def test_what_cannot_begin(bench: Bench, script: str, settings: dict[str, Any], error: str) -> None:
    bench.settings = settings
    with pytest.raises(BatchmillError) as caught:
        carry_parallel(bench.work(script, [bench.files(NAMES)]))
    assert error in caught.value.line


def test_a_run_that_fails(bench: Bench) -> None:
    bench.settings = {"run_max_try": 1, "isolate_failures": False}
    work = bench.work(ECHO, [bench.files(["bad.txt", "good.txt"])])
    outcome = carry_parallel(work)
    assert outcome.status is RunStatus.FAILED
    assert outcome.error == "The number of failed items is 2, which exceeds error threshold 0."
    assert outcome.details is not None
    assert outcome.details["counts"]["items"]["failed"] == 2


GATED = """
import os, time

def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    time.sleep(0.06)  # longer than a worker keeps what it finished to itself
    while names[0] >= "03" and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return names
"""


def gated(bench: Bench, tmp_path: Path) -> StepWork:
    bench.settings = {"mini_batch_size": 1, "process_count_per_node": 2}
    return bench.work(GATED, [bench.files(NAMES)], environment_variables={"GATE": str(tmp_path / "gate")})


def in_the_middle(bench: Bench) -> bool:
    return (bench.folder / ID_FILE).exists() and bench.run().record().counts.items.succeeded >= 3


def test_a_step_is_canceled(bench: Bench, tmp_path: Path) -> None:
    asked = threading.Event()
    bench.canceled = asked.is_set
    work = gated(bench, tmp_path)
    outcomes: list[StepOutcome] = []
    carrier = threading.Thread(target=lambda: outcomes.append(carry_parallel(work)), daemon=True)
    carrier.start()
    until(lambda: in_the_middle(bench))
    asked.set()
    carrier.join(30)
    assert [one.status for one in outcomes] == [RunStatus.CANCELED]
    assert bench.run().status is RunStatus.CANCELED
    assert not Path(work.outputs["out"].path, "parallel_run_step.txt").exists()


STARTER = """
import os, pickle, sys
from batchmill.parallel_run.run import start_coordinator
from batchmill.parallel_run.run_folder import find_run
read, write = os.pipe()
start_coordinator(find_run(sys.argv[1]), life=read)
os.close(read)
print("started", flush=True)
sys.stdin.read()
"""


def test_an_interrupted_run_is_taken_up(bench: Bench, tmp_path: Path) -> None:
    from batchmill.parallel_run.run import create_run
    from batchmill.pipeline.parallel_run_settings import settings_of

    work = gated(bench, tmp_path)
    folder: RunFolder = create_run(settings_of(work))
    (bench.folder / ID_FILE).write_text(folder.id)
    with subprocess.Popen([sys.executable, "-c", STARTER, folder.id], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        until(lambda: in_the_middle(bench))
        starter.kill()
    until(lambda: not folder.alive(), 10)
    assert Run(folder).status is RunStatus.INTERRUPTED
    (tmp_path / "gate").touch()
    outcome = carry_parallel(replace(work, attempt=2))
    assert outcome.status is RunStatus.COMPLETED, outcome.error
    assert outcome.details is not None
    assert outcome.details["parallel_run"] == folder.id
    assert rows(work) == NAMES
    assert carry_parallel(replace(work, attempt=3)).status is RunStatus.COMPLETED


def test_a_coordinator_that_dies_is_replaced(bench: Bench, tmp_path: Path) -> None:
    work = gated(bench, tmp_path)
    outcomes: list[StepOutcome] = []
    carrier = threading.Thread(target=lambda: outcomes.append(carry_parallel(work)), daemon=True)
    carrier.start()
    until(lambda: in_the_middle(bench))
    os.kill(coordinator_of(bench.run()), 9)
    until(lambda: any("died" in line for line in bench.announced))
    (tmp_path / "gate").touch()
    carrier.join(60)
    assert [one.status for one in outcomes] == [RunStatus.COMPLETED]
    assert rows(work) == NAMES


def coordinator_of(run: Run) -> int:
    """Its process, by the words that it was started with."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"batchmill.nodes.coordinator_process" in words and run.id.encode() in words:
                return int(entry.name)
    raise AssertionError("there is no coordinator")


def test_the_next_run_of_a_step_reuses_mini_batches(bench: Bench) -> None:
    """Run ids, folders of outputs and variables differ each time; what the user gave is the same."""
    words = ("--scores", Reference("output", "out"), "--few", Reference("parameter", "few"))
    found = []
    for number, names in enumerate((NAMES, [*NAMES, "99.txt"])):
        bench.folder = bench.folder.with_name(f"step-run-{number}")
        bench.settings = {"mini_batch_size": "2"}
        work = bench.work(
            ECHO,
            [bench.files(["99.txt"] if number else names)],
            arguments=words,
            reuse="mini_batch",
            params={"few": Reference("parameter", "few")},
        )
        assert carry_parallel(work).status is RunStatus.COMPLETED
        assert rows(work) == names
        found.append((bench.run().folder / "logs" / "job_result.txt").read_text())
    assert "Runs all again: there is no completed run of score over these inputs yet." in found[0]
    assert "Reused 3 of 4 mini-batches" in found[1]
