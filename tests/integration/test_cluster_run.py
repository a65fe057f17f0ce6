"""What is known of a run on a cluster without Ray: signs of life, whoever holds an output, the mirror, the share of a node."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from batchmill.errors import OutputBusyError, StoreError, UsageError
from batchmill.nodes.coordinator_actor import in_pieces
from batchmill.nodes.coordinator_beat import CoordinatorBeat
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.credentials import Credentials
from batchmill.nodes.node_share import node_share
from batchmill.parallel_run import cluster_run, heart
from batchmill.parallel_run.cluster_run import ClusterRun, move
from batchmill.parallel_run.output_holder import NOTE, OutputHolder
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import LedgerMirror, SegmentedLedger
from batchmill.records import Counts, RunStatus
from batchmill.workspace.ray_cluster import ClusterError, ClusterNode


@pytest.fixture
def run(new_cluster_run: ClusterRun) -> ClusterRun:
    """A run that was handed to a cluster, of which nothing is known yet."""
    new_cluster_run.begin()
    return new_cluster_run


def test_the_address_is_part_of_the_description(run: ClusterRun) -> None:
    assert run.address == "head:6379"
    assert json.loads(run.folder.settings.read_text())["cluster"] == {"address": "head:6379", "bundle": None}


def test_a_run_without_a_beat_is_interrupted(run: ClusterRun) -> None:
    assert not run.alive()
    assert Run(run.folder).status is RunStatus.INTERRUPTED


def test_the_last_word_of_a_coordinator_is_heard_however_short_ago_the_last_look_was(run: ClusterRun) -> None:
    ledger = SegmentedLedger(run.folder.path / "of-the-cluster.sqlite", run.store.files)
    ledger.begin()
    ledger.claim()
    run.store.beat(1, "Running", {})
    handle = Run(run.folder)
    assert handle.status is RunStatus.RUNNING
    ledger.end(RunStatus.CANCELED, None, Counts())
    ledger.close()
    run.store.beat(1, "Canceled", {}, over=True)
    assert handle.status is RunStatus.CANCELED


def test_a_beating_run_is_alive_until_it_says_that_it_is_over(run: ClusterRun, tmp_path: Path) -> None:
    request = tmp_path / "cancel"
    beat = CoordinatorBeat(run.store, request)
    beat.start()
    beat.announce("grouping needs 3 GB")
    beat.started(Counts())
    run.cancel()
    deadline = time.monotonic() + 30
    while not (request.exists() and (found := run.heartbeat()) is not None and found.facts["planned"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert run.alive()
    assert (found.facts["said"], found.facts["planned"]) == (["grouping needs 3 GB"], True)
    beat.refused(UsageError("No.", cure="Yes."))
    beat.stop()
    assert not run.alive()
    told = run.heartbeat()
    assert told is not None
    assert told.facts["refused"]["class"] == "UsageError"


def test_one_that_was_replaced_is_not_heard_any_more(run: ClusterRun, tmp_path: Path) -> None:
    """It woke up when the run had ended without it."""
    older, newer = (CoordinatorBeat(run.store, tmp_path / "cancel") for _ in range(2))
    older.epoch, newer.epoch = 1, 2
    older.stop(over=False)
    newer.ended(RunStatus.COMPLETED, Counts(), None)
    newer.stop()
    older.refused(UsageError("No."))
    older.stop()
    found = run.heartbeat()
    assert found is not None
    assert (found.epoch, found.status, "refused" in found.facts) == (2, "Completed", False)


def test_clocks_that_differ(run: ClusterRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat whose time says nothing counts when another one follows, and not when none does."""
    monkeypatch.setattr(heart, "BEAT", 0.05)
    monkeypatch.setattr("batchmill.parallel_run.run_store.time", FarClock())
    run.store.beat(1, "Running", {})
    assert not run.alive()
    run.store.beat(1, "Running", {})
    assert run.alive()
    assert run.alive()


class FarClock:
    """A clock that is an hour ahead, or another time."""

    def __init__(self, ahead: float = 3600) -> None:
        self.ahead = ahead

    def time(self) -> float:
        return time.time() + self.ahead


def test_the_folder_mirrors_ledger_and_logs(run: ClusterRun, tmp_path: Path) -> None:
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=run.folder.id, name="score")
    ledger.claim()
    run.store.files.put("logs/user/stdout/node0/process000.stdout.txt", b"hello\n")
    handle = Run(run.folder)
    handle.refresh()
    assert (run.folder.logs / "user/stdout/node0/process000.stdout.txt").read_text() == "hello\n"
    run.store.beat(1, "Running", {})
    assert handle.status is RunStatus.RUNNING
    ledger.end(RunStatus.FAILED, "no", Counts())
    ledger.close()
    assert Run(run.folder).status is RunStatus.FAILED
    assert Run(run.folder).error == "no"


class SilentStore:
    """Run stores that do not answer, which takes long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        monkeypatch.setattr(cluster_run, "LONG", -1.0)
        monkeypatch.setattr(RunStore, "alive", lambda _store: self.wait())
        monkeypatch.setattr(LedgerMirror, "refresh", lambda _mirror: self.wait())

    def wait(self) -> None:
        self.asked += 1
        raise StoreError("It does not answer.")


@pytest.mark.parametrize(("status", "asked"), [(RunStatus.COMPLETED, 0), (RunStatus.FAILED, 1)])
def test_who_looks_at_many_runs_waits_for_a_store_that_does_not_answer_once(
    run: ClusterRun, monkeypatch: pytest.MonkeyPatch, status: RunStatus, asked: int
) -> None:
    """And not at all for runs of which nothing new can be said."""
    ledger = SegmentedLedger(run.folder.ledger, run.store.files)
    ledger.claim()
    ledger.end(status, None, Counts())
    ledger.close()
    silent = SilentStore(monkeypatch)
    for _ in range(3):
        assert Run(run.folder).record().status is status
    assert silent.asked == asked


def test_a_lost_run_is_canceled_in_its_store(run: ClusterRun, tmp_path: Path) -> None:
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=run.folder.id, name="score")
    ledger.claim()
    Run(run.folder).cancel()
    assert Run(run.folder).status is RunStatus.CANCELED
    other = SegmentedLedger(tmp_path / "elsewhere.sqlite", run.store.files)
    assert other.status is RunStatus.CANCELED
    ledger.close()
    other.close()


def test_another_cluster(run: ClusterRun, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at 127\.0\.0\.1:9"):
        move(run.folder, "ray:127.0.0.1:9")
    assert ClusterRun.of(run.folder).address == "head:6379"
    asked: list[str] = []
    monkeypatch.setattr(cluster_run, "_ask", asked.append)
    move(run.folder, "ray:other:6379")
    assert asked == ["other:6379"]
    assert ClusterRun.of(run.folder).address == "other:6379"
    with pytest.raises(UsageError, match="is no Ray cluster"):
        move(run.folder, "cpu-cluster")
    run.store.beat(1, "Running", {})
    with pytest.raises(UsageError, match="is running on the cluster at other:6379"):
        move(run.folder, "ray:third:6379")


def test_a_removed_run_leaves_the_results(run: ClusterRun, tmp_path: Path) -> None:
    run.store.results.put("parallel_run_step.txt", b"rows\n")
    run.store.files.put("settings.json", b"{}")
    OutputHolder(run.store, run.folder.id, "score").take()
    Run(run.folder).remove()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["parallel_run_step.txt"]
    assert not run.folder.path.exists()


def test_a_removed_run_leaves_the_note_of_another_one(run: ClusterRun, tmp_path: Path) -> None:
    OutputHolder(RunStore(str(tmp_path / "out"), "other"), "other", "score").take()
    Run(run.folder).remove()
    assert json.loads((tmp_path / "out" / NOTE).read_text()) == ["other", "score"]


def test_an_output_has_one_holder_while_it_lives(tmp_path: Path) -> None:
    place = str(tmp_path)
    first, second = (OutputHolder(RunStore(place, name), name, name.upper()) for name in ("one", "two"))
    first.refuse_if_held()
    first.take()
    second.refuse_if_held()  # it has never given a sign of life
    RunStore(place, "one").beat(1, "Running", {})
    first.refuse_if_held()
    with pytest.raises(OutputBusyError, match=r"is being written by run one \(ONE\)"):
        second.refuse_if_held()
    assert "one (ONE)" in second.named(OutputBusyError("by another run")).message
    RunStore(place, "one").beat(1, "Completed", {}, over=True)
    second.refuse_if_held()


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_holder_whose_clock_is_another_one_holds_while_it_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    monkeypatch.setattr(heart, "BEAT", 0.05)
    monkeypatch.setattr("batchmill.parallel_run.run_store.time", FarClock(ahead))
    place, name = str(tmp_path), f"far{ahead}"
    OutputHolder(RunStore(place, name), name, name).take()
    beats, other = RunStore(place, name), OutputHolder(RunStore(place, "other"), "other", "other")
    beats.beat(1, "Running", {})
    other.refuse_if_held()  # it has died, whatever its time says
    beats.beat(1, "Running", {})
    with pytest.raises(OutputBusyError, match=f"by run {name}"):
        other.refuse_if_held()


def test_orders_travel_in_small_pieces() -> None:
    secret = {"AWS_CA_BUNDLE": bytes(300_000)}
    order = CoordinatorOrder("r", {}, "/out", "snapshot", 0, {}, credentials=Credentials({}, secret))
    pieces = in_pieces(order)
    assert max(map(len, pieces)) < 100 << 10  # what Ray keeps with the actor
    assert "AWS" not in repr(order)


@pytest.mark.parametrize(
    ("cpus", "gpus", "nodes", "workers", "each", "expected"),
    [
        ([8, 8], [0, 0], 2, None, None, (8, {"CPU": 8.0})),
        ([8, 8], [0, 0], 4, None, None, (4, {"CPU": 4.0})),
        ([8, 8], [0, 0], 2, 3, None, (3, {"CPU": 3.0})),
        ([], [], 2, None, None, (1, {"CPU": 1.0})),
        ([8, 8], [2, 2], 2, None, None, (2, {"CPU": 2.0, "GPU": 2.0})),
        ([8, 8], [2, 0], 2, None, None, (8, {"CPU": 8.0})),
        ([8, 8], [2, 0], 1, None, 0.5, (4, {"CPU": 4.0, "GPU": 2.0})),
    ],
)
def test_the_share_of_a_node(
    cpus: list[int], gpus: list[int], nodes: int, workers: int | None, each: float | None, expected: tuple[int, dict[str, float]]
) -> None:
    machines = [
        ClusterNode(str(number), "host", total={"CPU": float(cpu), **({"GPU": float(gpu)} if gpu else {})})
        for number, (cpu, gpu) in enumerate(zip(cpus, gpus, strict=True))
    ]
    assert node_share(machines, nodes, workers, each) == expected
