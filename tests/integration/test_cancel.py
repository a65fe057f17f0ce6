"""Cancelling from Python."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

import batchmill
from batchmill.nodes import coordinator as coordinator_room
from batchmill.nodes.coordinator import Coordinator
from batchmill.parallel_run import run_places
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import Counts, RunStatus
from batchmill.settings import RunSettings


def prepared(tmp_path: Path, script: str) -> RunFolder:
    (tmp_path / "in").mkdir()
    (tmp_path / "src").mkdir()
    for number in range(20):
        (tmp_path / "in" / f"{number:02d}.txt").touch()
    (tmp_path / "src" / "score.py").write_text(script)
    settings = {"script": str(tmp_path / "src" / "score.py"), "inputs": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    return create_run(RunSettings.parse({**settings, "workers": 1, "mini_batch_size": 1}))


def carry_out(folder: RunFolder) -> RunStatus:
    coordinator = Coordinator(folder)
    coordinator.prepare()
    return coordinator.carry_out().status


def test_a_request_before_the_beginning_counts_and_a_resume_forgets_it(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "import time\ndef run(files):\n    time.sleep(0.05)\n    return files\n")
    folder.cancel_request.touch()
    assert carry_out(folder) is RunStatus.CANCELED
    assert Run(folder).counts.items.succeeded == 0
    assert carry_out(folder) is RunStatus.COMPLETED


@pytest.mark.parametrize(("room", "phase"), [(coordinator_room, "make_plan"), (run_places, "take_snapshot")])
def test_a_request_while_the_run_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: ModuleType, phase: str) -> None:
    folder = prepared(tmp_path, "def run(files):\n    return files\n")
    begun = threading.Event()

    def take_long(*_: object, **__: object) -> None:
        begun.set()
        threading.Event().wait(60)

    def cancel() -> None:
        assert begun.wait(30)
        Run(folder).cancel()

    other = threading.Thread(target=cancel)
    other.start()
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(room, phase, take_long)
        assert carry_out(folder) is RunStatus.CANCELED
    assert time.monotonic() - began < 30
    other.join()
    run = Run(folder)
    assert (run.status, run.error, run.counts) == (RunStatus.CANCELED, None, Counts())
    assert not folder.alive()
    assert not folder.cancel_request.exists()
    assert carry_out(folder) is RunStatus.COMPLETED
    assert run.counts.items.succeeded == 20


def test_a_failed_run_stays_failed(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "def run(files):\n    raise ValueError('no')\n")
    assert carry_out(folder) is RunStatus.FAILED
    Run(folder).cancel()
    assert Run(folder).status is RunStatus.FAILED


def test_a_detached_run_is_canceled_and_resumed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"import os, time\ndef run(files):\n    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)\n    return files\n"
    folder = prepared(tmp_path, script)
    source = str(tmp_path / "src" / "score.py")
    run = batchmill.run(source, inputs=str(tmp_path / "in"), output=str(tmp_path / "detached"), mini_batch_size=1, workers=1)
    run.cancel()
    assert run.wait(60).status is RunStatus.CANCELED
    gate.touch()
    assert run.resume().wait(60).status is RunStatus.COMPLETED
    assert run.counts.items.succeeded == 20
    assert folder.path.exists()


def test_what_a_canceled_run_wrote_is_left_alone_by_the_next_one(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "def run(files):\n    return files\n")
    coordinator = Coordinator(folder)
    coordinator.prepare()
    folder.cancel_request.touch()
    assert coordinator.carry_out().status is RunStatus.CANCELED
    (partial,) = (tmp_path / "out").iterdir()
    script, inputs = str(tmp_path / "src" / "score.py"), str(tmp_path / "in")
    other = create_run(RunSettings.parse({"script": script, "inputs": inputs, "output": str(tmp_path / "out")}))
    assert carry_out(other) is RunStatus.COMPLETED
    assert sorted(partial.parent.iterdir()) == [partial.with_name("parallel_run_step.txt"), partial]
