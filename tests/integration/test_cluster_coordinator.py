"""A coordinator on a cluster as far as it comes without Ray: until its nodes begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import BatchmillError, LedgerFencedError, OutputBusyError, StoreError
from batchmill.nodes import cluster_coordinator
from batchmill.nodes.cluster_coordinator import ClusterCoordinator
from batchmill.nodes.coordinator_actor import _Incarnation
from batchmill.nodes.node_order import PlanOrder
from batchmill.nodes.plan_mirror import fetch_plan, published_plan
from batchmill.nodes.scratch import Scratch
from batchmill.nodes.submission import Submission
from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.output_claim import OutputClaim
from batchmill.parallel_run.run import create_run
from batchmill.settings import RunSettings
from batchmill.storage.shared_store import SharedStore
from batchmill.worker.plan_file import PlanFile

Make = Callable[[str], ClusterCoordinator]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterRun:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "score.py").write_text("def run(files):\n    return files\n")
    values = {"script": str(tmp_path / "score.py"), "inputs": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    made = ClusterRun.of(create_run(RunSettings.parse({**values, "compute": "ray:head:6379"})))
    made.begin()
    return made


@pytest.fixture
def coordinator(run: ClusterRun, tmp_path: Path) -> Iterator[Make]:
    """Makes incarnations of one order, each with a name of its own."""
    order = Submission(run).prepare()
    (tmp_path / "machine").mkdir()
    made: list[ClusterCoordinator] = []

    def make(name: str) -> ClusterCoordinator:
        laid_out = _Incarnation(order, Scratch(order.run_id, order.epoch, name, tmp_path / "machine"))
        made.append(ClusterCoordinator(laid_out._folder, order, laid_out._store, laid_out._beat))
        return made[-1]

    yield make
    for one in made:
        one.target.release()
        one._logs.close()
        one.folder.unlock()
        if hasattr(one, "ledger"):
            one.ledger.close()


def test_one_that_is_started_again_does_not_wait_for_the_lock_of_the_one_before(coordinator: Make) -> None:
    """That hangs, or the file system does not know yet that its machine is gone."""
    lost, again = coordinator("coordinator-1"), coordinator("coordinator-2")
    lost.prepare()
    again.prepare()
    assert again.epoch == 2
    again._still_ours()
    with pytest.raises(LedgerFencedError), lost.ledger.transaction():
        lost.ledger.add_warning("late")


def test_another_run_that_got_the_output_when_the_one_before_was_gone_keeps_it(coordinator: Make, tmp_path: Path) -> None:
    lost, again = coordinator("coordinator-1"), coordinator("coordinator-2")
    lost.prepare()
    again.prepare()
    lost._let_go()
    claim = OutputClaim(tmp_path / "out", "of this machine")
    with pytest.raises(OutputBusyError):
        again._still_ours()
    claim.release()
    again._still_ours()
    with pytest.raises(OutputBusyError):
        OutputClaim(tmp_path / "out", "of this machine")


def test_an_output_that_another_run_holds_is_left_to_it(coordinator: Make, tmp_path: Path) -> None:
    lost = coordinator("coordinator-1")
    lost.prepare()
    lost._let_go()
    claim = OutputClaim(tmp_path / "out", "of this machine")
    with pytest.raises(OutputBusyError, match="by another run"):
        coordinator("coordinator-2").prepare()
    claim.release()


def test_what_is_refused_after_the_output_was_taken_leaves_nothing(run: ClusterRun, tmp_path: Path) -> None:
    (tmp_path / "in" / "a").unlink()
    submission = Submission(run)
    order = submission.prepare()
    (tmp_path / "machine").mkdir()
    laid_out = _Incarnation(order, Scratch(order.run_id, order.epoch, "coordinator-1", tmp_path / "machine"))
    with pytest.raises(BatchmillError, match="holds no files"):
        ClusterCoordinator(laid_out._folder, order, laid_out._store, laid_out._beat).prepare()
    submission.withdraw()
    submission.undo()
    assert not (tmp_path / "out").exists()


def test_the_plan_of_one_that_was_only_thought_dead_is_no_part_of_that_of_its_successor(
    coordinator: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept when it was about to publish its plan, and there are more files by now."""
    lost, again = coordinator("coordinator-1"), coordinator("coordinator-2")
    publish = cluster_coordinator.publish_plan

    def sleep(files: SharedStore, folder: Path, *more: Any) -> PlanOrder:
        monkeypatch.undo()
        lost.target.release()
        (tmp_path / "in" / "b").write_text("b")
        again.prepare()
        return publish(files, folder, *more)

    monkeypatch.setattr(cluster_coordinator, "publish_plan", sleep)
    lost.prepare()
    order, folder = published_plan(again.store.files), tmp_path / "as a node has it"
    assert order is not None
    folder.mkdir()
    fetch_plan(again.store.files, order, folder)
    assert [str(item.path) for item in map(PlanFile(str(folder)).item, range(2))] == [str(tmp_path / "in" / name) for name in "ab"]


def test_a_run_whose_ledger_was_removed_from_the_store_does_not_begin_again_unnoticed(
    coordinator: Make, run: ClusterRun, tmp_path: Path
) -> None:
    """Whoever mirrors it would wait for what comes after the last that it has."""
    first = coordinator("coordinator-1")
    first.prepare()
    run.refresh()
    run.store.files.clear("")
    order, room = Submission(run).prepare(), Scratch(run.folder.id, 1, "coordinator-2", tmp_path / "machine")
    laid_out = _Incarnation(order, room)
    with pytest.raises(StoreError, match=r"was removed from .* Start the run anew"):
        ClusterCoordinator(laid_out._folder, order, laid_out._store, laid_out._beat).prepare()
