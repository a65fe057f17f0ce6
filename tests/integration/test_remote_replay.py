"""Replay into an object store, killed at every moment there is: the merged output is uploaded once, whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from batchmill.errors import ReplayRefusedError, StoreError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.replay import replay
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.storage.upload import OutputFolder
from tests import killed_replay
from tests.integration.conftest import Bucket

NAMES = [f"{number:02d}.txt" for number in range(12)]
WHOLE = "".join(f"row of {name}\n" for name in NAMES)
OUTPUT = "out/parallel_run_step.txt"

SCRIPT = """
import os
from batchmill.worker.entry_script import EntryScript

def run(files):
    names = [os.path.basename(path) for path in files]
    with open({calls!r}, "a") as calls:
        calls.write("call\\n")
    for name in names:
        if name in {bad!r}:
            raise ValueError(name)
        if {beside!r}:
            with open(os.path.join(EntryScript().output_dir, name + ".note"), "w") as note:
                note.write("note of " + name)
    return ["row of " + name for name in names]
"""


class Scene:
    """A run into a bucket that keeps every version of its objects, and a script that can be mended."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self.folder = folder
        self.bucket = bucket
        self.calls = folder / "calls.txt"
        for name in ("in", "src"):
            (folder / name).mkdir()
        for name in NAMES:
            (folder / "in" / name).write_text(name)
        self.client: Any = boto3.client("s3", endpoint_url=bucket.server.url, region_name="us-east-1")
        self.bucket_name = bucket.url.removeprefix("s3://")
        self.client.put_bucket_versioning(Bucket=self.bucket_name, VersioningConfiguration={"Status": "Enabled"})

    def script(self, *bad: str, beside: bool = False) -> None:
        text = SCRIPT.format(bad=set(bad), beside=beside, calls=str(self.calls))
        (self.folder / "src" / "score.py").write_text(text)

    def run(self, **settings: object) -> RunFolder:
        values = {"mini_batch_size": 3, "workers": 2, "error_threshold": -1, "run_max_try": 1, "retry_timeout": 5, **settings}
        values |= {"output": f"{self.bucket.url}/out", "inputs": str(self.folder / "in")}
        folder = create_run(RunSettings.parse({"script": str(self.folder / "src" / "score.py"), **values}))
        coordinator = Coordinator(folder)
        coordinator.prepare()
        coordinator.carry_out()
        self.calls.unlink()
        return folder

    def versions(self) -> list[str]:
        """Everything that was ever uploaded as the output, oldest first."""
        found = self.client.list_object_versions(Bucket=self.bucket_name, Prefix=OUTPUT).get("Versions", [])
        read = [self.client.get_object(Bucket=self.bucket_name, Key=OUTPUT, VersionId=one["VersionId"])["Body"] for one in found]
        texts = []
        for body in reversed(read):
            with body:
                texts.append(body.read().decode())
        return texts

    def objects(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.bucket_name, Prefix="out/").get("Contents", [])]


@pytest.fixture
def scene(tmp_path: Path, s3: Bucket) -> Iterator[Scene]:
    scene = Scene(tmp_path, s3)
    yield scene
    scene.client.close()


def kill(folder: RunFolder, moment: str) -> None:
    """A replay in a process of its own, killed there."""
    command = [sys.executable, killed_replay.__file__, str(folder.path), moment]
    killed = subprocess.run(command, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", killed_replay.REMOTE)
def test_killed_and_repeated(scene: Scene, moment: str) -> None:
    scene.script("04.txt", "09.txt")
    folder = scene.run()
    first = WHOLE.replace("row of 04.txt\n", "").replace("row of 09.txt\n", "")
    scene.script()
    kill(folder, moment)
    if moment == "amid upload":
        assert len(scene.client.list_multipart_uploads(Bucket=scene.bucket_name)["Uploads"]) == 1
    done = scene.calls.read_text()
    ending = replay(folder, Silent())
    assert (ending.status, ending.counts.items.succeeded, ending.counts.items.failed) == (RunStatus.COMPLETED, 12, 0)
    assert scene.versions() == [first, WHOLE], "the output of the run, and the merged one once"
    if moment not in ("before merge", "before rename"):
        assert scene.calls.read_text() == done, "what was merged did not run again"
    assert scene.objects() == [OUTPUT], "the lock is gone"
    assert folder.dead_letters.read_text() == ""
    assert Run(folder).errors(open_only=True) == []
    assert replay(folder, Silent()).counts.items.failed == 0
    assert scene.versions() == [first, WHOLE]


@pytest.mark.parametrize("moment", ["after rename", "amid upload", "after upload", "before settlement"])
def test_a_run_in_which_everything_failed(scene: Scene, moment: str) -> None:
    scene.script(*NAMES)
    folder = scene.run()
    assert Run(folder).status is RunStatus.FAILED
    scene.script("00.txt")
    kill(folder, moment)
    scene.script()
    assert replay(folder, Silent()).status is RunStatus.COMPLETED
    assert scene.versions() == [WHOLE.removeprefix("row of 00.txt\n"), WHOLE], "the killed replay is finished before the new one"
    assert Run(folder).counts.items.failed == 0


def test_an_output_that_somebody_else_replaced_meanwhile_is_left_alone(scene: Scene) -> None:
    scene.script("04.txt")
    folder = scene.run()
    scene.script()
    kill(folder, "after rename")
    scene.bucket.put(OUTPUT, b"of another run\n")
    for _ in range(2):
        with pytest.raises(ReplayRefusedError, match=f"The output {scene.bucket.url}/{OUTPUT} is not the one the run wrote"):
            replay(folder, Silent())
    assert scene.versions()[-1] == "of another run\n"


def test_a_store_that_refuses_the_upload_costs_no_second_run(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.script("04.txt")
    folder = scene.run()
    scene.script()

    def refuse(*_: object) -> int:
        raise StoreError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "publish", refuse)
        with pytest.raises(StoreError):
            replay(folder, Silent())
    assert Run(folder).counts.items.failed == 1
    done = scene.calls.read_text()
    assert replay(folder, Silent()).counts.items.failed == 0
    assert scene.calls.read_text() == done
    assert scene.versions()[1:] == [WHOLE]


@pytest.mark.parametrize("action", ["append_row", "summary_only"])
@pytest.mark.parametrize("moment", ["after upload", "before settlement"])
def test_files_of_the_script_are_uploaded_too(scene: Scene, action: str, moment: str) -> None:
    scene.script("04.txt")
    folder = scene.run(output_action=action)
    scene.script(beside=True)
    if action == "append_row" or moment == "before settlement":
        kill(folder, moment)
    assert replay(folder, Silent()).counts.items.failed == 0
    assert scene.objects() == ["out/04.txt.note", *([OUTPUT] if action == "append_row" else [])]
