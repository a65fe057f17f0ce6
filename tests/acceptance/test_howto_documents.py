"""The how-to documents, run from the files as they are: extracted, executed and checked against the labels of real images (case K01)."""

from __future__ import annotations

import json
import runpy
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_k01_k03_models import python
from tests.conftest import Project

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "howto"
SEEDS = ROOT.parent / "shared" / "seeds"
IMAGES = 20
RESULT = """
import json
from azureml.core import Workspace
ws = Workspace.from_config()
run = next(iter(ws.experiments["EXPERIMENT"].get_runs()))
(step,) = run.find_step_run("STEP")
output = step.get_output_data("OUTPUT")
output.download("got")
print(json.dumps({"status": run.get_status(), "step": step.get_status(), "path": output.path_on_datastore, "id": step.id}))
"""


def documents() -> list[Path]:
    """Those of the documents that have code."""
    return [path for path in sorted(SEEDS.glob("*.txt")) if "```python" in path.read_text(encoding="utf-8")]


@pytest.fixture
def pictures(project: Project) -> dict[str, int]:
    """A project with pictures and models behind a mirror map, and a workspace that reads them; the digit of each picture."""
    labels: dict[str, int] = runpy.run_path(str(EXAMPLE / "prepare.py"))["prepare"](project.folder, IMAGES)
    shutil.copytree(EXAMPLE / "scripts", project.folder / "scripts")
    for words in (
        ["workspace", "create", "howto"],
        ["workspace", "update", "howto", "--set", f"mirrors={project.read('mirrors.json')}", "--set", "environments=current"],
    ):
        ended = project.batchmill(*words)
        assert ended.returncode == 0, ended.stderr
    return labels


def result(project: Project, experiment: str, step: str, output: str) -> tuple[dict[str, Any], dict[str, int]]:
    """What the newest run came to, and the digit that it read from each picture."""
    told = json.loads(python(project, RESULT.replace("EXPERIMENT", experiment).replace("STEP", step).replace("OUTPUT", output)))
    lines = project.read(f"got/{told['path']}/parallel_run_step.txt").splitlines()
    answers = {name: int(digit) for name, digit in (line.split(": ") for line in lines)}
    assert len(lines) == len(answers)
    return told, answers


def right(answers: Mapping[str, int], labels: Mapping[str, int]) -> float:
    assert answers.keys() == labels.keys()
    return sum(answers[name] == digit for name, digit in labels.items()) / len(labels)


def mini_batches(project: Project) -> Counter[int]:
    """Of every parallel run of this home: how many mini-batches it had."""
    found: Counter[int] = Counter()
    for path in (project.home / "runs").glob("*/plan/plan.json"):
        found[json.loads(path.read_text())["mini_batches"]] += 1
    return found


@pytest.mark.skipif(
    not SEEDS.is_dir(), reason="NOT TESTED on the how-to documents: there is no folder ../shared/seeds beside this checkout"
)
def test_k01_the_how_to_documents(project: Project, pictures: dict[str, int]) -> None:
    found = documents()
    assert len(found) == 3
    for number, document in enumerate(found, start=1):
        ended = project.batchmill("exec", document, "--prelude", EXAMPLE / "prelude.py", timeout=240)
        assert ended.returncode == 0, f"{document.name}\n{ended.stdout}\n{ended.stderr}"
        assert "is an entry script: it was written to scripts/digit_identification.py, not executed." in ended.stderr
        assert "PipelineRun Status: Finished" in ended.stdout
        told, answers = result(project, "digit_identification", "batch-mnist", "inferences")
        assert (told["status"], told["step"]) == ("Finished", "Finished")
        assert right(answers, pictures) >= 0.9, f"document {number}"
    assert set(mini_batches(project)) == {IMAGES // 5}


def test_our_own_document(project: Project, pictures: dict[str, int]) -> None:
    ended = project.batchmill("exec", EXAMPLE / "document.md", "--prelude", EXAMPLE / "prelude.py", timeout=240)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    told, answers = result(project, "digit-pictures", "read-digits", "predictions")
    assert (told["status"], told["step"]) == ("Finished", "Finished")
    assert right(answers, pictures) >= 0.9
    assert set(mini_batches(project)) == {IMAGES // 5}
    assert project.read(f"rows/{told['path']}/parallel_run_step.txt") == project.read(f"got/{told['path']}/parallel_run_step.txt")
    assert ended.stdout.splitlines()[-1] == f"Rows: rows/{told['path']}/parallel_run_step.txt"
