"""How incarnations of a coordinator on a cluster end, without Ray: replaced, refused, interrupted, after many deaths, after the end."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import LedgerFencedError, UsageError
from batchmill.nodes import coordinator_actor
from batchmill.nodes.coordinator_actor import DEATHS, _Incarnation
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.path_proof import PathProof, check_proofs, make_proofs
from batchmill.nodes.scratch import Scratch
from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.records import Counts, RunStatus
from batchmill.storage.shared_store import SharedStore


class Pretended:
    """A coordinator that only ends."""

    end: RunStatus | Exception = RunStatus.COMPLETED

    def __init__(self, *parts: Any) -> None:
        pass

    def prepare(self) -> None:
        pass

    def carry_out(self) -> Ending:
        if isinstance(self.end, Exception):
            raise self.end
        return Ending(self.end, None, Counts())


@pytest.fixture
def run(new_cluster_run: ClusterRun) -> ClusterRun:
    return new_cluster_run


@pytest.fixture
def order(run: ClusterRun, tmp_path: Path) -> CoordinatorOrder:
    proofs = make_proofs([tmp_path / "in"])
    return CoordinatorOrder(run.folder.id, run.description, run.place, "snapshot", 0, {"id": run.folder.id, "name": "score"}, proofs)


def incarnation(order: CoordinatorOrder, tmp_path: Path, name: str = "coordinator-1") -> _Incarnation:
    return _Incarnation(order, Scratch(order.run_id, order.epoch, name, tmp_path / "scratch"))


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(coordinator_actor, "ClusterCoordinator", Pretended)


def test_a_replaced_one_disturbs_nobody(run: ClusterRun, order: CoordinatorOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that goes on still beats, and its nodes still look for the proofs."""
    monkeypatch.setattr(Pretended, "end", LedgerFencedError("replaced"))
    with pytest.raises(LedgerFencedError):
        incarnation(order, tmp_path).carry_out()
    found = run.heartbeat()
    assert found is None or not found.facts.get("over")
    assert check_proofs(order.proofs) == []


def test_one_whose_machine_is_stopped_leaves_the_run_to_the_next(
    run: ClusterRun, order: CoordinatorOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretended, "end", RunStatus.INTERRUPTED)
    assert incarnation(order, tmp_path).carry_out() is RunStatus.INTERRUPTED
    found = run.heartbeat()
    assert found is None or not found.facts.get("over")
    assert check_proofs(order.proofs) == []


def test_nothing_is_written_after_a_refusal_can_be_seen(
    run: ClusterRun, order: CoordinatorOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees it removes the run folder in the store."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(Pretended, "end", UsageError("no"))
    made = incarnation(order, tmp_path)
    write = made._store.files.put

    def put(name: str, data: bytes, *, durable: bool) -> None:
        seen.append(json.loads(data)["facts"])
        write(name, data, durable=durable)

    monkeypatch.setattr(made._store.files, "put", put)
    with pytest.raises(UsageError):
        made.carry_out()
    assert [facts for facts in seen if "refused" in facts] == seen[-1:]
    assert seen[-1]["over"]
    assert check_proofs(order.proofs) == [str(tmp_path / "in")], "they were removed"


def refusal(run: ClusterRun) -> str:
    """What whoever follows the run hears."""
    found = run.heartbeat()
    assert found is not None
    assert found.facts["over"]
    return str(found.facts["refused"]["error"])


def test_one_that_is_started_again_where_the_input_is_not_seen_says_so(run: ClusterRun, order: CoordinatorOrder, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(UsageError):
        incarnation(order, tmp_path).carry_out()
    assert refusal(run).startswith(f"{tmp_path / 'in'} is not seen by the nodes of the cluster")


def test_one_that_is_started_again_where_the_output_is_not_seen_makes_none(order: CoordinatorOrder, tmp_path: Path) -> None:
    order = replace(order, proofs=(PathProof(order.output, token=("elsewhere", "text")),))
    with pytest.raises(UsageError, match="--output"):
        incarnation(order, tmp_path).carry_out()
    assert not (tmp_path / "out").exists()


def test_one_that_ends_with_a_defect_says_what_it_was(
    run: ClusterRun, order: CoordinatorOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretended, "end", ZeroDivisionError("by zero"))
    with pytest.raises(ZeroDivisionError):
        incarnation(order, tmp_path).carry_out()
    assert refusal(run) == "The coordinator ended with ZeroDivisionError: by zero"


def test_it_gives_signs_of_life_while_it_reads_the_ledger(
    run: ClusterRun, order: CoordinatorOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever handed the run over ends one that gives none for two minutes; a long ledger takes more."""

    def long(path: Path, store: SharedStore) -> SegmentedLedger:
        deadline = time.monotonic() + 30
        while run.heartbeat() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return SegmentedLedger(path, store)

    monkeypatch.setattr(coordinator_actor, "SegmentedLedger", long)
    assert incarnation(order, tmp_path).carry_out() is RunStatus.COMPLETED


def test_after_many_deaths_without_progress_the_run_fails(run: ClusterRun, order: CoordinatorOrder, tmp_path: Path) -> None:
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=order.run_id, name="score")
    for _ in range(DEATHS):
        ledger.claim()
    ledger.close()
    assert incarnation(order, tmp_path).carry_out() is RunStatus.COMPLETED, "one more try"
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.claim()
    ledger.close()
    assert incarnation(order, tmp_path, "coordinator-2").carry_out() is RunStatus.FAILED
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    assert (ledger.status, ledger.meta("deaths")) == (RunStatus.FAILED, "0"), "a resume has as many tries"
    assert "died 10 times" in (ledger.meta("error") or "")
    ledger.close()
    found = run.heartbeat()
    assert found is not None
    assert found.facts["over"]


def test_one_that_is_started_after_the_end_clears_up(run: ClusterRun, order: CoordinatorOrder, tmp_path: Path) -> None:
    ledger = SegmentedLedger(tmp_path / "there.sqlite", run.store.files)
    ledger.begin(id=order.run_id, name="score")
    ledger.claim()
    ledger.end(RunStatus.COMPLETED, None, Counts())
    ledger.close()
    run.store.parts.put("1-node0-0", b"rows")
    assert incarnation(order, tmp_path).carry_out() is RunStatus.COMPLETED
    assert list(run.store.parts.list()) == []
    assert check_proofs(order.proofs) == [str(tmp_path / "in")], "they were removed"
    found = run.heartbeat()
    assert found is not None
    assert found.facts["over"]
