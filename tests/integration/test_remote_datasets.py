"""Whole runs over datasets in object stores that only their datastores know the credentials of."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from batchmill.workspace.database import close_databases
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets
from tests.conftest import BATCHMILL, Project
from tests.integration.conftest import Bucket

SCORE = """
import os, time

def run(mini_batch):
    gate = os.environ.get("GATE")
    while gate and not os.path.exists(gate) and any(path.endswith("7.txt") for path in mini_batch):
        time.sleep(0.01)
    time.sleep(0.06)
    if os.environ.get("FAIL"):
        assert not any(path.endswith("3.txt") for path in mini_batch), "as asked for"
    return [f"{os.path.basename(path)} {open(path).read()}" for path in mini_batch]
"""
NAMES = [f"{n}.txt" for n in range(10)]
REFERENCE = "".join(f"{name} in {name}\n" for name in NAMES)


@pytest.fixture
def scored(project: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script, and the dataset ``images`` in a datastore with credentials; the environment holds none of them."""
    for name in NAMES:
        bucket.put(f"in/{name}", f"in {name}".encode())
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BATCHMILL_HOME", str(project.home))
    ws = Workspace.create("default", show_output=False)
    container = bucket.url.partition("://")[2]
    datastore: Any
    if bucket.url.startswith("s3"):
        keys = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}
        datastore = Datastore.register_s3_bucket(ws, "photos", container, region="us-east-1", endpoint=bucket.server.url, **keys)
    else:
        options = {"account_key": stores.KEY, "endpoint": bucket.server.url}
        datastore = Datastore.register_azure_blob_container(ws, "photos", container, stores.ACCOUNT, **options)
    Dataset.File.from_files((datastore, "in")).register(ws, "images")
    yield project.write({"score.py": SCORE})
    close_databases()


def run(project: Project, *arguments: str, **env: str) -> None:
    done = project.batchmill(*arguments, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["dataset:images", "datastore://photos/in"])
def test_a_run_over_a_datastore(scored: Project, text: str) -> None:
    run(scored, "run", "score.py", "--input", text, "--output", "out")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    plan = json.loads(next(scored.home.glob("runs/*/plan/plan.json")).read_text())
    assert [one["base"] for one in plan["inputs"]] == ["datastore://default:photos/in"]


@pytest.mark.parametrize("text", ["dataset:images", "datastore://photos/in"])
def test_a_killed_run_goes_on_in_another_process(scored: Project, text: str) -> None:
    command = [str(BATCHMILL), "run", "score.py", "--input", text, "--mini-batch-size", "1", "--workers", "2", "--output", "out"]
    gate = scored.folder / "gate"
    process = subprocess.Popen(
        command, cwd=scored.folder, env=scored.environment({"GATE": str(gate)}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not _some_done(scored):
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.kill()
    process.wait()
    run(scored, "resume", "last")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def _some_done(project: Project) -> bool:
    shown = project.batchmill("runs", "show", "last", "--json")
    return shown.returncode == 0 and json.loads(shown.stdout)["counts"]["items"]["succeeded"] >= 2


@pytest.mark.parametrize("text", ["dataset:images", "datastore://photos/in"])
def test_replay_in_another_process(scored: Project, text: str) -> None:
    arguments = ("--mini-batch-size", "2", "--error-threshold", "-1", "--run-max-try", "1", "--output", "out")
    run(scored, "run", "score.py", "--input", text, *arguments, FAIL="1")
    assert len(scored.read("out/parallel_run_step.txt").splitlines()) == 9
    run(scored, "runs", "replay", "last")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_a_plan_of_a_dataset(scored: Project) -> None:
    told = scored.batchmill("plan", "score.py", "--input", "dataset:images", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["plan"]["files"] == 10


def test_one_mini_batch_again_in_the_foreground(scored: Project) -> None:
    run(scored, "run", "score.py", "--input", "dataset:images", "--output", "out")
    told = scored.batchmill("runs", "replay", "last", "--mini-batch", "0")
    assert told.returncode == 0, told.stderr


def test_mounted_and_downloaded_through_the_datastore(scored: Project, tmp_path: Path) -> None:
    dataset = Dataset.get_by_name(Workspace.get("default"), "images")
    with dataset.mount() as mounted:
        assert Path(mounted.mount_point, "3.txt").read_text() == "in 3.txt"
    assert [Path(path).read_text() for path in dataset.skip(8).download(tmp_path / "copy")] == ["in 8.txt", "in 9.txt"]
    (scored.folder / "x").mkdir()
    told = scored.batchmill("dataset", "files", "images", "--json")
    assert json.loads(told.stdout)[0]["place"] == "datastore://default:photos/in/0.txt"
