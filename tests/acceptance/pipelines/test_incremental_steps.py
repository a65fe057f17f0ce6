"""Parallel-run steps that keep what they have done: ``reuse="mini_batch"``, and whole steps that are not reused when they must not be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.pipelines.conftest import write

SCORE = """
import os

def run(mini_batch):
    with open(os.environ["RAN"], "a") as file:
        file.write(" ".join(os.path.basename(path) for path in mini_batch) + "\\n")
    return [os.path.basename(path) + " " + open(path).read() for path in mini_batch]
"""

LABELED = """
import os
from azureml.core import Dataset, Run

def init():
    global labels
    workspace = Run.get_context().experiment.workspace
    folder = os.path.dirname(os.environ["RAN"])
    paths = Dataset.get_by_name(workspace, "labels").download(os.path.join(folder, "labels"), overwrite=True)
    labels = ",".join(open(path).read() for path in sorted(paths))

def run(mini_batch):
    return [os.path.basename(path) + " " + labels for path in mini_batch]
"""


class Scoring:
    """A pipeline of one step over two folders of a datastore; ``ran`` has what the script was given since the last look."""

    def __init__(self, ws: Any, folder: Path) -> None:
        self._ws = ws
        self.scripts = folder / "scripts"
        self._log = folder / "ran.txt"
        self._downloads = folder / "downloads"
        self.store = ws.folder / "workspaceblobstore"
        write(self.scripts, {"score.py": SCORE})

    def submit(self, *folders: str, regenerate: bool = False, python: Path | None = None, **more: Any) -> Any:
        from azureml.core import Dataset, Environment, Experiment
        from azureml.pipeline.core import Pipeline, PipelineData
        from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

        self._log.write_text("")
        datastore = self._ws.get_default_datastore()
        environment = Environment("scoring")
        environment.environment_variables = {"RAN": str(self._log)}
        if python is not None:
            environment.python.user_managed_dependencies = True
            environment.python.interpreter_path = str(python)
        config = ParallelRunConfig(
            source_directory="scripts",
            entry_script="score.py",
            mini_batch_size="2",
            error_threshold=0,
            output_action="append_row",
            environment=environment,
            compute_target="local",
            node_count=1,
            process_count_per_node=1,
        )
        step = ParallelRunStep(
            "score",
            config,
            inputs=[Dataset.File.from_files((datastore, folder)).as_named_input(folder) for folder in folders],
            output=PipelineData("scores", datastore=datastore),
            **more,
        )
        run = Experiment(self._ws, "incremental").submit(Pipeline(self._ws, steps=[step]), regenerate_outputs=regenerate)
        assert run.wait_for_completion(show_output=False) == "Finished"
        return run

    @property
    def ran(self) -> list[str]:
        return sorted(self._log.read_text().splitlines())

    def rows(self, run: Any) -> bytes:
        port = run.find_step_run("score")[0].get_output_data("scores")
        port.download(local_path=str(self._downloads), overwrite=True)
        return Path(self._downloads, port.path_on_datastore, "parallel_run_step.txt").read_bytes()

    def reason(self, run: Any) -> str:
        found = self._ws.registry.run(run.find_step_run("score")[0].id)
        return str(found.details["reuse"])


@pytest.fixture
def scoring(ws: Any, tmp_path: Path) -> Scoring:
    made = Scoring(ws, tmp_path / "project")
    write(made.store / "images", {f"{n:02d}": f"image {n}" for n in range(6)})
    return made


@pytest.fixture
def mini_batches_told(ws: Any) -> Any:
    """What the parallel run of a pipeline run has written down of its reuse."""
    from batchmill.parallel_run.ledger import Ledger
    from batchmill.parallel_run.reuse_note import reuse_lines
    from batchmill.parallel_run.run_folder import RunFolder, runs_folder

    def told(run: Any) -> tuple[str, ...]:
        step = ws.registry.run(run.find_step_run("score")[0].id)
        name = (Path(step.folder) / "parallel_run").read_text().strip()
        ledger = Ledger(RunFolder(runs_folder() / name).ledger)
        try:
            return reuse_lines(ledger)
        finally:
            ledger.close()

    return told


def test_a_file_is_added_and_one_mini_batch_runs(scoring: Scoring, mini_batches_told: Any) -> None:
    first = scoring.submit("images", reuse="mini_batch")
    assert scoring.ran == ["00 01", "02 03", "04 05"]
    write(scoring.store / "images", {"99": "image 99"})
    again = scoring.submit("images", reuse="mini_batch")
    assert scoring.ran == ["99"]
    assert scoring.reason(again) == "runs again: input 'images': 1 file new"
    told = mini_batches_told(again)
    assert told[0].startswith("Reused 3 of 4 mini-batches of run ")
    assert told[0].endswith(": same script, arguments, environment.")
    assert told[1] == "The others run: 1 new."
    rows = scoring.rows(again)
    assert rows.startswith(scoring.rows(first))
    full = scoring.submit("images", regenerate=True)
    assert scoring.ran == ["00 01", "02 03", "04 05", "99"]
    assert scoring.rows(full) == rows
    same = scoring.submit("images")
    assert scoring.ran == []
    assert scoring.reason(same) == "reused: same script, inputs, environment"
    assert scoring.rows(same) == rows


def test_inputs_in_another_order_are_another_step(scoring: Scoring) -> None:
    write(scoring.store / "more", {"a": "more a", "b": "more b"})
    scoring.submit("images", "more")
    swapped = scoring.submit("more", "images")
    assert scoring.reason(swapped) == "runs again: inputs in another order"
    assert scoring.rows(swapped).startswith(b"a more a\nb more b\n00 image 0\n")


def test_every_row_is_as_in_a_full_run_after_many_changes(scoring: Scoring) -> None:
    images = scoring.store / "images"
    scoring.submit("images", reuse="mini_batch")
    write(images, {"000": "in front", "03": "changed"})
    (images / "05").unlink()
    changed = scoring.submit("images", reuse="mini_batch")
    full = scoring.submit("images", regenerate=True)
    assert scoring.rows(changed) == scoring.rows(full)
    (images / "000").unlink()
    back = scoring.submit("images", reuse="mini_batch")
    assert scoring.rows(back) == b"00 image 0\n01 image 1\n02 image 2\n03 changed\n04 image 4\n"


def test_packages_of_an_interpreter_of_one_s_own_count(scoring: Scoring, tmp_path: Path, mini_batches_told: Any) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "own")], check=True)
    python = tmp_path / "own" / "bin" / "python"
    scoring.submit("images", python=python, reuse="mini_batch")
    write(scoring.store / "images", {"99": "image 99"})
    again = scoring.submit("images", python=python, reuse="mini_batch")
    assert mini_batches_told(again)[0].startswith("Reused 3 of 4 mini-batches of run ")
    (packages,) = (tmp_path / "own" / "lib").glob("python*/site-packages")
    (packages / "made_up-1.9.dist-info").mkdir()
    changed = scoring.submit("images", python=python, reuse="mini_batch")
    assert scoring.reason(changed) == "runs again: package made_up none -> 1.9"
    assert mini_batches_told(changed) == ("Runs all again: package made_up none -> 1.9.",)


def test_what_a_dataset_holds_that_the_script_asks_for_counts(scoring: Scoring, ws: Any, mini_batches_told: Any) -> None:
    from azureml.core import Dataset

    write(scoring.scripts, {"score.py": LABELED})
    write(scoring.store / "labels", {"one": "1"})
    Dataset.File.from_files((ws.get_default_datastore(), "labels")).register(ws, "labels")
    scoring.submit("images", reuse="mini_batch")
    write(scoring.store / "images", {"99": "image 99"})
    again = scoring.submit("images", reuse="mini_batch")
    assert mini_batches_told(again)[0].startswith("Reused 3 of 4 mini-batches of run ")
    write(scoring.store / "labels", {"two": "2"})
    changed = scoring.submit("images", reuse="mini_batch")
    assert scoring.reason(changed) == "runs again: dataset labels: 1 file new"
    assert mini_batches_told(changed) == ("Runs all again: dataset labels: 1 file new.",)
    assert scoring.rows(changed).splitlines()[-1] == b"99 1,2"
