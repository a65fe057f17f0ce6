"""Nodes of a compute target: they may come later than the run, and have the memory of their size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.local import LocalEngine
from batchmill.parallel_run.events import NodeConfig, Task, TryFailed, WorkerReady
from batchmill.parallel_run.run import Run
from batchmill.records import RunStatus
from tests.integration.test_core_failures import NAMES, carry_out, new_run, wait_for, write_items

HOLDS = """
import signal

def init():
    global held
    held = []

def run(files):
    if "big" in files[0]:
        held.append(bytearray(b"x") * (400 << 20))
        while True:
            signal.pause()  # until the watch has seen it
    return files
"""


def prepared(tmp_path: Path, script: str, *items: str, **settings: object) -> tuple[Coordinator, NodeConfig]:
    coordinator = Coordinator(new_run(tmp_path, script, inputs=write_items(tmp_path / "in", *items), mini_batch_size=1, **settings))
    coordinator.prepare()
    coordinator._end_reserve()
    return coordinator, coordinator.node_config(coordinator.folder.snapshot)


def ready(engine: LocalEngine) -> str:
    event = wait_for(engine, WorkerReady)
    assert isinstance(event, WorkerReady)
    return event.node


def test_nodes_that_come_later_get_work(tmp_path: Path) -> None:
    coordinator, config = prepared(tmp_path, NAMES, "a", "b", nodes=3)
    engine = LocalEngine(config, granted=1)
    try:
        assert engine.nodes == ["node0"]
        engine.start()
        assert ready(engine) == "node0"
        assert engine.grow(1) == ["node1"]
        assert ready(engine) == "node1"
        assert engine.grow(5) == ["node2"], "never more than the run asked for"
        assert ready(engine) == "node2"
    finally:
        engine.abort()
        coordinator.discard()


def test_worker_beyond_the_memory_of_its_node_is_stopped_and_named(tmp_path: Path) -> None:
    coordinator, config = prepared(tmp_path, HOLDS, "big", workers=1)
    engine = LocalEngine(replace(config, memory_limit=200 << 20))
    try:
        engine.start()
        wait_for(engine, WorkerReady)
        engine.give("node0", [Task(1, 0)])
        failed = wait_for(engine, TryFailed)
        assert isinstance(failed, TryFailed)
        assert failed.error.error_class == "OutOfMemory"
        assert failed.error.memory
        assert "209,715,200 bytes" in failed.error.message
    finally:
        engine.abort()
        coordinator.discard()


def test_run_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    folder = new_run(tmp_path, NAMES, inputs=write_items(tmp_path / "in", "a", "b"), output=str(tmp_path / "<out>"), mini_batch_size=1)
    assert carry_out(folder).status is RunStatus.COMPLETED
    shown = Run(folder)._repr_html_()
    assert "<th>Items</th><td>2 = 2 succeeded + 0 failed + 0 not run</td>" in shown
    assert "&lt;out&gt;/parallel_run_step.txt" in shown


def test_workers_do_not_inherit_the_key_of_the_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", "a long phrase of a team")
    script = "import os\ndef run(files):\n    return [sorted(name for name in os.environ if 'SECRET' in name)]\n"
    folder = new_run(tmp_path, script, inputs=write_items(tmp_path / "in", "a"), output=str(tmp_path / "out"))
    assert carry_out(folder).status is RunStatus.COMPLETED
    assert (tmp_path / "out" / "parallel_run_step.txt").read_text() == "[]\n"
