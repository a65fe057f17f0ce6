"""Rows leave the node in few objects; nothing is told before it is stored, nothing is told twice, nothing waits for the store."""

from __future__ import annotations

import os
import select
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from batchmill.errors import DiskFullError
from batchmill.nodes.output_files import OutputFiles
from batchmill.nodes.part_sync import PartsLostError
from batchmill.nodes.segment_sync import FIRST_GAP, LAST_GAP, SOON, SegmentSync
from batchmill.parallel_run.events import Done
from batchmill.parallel_run.merged_outcomes import worker_of
from batchmill.worker.delivery import RECORD
from tests.memory_store import MemoryStore


class Workers:
    """Worker processes as far as their part files go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def part(self, number: int) -> Path:
        return self._folder / f"1-node3-process{number:03d}"

    def done(self, number: int, first: int, rows: bytes, token: int = 1) -> tuple[Path, Done]:
        """Worker ``number`` has run a mini-batch."""
        part = self.part(number)
        with part.open("ab") as file:
            offset = file.tell()
            file.write(rows)
        packed = RECORD.pack(len(rows), 1, 1, 1, zlib.crc32(rows), 1.0, 0.5, 0.25)
        done = Done("node3", f"process{number:03d}", token, first, 1, None, part.name, offset, len(rows), 1, 1, 1, 0, packed)
        return part, done


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def sync(store: MemoryStore) -> Iterator[SegmentSync]:
    sync = SegmentSync(store, 1, "node3", patience=20.0, gather=1000)
    yield sync
    store.gate.set()
    sync.close()


def told(sync: SegmentSync, now: float, *, hurry: bool = False) -> list[Done]:
    """What is told when everything that begins now has landed."""
    outcomes = sync.sync(now, hurry=hurry)
    while sync._flying:
        assert select.select([sync.wake], [], [], 20.0)[0], "a segment has not landed"
        sync.heard()
        outcomes += sync._collect()
    return outcomes


def refusal(sync: SegmentSync) -> PartsLostError:
    """What is raised once the segment that begins now has landed."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        try:
            sync.sync(0.0, hurry=True)
        except PartsLostError as error:
            return error
        select.select([sync.wake], [], [], 1.0)
    raise AssertionError("nothing was raised")


def rows_of(store: MemoryStore, done: Done) -> bytes:
    return store.read(f"parts/{done.part}", done.offset, done.length)


def test_outcomes_of_all_workers_become_one_object_in_the_order_of_mini_batches(
    store: MemoryStore, sync: SegmentSync, workers: Workers
) -> None:
    for number, first in ((0, 5), (1, 3), (0, 4), (1, 9)):
        sync.add(*workers.done(number, first, b"row %d\n" % first))
    outcomes = told(sync, 0.0)
    assert list(store.objects) == ["parts/1-node3-0"]
    assert store.objects["parts/1-node3-0"] == b"row 3\nrow 4\nrow 5\nrow 9\n"
    assert [(done.first, done.count, done.offset, done.part) for done in outcomes] == [(3, 3, 0, "1-node3-0"), (9, 1, 18, "1-node3-0")]
    assert [worker_of(outcomes[0].worker, k) for k in range(3)] == ["process001", "process000", "process000"]
    assert not sync.waiting


def test_nothing_is_told_before_the_store_has_it(store: MemoryStore, sync: SegmentSync, workers: Workers) -> None:
    store.gate.clear()
    sync.add(*workers.done(0, 0, b"a\n"))
    assert sync.sync(0.0, hurry=True) == []
    sync.add(*workers.done(0, 1, b"b\n"))
    assert sync.sync(9.0, hurry=True) == [], "what comes meanwhile is gathered"
    assert sync.waiting
    assert len(sync._flying) == 1
    store.gate.set()
    first = told(sync, 10.0)
    second = told(sync, 10.0 + LAST_GAP)
    assert [done.first for done in first + second] == [0, 1]
    assert [rows_of(store, done) for done in first + second] == [b"a\n", b"b\n"]


def test_outcomes_are_gathered_unless_somebody_waits_for_them(sync: SegmentSync, workers: Workers) -> None:
    sync.add(*workers.done(0, 0, b"a\n"))
    assert sync.due(100.0, hurry=False) <= 0, "after a long time the first one goes at once"
    assert told(sync, 100.0)
    sync.add(*workers.done(0, 1, b"b\n"))
    assert sync.due(100.0, hurry=False) == pytest.approx(FIRST_GAP)
    assert sync.due(100.0, hurry=True) == pytest.approx(SOON)
    assert not told(sync, 100.0 + SOON / 2, hurry=True)
    assert told(sync, 100.0 + SOON, hurry=True)


def test_enough_rows_for_an_object_wait_for_nobody(store: MemoryStore, sync: SegmentSync, workers: Workers) -> None:
    assert not told(sync, 5.0)
    sync.add(*workers.done(0, 0, b"x"))
    assert told(sync, 5.0)
    for first in range(1, 13):
        sync.add(*workers.done(first % 3, first, b"r" * 300))
    assert sync.due(5.0, hurry=False) <= 0
    assert sum(done.count for done in told(sync, 5.0)) == 9
    assert sum(done.count for done in told(sync, 5.0 + FIRST_GAP)) == 3, "less than an object is gathered"
    assert {len(data) for name, data in store.objects.items() if name != "parts/1-node3-0"} == {900}


def test_a_node_that_runs_for_long_leaves_few_objects(store: MemoryStore, sync: SegmentSync, workers: Workers) -> None:
    now, outcomes = 0.0, 0
    for first in range(3000):
        now += 0.02
        sync.add(*workers.done(first % 4, first, b"1"))
        outcomes += sum(done.count for done in told(sync, now))
    outcomes += sum(done.count for done in told(sync, now + LAST_GAP))
    assert outcomes == 3000
    assert len(store.objects) < 80, "60 s"


def test_one_large_outcome_is_stored_in_bounded_pieces(store: MemoryStore, sync: SegmentSync, workers: Workers, tmp_path: Path) -> None:
    rows = os.urandom(1 << 20) * 20
    sync.add(*workers.done(0, 0, rows))
    (done,) = told(sync, 0.0)
    assert rows_of(store, done) == rows
    assert store.largest <= 8 << 20


def test_outcomes_without_rows_need_no_object(store: MemoryStore, sync: SegmentSync, workers: Workers) -> None:
    store.gate.clear()
    sync.add(*workers.done(0, 0, b""))
    sync.add(*workers.done(1, 1, b""))
    (done,) = sync.sync(0.0, hurry=False)
    assert (done.first, done.count, done.length) == (0, 2, 0)
    assert not store.objects


def test_a_store_that_is_away_for_a_while_is_asked_again(store: MemoryStore, sync: SegmentSync, workers: Workers) -> None:
    store.refusals = 2
    sync.add(*workers.done(0, 0, b"a\n"))
    (done,) = told(sync, 0.0)
    assert rows_of(store, done) == b"a\n"


def test_a_store_that_stays_away_loses_everything_that_waits(store: MemoryStore, workers: Workers) -> None:
    sync = SegmentSync(store, 1, "node3", patience=0.0)
    store.refusals = 1
    sync.add(*workers.done(0, 0, b"a\n"))
    assert "the store is away" in refusal(sync).line
    sync.add(*workers.done(0, 1, b"b\n"))
    assert sync.due(0.0, hurry=False) <= 0
    assert "the store is away" in refusal(sync).line
    assert [done.first for done in sync.lost()] == [0, 1]
    assert not sync.waiting
    sync.close()


def test_a_full_disk_is_told_as_one(store: MemoryStore, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: MemoryStore, name: str, data: bytes) -> None:
        raise DiskFullError("No space is left for x.")

    monkeypatch.setattr(MemoryStore, "put", full)
    sync = SegmentSync(store, 1, "node3", patience=20.0)
    sync.add(*workers.done(0, 0, b"a\n"))
    assert refusal(sync).facts == {"full": "memory://parts/"}
    sync.close()


def test_a_part_file_that_is_too_short_is_an_error_at_once(sync: SegmentSync, workers: Workers) -> None:
    part, done = workers.done(0, 0, b"abc\n")
    os.truncate(part, 1)
    sync.add(part, done)
    assert "shorter than its worker reported" in refusal(sync).line


def test_stored_rows_are_given_back_to_the_local_disk(store: MemoryStore, sync: SegmentSync, workers: Workers) -> None:
    rows = [bytes([65 + first]) * (1 << 20) for first in range(4)]
    outcomes = []
    for first, one in enumerate(rows):
        sync.add(*workers.done(0, first, one))
        outcomes += told(sync, 10.0 * first)
    assert b"".join(rows_of(store, done) for done in outcomes) == b"".join(rows)
    part = workers.part(0)
    assert part.stat().st_size == 4 << 20, "its worker appends as ever"
    assert part.stat().st_blocks * 512 <= 1 << 20
    sync.add(*workers.done(0, 4, b"last\n"))
    sync.ended(part)
    assert part.exists()
    assert [rows_of(store, done) for done in told(sync, 100.0)] == [b"last\n"]
    assert not part.exists()


def test_a_node_far_ahead_of_its_store_begins_nothing_more(
    store: MemoryStore, sync: SegmentSync, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchmill.nodes.segment_sync.BACKLOG", 5000)
    store.gate.clear()
    for first in range(20):
        sync.add(*workers.done(0, first, b"r" * 300))
        sync.sync(float(first), hurry=False)
    assert sync.behind
    assert len(sync._flying) == 4
    store.gate.set()
    outcomes = told(sync, 100.0)
    outcomes += told(sync, 200.0)
    outcomes += told(sync, 300.0)
    assert sum(done.count for done in outcomes) == 20
    assert not sync.behind
    assert [a.first + a.count for a, _ in pairwise(outcomes)] == [b.first for _, b in pairwise(outcomes)], "in the order they began"


def test_files_of_scripts_are_stored_before_the_outcome_is_told(store: MemoryStore, workers: Workers, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    sync = SegmentSync(store, 1, "node3", 20.0, OutputFiles(folder, store.below("results")))
    (folder / "deep" / "a.txt").write_text("one")
    sync.add(*workers.done(0, 0, b""))
    assert len(told(sync, 0.0)) == 1
    assert store.objects == {"results/deep/a.txt": b"one"}
    (folder / "b.txt").write_text("of shutdown()")
    sync.ended(workers.part(0))
    assert sync.waiting, "a worker may write files in shutdown()"
    assert told(sync, 10.0, hurry=True) == []
    assert not sync.waiting
    assert store.objects["results/b.txt"] == b"of shutdown()"
    sync.close()


def test_only_files_that_changed_are_sent_again(tmp_path: Path) -> None:
    store = MemoryStore()
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("old")
        os.utime(tmp_path / name, ns=(1, 1))
    files = OutputFiles(tmp_path, store)
    files.upload()
    assert sorted(store.objects) == ["a", "b", "c"]
    store.objects.clear()
    (tmp_path / "b").write_text("newer")
    files.upload()
    assert store.objects == {"b": b"newer"}
    store.objects.clear()
    os.utime(tmp_path / "b", ns=(1, time.time_ns()))
    files.upload()
    assert "b" in store.objects, "its time says nothing yet: it may change again and keep it"


def test_a_file_that_goes_while_it_is_sent_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    (tmp_path / "a.tmp").write_text("x")
    (tmp_path / "b").write_text("y")
    plain = MemoryStore.put_file

    def late(self: MemoryStore, name: str, path: Path) -> None:
        if name == "a.tmp":
            path.unlink()
        plain(self, name, path)

    monkeypatch.setattr(MemoryStore, "put_file", late)
    OutputFiles(tmp_path, store).upload()
    assert store.objects == {"b": b"y"}
