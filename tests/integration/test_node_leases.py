"""Nodes with real workers: leases that are taken back, nodes that are drained, rows that leave the node before they are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchmill.nodes.local import LocalEngine
from batchmill.nodes.output_files import OutputFiles
from batchmill.nodes.part_sync import PartSync
from batchmill.nodes.segment_sync import SegmentSync
from batchmill.parallel_run.events import Done, Event, Hungry, NodeGaveUp, Returned, ShutdownProblem, Task, TryFailed, WorkerReady
from batchmill.parallel_run.merged_outcomes import worker_of
from batchmill.storage.shared_store import SharedStore, shared_store
from tests.integration.test_core_failures import NAMES
from tests.integration.test_nodes import prepared
from tests.memory_store import MemoryStore

WAITS = """
import os, time
def run(files):
    marks = os.environ["MARKS"]
    open(os.path.join(marks, os.path.basename(files[0])), "a").write("began\\n")
    while os.path.basename(files[0]).startswith("wait") and not os.path.exists(os.path.join(marks, "go")):
        time.sleep(0.01)
    return [os.path.basename(path) for path in files]
"""
"""Says which items were begun; those whose names begin with wait take until there is a file ``go``."""

WRITES = """
import os
from azureml_user.parallel_run import EntryScript
def run(files):
    for path in files:
        with open(os.path.join(EntryScript().output_dir, os.path.basename(path) + ".out"), "w") as file:
            file.write("of " + os.path.basename(path))
    return files
def shutdown():
    with open(os.path.join(EntryScript().output_dir, "end.out"), "w") as file:
        file.write("the end")
"""


class Nodes:
    """An engine with a list of everything that it told."""

    def __init__(self, engine: LocalEngine, marks: Path) -> None:
        self.engine = engine
        self.told: list[Event] = []
        self.marks = marks
        self.node = engine.nodes[0]

    def until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not met():
            assert time.monotonic() < deadline, self.told
            self.told += self.engine.step(0.05)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.told if isinstance(event, kind)]

    def ready(self, workers: int) -> None:
        self.until(lambda: len(self.of(WorkerReady)) >= workers)

    def begun(self, name: str) -> bool:
        return (self.marks / name).exists()

    def done(self) -> list[int]:
        return sorted(k for one in self.told if isinstance(one, Done) for k in range(one.first, one.first + one.count))

    def returned(self) -> list[int]:
        return sorted(k for one in self.told if isinstance(one, Returned) for k in range(one.first, one.first + one.count))


@contextmanager
def nodes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    *items: str,
    parts: Callable[[Path], PartSync] | None = None,
    **more: object,
) -> Iterator[Nodes]:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("MARKS", str(marks))
    coordinator, config = prepared(tmp_path, script, *items, **more)
    made = None if parts is None else lambda name: parts(config.output_dir)
    engine = LocalEngine(config, most=1, first_node=7, parts=made)
    try:
        engine.start()
        yield Nodes(engine, marks)
    finally:
        engine.abort()
        coordinator.discard()


def test_a_revoked_lease_that_runs_is_killed_and_nothing_is_told_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes(tmp_path, monkeypatch, WAITS, "a", "b", "wait", workers=1) as one:
        assert one.node == "node7"
        one.ready(1)
        one.engine.give("node7", [Task(1, 2), Task(2, 0)])
        one.until(lambda: one.begun("wait"))
        one.engine.revoke("node7", 1)
        one.until(lambda: one.done() == [0])
        assert len(one.of(WorkerReady)) == 2, "its worker was replaced"
        assert not one.of(TryFailed)
        assert not one.returned()


def test_a_revoked_lease_that_waits_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes(tmp_path, monkeypatch, WAITS, "a", "b", "wait", workers=1) as one:
        one.ready(1)
        one.engine.give("node7", [Task(1, 2), Task(2, 0), Task(3, 1)])
        one.until(lambda: one.begun("wait"))
        one.engine.revoke("node7", 2)
        (one.marks / "go").touch()
        one.until(lambda: one.done() == [1, 2])
        assert not one.begun("a")
        assert len(one.of(WorkerReady)) == 1


def test_a_drained_node_ends_what_is_begun_and_gives_back_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b", "c", "d", "wait"]
    with nodes(tmp_path, monkeypatch, WAITS, *names, workers=1) as one:
        one.ready(1)
        one.engine.give("node7", [Task(1, 4), Task(2, 0, 4)])
        one.until(lambda: one.begun("wait"))
        one.engine.drain("node7")
        one.until(lambda: one.returned() == [0, 1, 2, 3])
        hungry = len(one.of(Hungry))
        one.engine.give("node7", [Task(3, 0, 2)])
        one.until(lambda: one.returned() == [0, 0, 1, 1, 2, 3])
        (one.marks / "go").touch()
        one.until(lambda: one.done() == [4])
        one.engine.finish(one.told.extend)
        assert len(one.of(Hungry)) == hungry, "it asks for nothing more"
        assert not one.begun("a")


def test_a_busy_chunk_of_a_drained_node_is_cut_behind_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the node knows how fast its workers are, one chunk holds many mini-batches."""
    names = [*(f"a{k:03d}" for k in range(400)), *(f"wait{k:03d}" for k in range(100))]
    with nodes(tmp_path, monkeypatch, WAITS, *names, workers=1) as one:
        one.ready(1)
        one.engine.give("node7", [Task(1, 0, 500)])
        one.until(lambda: one.begun("wait000"))
        one.engine.drain("node7")
        one.until(lambda: len(one.returned()) == 99)
        (one.marks / "go").touch()
        one.until(lambda: len(one.done()) == 401)
        assert sorted(one.done() + one.returned()) == list(range(500))


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
    return shared_store(str(tmp_path / "shared")) if request.param == "folder" else MemoryStore()


def test_rows_of_a_node_of_a_cluster_lie_in_the_store_when_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: SharedStore
) -> None:
    names = [f"item{k:03d}" for k in range(300)]

    def parts(_: Path) -> PartSync:
        return SegmentSync(store, 1, "node7", 20.0)

    with nodes(tmp_path, monkeypatch, NAMES, *names, parts=parts, workers=2) as one:
        one.ready(2)
        one.engine.give("node7", [Task(1, 0, 300)])
        one.until(lambda: len(one.done()) == 300)
        assert one.done() == list(range(300))
        outcomes = sorted((event for event in one.told if isinstance(event, Done)), key=lambda done: done.first)
        rows = b"".join(store.read(f"parts/{done.part}", done.offset, done.length) for done in outcomes)
        assert rows.decode().split() == names
        assert {worker_of(done.worker, k) for done in outcomes for k in range(done.count)} == {"process000", "process001"}
        assert len(list(store.list("parts"))) < 60
        one.engine.finish(one.told.extend)


def test_a_store_that_stays_away_ends_the_node_and_everything_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.refusals = 1000

    def parts(_: Path) -> PartSync:
        return SegmentSync(store, 1, "node7", 0.3)

    with nodes(tmp_path, monkeypatch, WAITS, "a", "b", "wait0", "wait1", parts=parts, workers=2) as one:
        one.ready(2)
        one.engine.give("node7", [Task(1, 0, 2), Task(2, 2, 2)])
        one.until(lambda: bool(one.of(NodeGaveUp)))
        (gave_up,) = one.of(NodeGaveUp)
        assert isinstance(gave_up, NodeGaveUp)
        assert "the store is away" in gave_up.error.message
        assert one.told[-1] is gave_up, "everything else was told before"
        assert one.returned() == [0, 1, 2, 3]
        assert not one.done()
        assert not one.of(TryFailed), "nobody is charged for it"
        assert not one.engine.processes
        one.engine.give("node7", [Task(3, 0, 2)])
        one.until(lambda: len(one.returned()) == 6)


def test_files_that_scripts_write_reach_the_output_with_the_outcomes_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()

    def parts(folder: Path) -> PartSync:
        return SegmentSync(store.below("run"), 1, "node7", 20.0, OutputFiles(folder, store.below("out")))

    with nodes(tmp_path, monkeypatch, WRITES, "a", "b", parts=parts, workers=1, output_action="summary_only") as one:
        one.ready(1)
        one.engine.give("node7", [Task(1, 0, 2)])
        one.until(lambda: one.done() == [0, 1])
        assert {name: store.objects[name] for name in ("out/a.out", "out/b.out")} == {"out/a.out": b"of a", "out/b.out": b"of b"}
        assert "out/end.out" not in store.objects
        one.engine.finish(one.told.extend)
        assert store.objects["out/end.out"] == b"the end"


def test_files_that_cannot_be_uploaded_after_the_last_outcome_are_a_problem_of_the_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()

    def parts(folder: Path) -> PartSync:
        return SegmentSync(store.below("run"), 1, "node7", 0.3, OutputFiles(folder, store.below("out")))

    with nodes(tmp_path, monkeypatch, WRITES, "a", parts=parts, workers=1, output_action="summary_only") as one:
        one.ready(1)
        one.engine.give("node7", [Task(1, 0, 1)])
        one.until(lambda: one.done() == [0])
        store.refusals = 1000
        one.engine.finish(one.told.extend)
        (problem,) = one.of(ShutdownProblem)
        assert "the store is away" in str(problem)
        assert not one.of(NodeGaveUp)
