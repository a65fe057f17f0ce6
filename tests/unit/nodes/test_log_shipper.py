"""Logs reach the run store while a node works; what has not changed stays where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.nodes.log_shipper import LogShipper, bring_back, interval, pause
from batchmill.parallel_run.run_folder import RunFolder
from tests.memory_store import MemoryStore


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path


def write(logs: Path, name: str, text: str) -> None:
    path = logs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def test_what_changed_is_put_again_and_nothing_else(logs: Path) -> None:
    store = MemoryStore()
    shipper = LogShipper(logs, store)
    write(logs, "user/stdout/node0/process000.stdout.txt", "one\n")
    write(logs, "user/stderr/node0/process000.stderr.txt", "")
    write(logs, "user/error.txt", "the coordinator writes this one\n")
    assert shipper.ship(100.0) == ["user/stdout/node0/process000.stdout.txt"]
    assert shipper.ship(102.0) == []
    write(logs, "user/stdout/node0/process000.stdout.txt", "two\n")
    assert shipper.ship(104.0) == ["user/stdout/node0/process000.stdout.txt"]
    assert store.objects == {"logs/user/stdout/node0/process000.stdout.txt": b"one\ntwo\n"}


def test_a_large_log_is_put_less_often_and_whole_at_the_end(logs: Path) -> None:
    shipper = LogShipper(logs, MemoryStore())
    write(logs, "large", "x" * (4 << 20))
    assert shipper.ship(100.0) == ["large"]
    write(logs, "large", "more")
    assert shipper.ship(104.0) == []
    assert shipper.ship(108.1) == ["large"]
    write(logs, "large", "end")
    assert shipper.ship(108.2, last=True) == ["large"]


def test_a_later_coordinator_goes_on_with_the_logs_of_an_earlier_one(tmp_path: Path) -> None:
    store = MemoryStore()
    first, second = RunFolder(tmp_path / "one" / "run"), RunFolder(tmp_path / "two" / "run")
    write(first.logs, "user/error.txt", "it failed\n")
    LogShipper(first.logs, store, leave_out=()).ship(100.0)
    bring_back(second, store)
    write(second.logs, "user/error.txt", "and again\n")
    LogShipper(second.logs, store, leave_out=()).ship(100.0)
    assert store.objects == {"logs/user/error.txt": b"it failed\nand again\n"}


def test_a_store_that_is_away_gets_them_later(logs: Path) -> None:
    store = MemoryStore()
    shipper = LogShipper(logs, store)
    write(logs, "a", "x")
    write(logs, "b", "x")
    store.refusals = 1
    before = shipper.ship(100.0)
    assert len(before) < 2
    assert shipper.problem
    assert sorted([*before, *shipper.ship(102.0)]) == ["a", "b"]


def test_they_go_by_themselves_and_the_rest_when_it_is_closed(logs: Path) -> None:
    store = MemoryStore()
    shipper = LogShipper(logs, store, every=0.01)
    store.gate.clear()
    write(logs, "a", "x")
    shipper.start()
    write(logs, "b", "x")
    store.gate.set()
    shipper.close()
    assert store.objects == {"logs/a": b"x", "logs/b": b"x"}


def test_many_nodes_and_large_files_ask_less_of_a_store() -> None:
    assert [interval(nodes) for nodes in (1, 16, 32, 10_000)] == [2.0, 2.0, 4.0, 60.0]
    assert pause(0) == pause(1 << 20) == 2.0
    assert pause(64 << 20) == 128.0
