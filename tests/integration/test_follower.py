"""Whoever follows a run on a cluster, without Ray: what the coordinator is pretended to say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import OutputError, StoreError
from batchmill.nodes import follower as module
from batchmill.nodes.cluster_handle import CoordinatorHandle
from batchmill.nodes.coordinator_beat import CoordinatorBeat, told
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.follower import Follower
from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run import create_run
from batchmill.parallel_run.run_store import Heartbeat
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.records import Counts, ItemCounts, MiniBatchCounts, RunStatus
from batchmill.settings import RunSettings
from batchmill.workspace.ray_cluster import ClusterError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterRun:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    (tmp_path / "in").mkdir()
    (tmp_path / "score.py").write_text("def run(files):\n    return files\n")
    monkeypatch.setattr(module, "_heed_termination", lambda: None)  # of the process of the tests
    values = {"script": str(tmp_path / "score.py"), "inputs": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    return ClusterRun.of(create_run(RunSettings.parse({**values, "compute": "ray:head:6379"})))


class NoConnection:
    """A cluster to which nobody connects."""

    def __init__(self, address: str) -> None:
        pass

    def wait(self) -> None:
        pass

    def leave(self) -> None:
        pass


class Coordinator:
    """One that ends when it is to be cancelled."""

    def __init__(self, run: ClusterRun) -> None:
        self.run = run
        self.asked = 0

    def outcome(self, timeout: float) -> Mapping[str, Any] | None:
        self.asked += 1
        assert self.asked < 100, "nobody cancels it"
        return {"status": "Canceled"} if self.run.store.cancel_requested() else None


def test_a_cancel_before_a_new_run_is_handed_over_counts(run: ClusterRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run.folder.cancel_request.touch()
    monkeypatch.setattr(module, "Connection", NoConnection)
    monkeypatch.setattr(module.CoordinatorHandle, "start", lambda order: Coordinator(run))
    Follower(run).prepare()
    assert not run.folder.cancel_request.exists()


class Gone(NoConnection):
    def wait(self) -> None:
        raise ClusterError("No Ray cluster answers at head:6379.", cure="Give the address of one.")


def test_a_run_whose_cluster_is_gone_says_how_it_goes_on_elsewhere(run: ClusterRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run.begin()
    monkeypatch.setattr(module, "Connection", Gone)
    with pytest.raises(ClusterError, match=f"at head:6379.*batchmill resume {run.folder.id} --compute ray:ADDRESS"):
        Follower(run).prepare()
    assert run.folder.settings.exists()


def test_a_coordinator_that_cannot_go_on_says_why(run: ClusterRun, tmp_path: Path) -> None:
    run.begin()
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=run.folder.id, name="score")
    ledger.claim()
    ledger.close()
    beat = CoordinatorBeat(run.store, tmp_path / "request")
    beat.planned()
    beat.refused(StoreError("Cannot write to s3://bucket/out: it does not answer."))
    beat.stop()
    ending = Follower(run).carry_out()
    assert ending.status is RunStatus.INTERRUPTED
    assert ending.error == f"Cannot write to s3://bucket/out: it does not answer. Then: batchmill resume {run.folder.id}"


def test_a_run_that_has_completed_meanwhile_is_followed_to_its_end(run: ClusterRun, tmp_path: Path) -> None:
    run.begin()
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=run.folder.id, name="score")
    ledger.claim()
    ledger.end(RunStatus.COMPLETED, None, Counts())
    ledger.close()
    run.store.beat(1, "Completed", {}, over=True)
    follower = Follower(run)
    follower.prepare()
    assert follower.carry_out().status is RunStatus.COMPLETED


def test_a_coordinator_that_begins_again_does_not_undo_what_was_shown(run: ClusterRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run.begin()
    done = Counts(ItemCounts(9, 6, 0, 3), MiniBatchCounts(3, 2, 0, 1)).as_dict()
    beats: list[tuple[dict[str, Any], dict[str, Any]]] = [(done, {}), ({}, {}), (done, {}), (done, {"refused": told(StoreError("enough"))})]
    shown: list[Counts] = []

    class Shown(Silent):
        def started(self, counts: Counts) -> None:
            shown.append(counts)

        update = started

    follower = Follower(run, Shown())
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(follower, "_worth_a_look", lambda: True)

    def heartbeat() -> Heartbeat:
        counts, facts = beats.pop(0)
        return Heartbeat(1, len(beats), "Running", 0.0, counts, facts)

    monkeypatch.setattr(run, "heartbeat", heartbeat)
    follower.carry_out()
    assert [counts.items.succeeded for counts in shown] == [6] * 3


def test_a_run_whose_coordinator_was_interrupted_is_followed_while_ray_knows_it(
    run: ClusterRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine was stopped in order, and another one takes longer to be found than a heart may rest."""
    run.begin()
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=run.folder.id, name="score")
    ledger.claim()
    ledger.end(RunStatus.INTERRUPTED, "Interrupted by SIGTERM.", Counts())
    run.store.beat(1, "Interrupted", {})

    def gone(address: str, run_id: str) -> bool:
        ledger.claim()
        ledger.end(RunStatus.FAILED, "of another reason", Counts())
        run.store.beat(2, "Failed", {}, over=True)
        return False

    monkeypatch.setattr(module, "STALE", 0.1)
    monkeypatch.setattr(module.CoordinatorHandle, "gone", gone)
    ending = Follower(run).carry_out()
    ledger.close()
    assert (ending.status, ending.error) == (RunStatus.FAILED, "of another reason")


@pytest.mark.parametrize("error", [StoreError("refused"), KeyboardInterrupt()])
@pytest.mark.parametrize("new", [True, False])
def test_who_hands_nothing_over_leaves_nothing_beside_the_inputs(
    run: ClusterRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, new: bool
) -> None:
    if not new:
        run.begin()

    def start(order: CoordinatorOrder) -> CoordinatorHandle:
        assert list((tmp_path / "in").iterdir()) != []
        raise error

    monkeypatch.setattr(module, "Connection", NoConnection)
    monkeypatch.setattr(module.CoordinatorHandle, "start", start)
    with pytest.raises(type(error)):
        Follower(run).prepare()
    assert list((tmp_path / "in").iterdir()) == []
    assert run.folder.path.exists() == (not new or isinstance(error, KeyboardInterrupt))


def test_an_output_that_is_no_folder_is_refused_as_on_this_machine(
    run: ClusterRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    monkeypatch.setattr(module, "Connection", NoConnection)
    with pytest.raises(OutputError, match=f"The output folder {tmp_path / 'out'} cannot be used: File exists. Choose another --output"):
        Follower(run).prepare()
    assert not run.folder.path.exists()
    assert list((tmp_path / "in").iterdir()) == []


def test_logs_that_take_long_to_look_through_are_looked_for_less_often(run: ClusterRun, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = [100.0], []

    def refresh(*, logs: bool) -> bool:
        if logs:
            looks.append(clock[0])
            clock[0] += 3.0
        return False

    follower = Follower(run)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(run, "refresh", refresh)
    while clock[0] < 200.0:
        follower._mirror(last=False)
        clock[0] += 1.0
    assert looks == [100.0, 133.0, 166.0, 199.0]
