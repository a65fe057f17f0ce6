"""Chunks: what a worker holds, what is taken back from it, and that nothing is ever held twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.nodes.feeding import GRACE, Feeder
from batchmill.parallel_run.events import Task
from batchmill.worker.slots import READING, RUNNING, VOID, Slots


class Bench:
    """A feeder with workers that only keep what they are sent."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.slots = Slots(str(folder / "slots"), count, create=True)
        self.name = "node0"
        self.wanted: list[int] = []
        self.workers: dict[int, Any] = {}
        for slot in range(count):
            self.slots.clear(slot)
            sent: list[Any] = []
            self.workers[slot] = SimpleNamespace(
                slot=slot, ready=True, stopping=False, retiring=False, chunks=[], limited=None, last_news=0.0, sent=sent, send=sent.append
            )
        config: Any = SimpleNamespace(run_folder=folder, remote=False, cache_bytes=0)
        self.feeder = Feeder(self, config)  # type: ignore[arg-type]

    def hungry(self, want: int) -> None:
        self.wanted.append(want)

    def retire(self, worker: Any) -> None:
        worker.stopping = True

    def position(self, worker: Any) -> int:
        running = self.slots.get(worker.slot, RUNNING)
        return running if running >= 0 else self.slots.get(worker.slot, READING)

    def held(self, slot: int) -> list[int]:
        return [k for chunk in self.workers[slot].chunks for k in range(chunk.first, chunk.stop)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def long_chunk(bench: Bench, slot: int, first: int, count: int) -> Any:
    """Make a worker hold one long chunk."""
    bench.feeder._seconds, bench.feeder._largest = 1e-4, 1 << 20
    others = [worker for worker in bench.workers.values() if worker.slot != slot]
    for other in others:
        other.ready = False
    bench.feeder.add([Task(1, first, 2 * count * len(bench.workers))])
    bench.feeder.feed(0.0)
    bench.feeder.take_back()
    for other in others:
        other.ready = True
    worker = bench.workers[slot]
    del worker.chunks[1:]
    return worker.chunks[0]


def test_every_worker_gets_its_first_mini_batch_before_anyone_gets_two(bench: Bench) -> None:
    bench.feeder.add([Task(1, 0, 10)])
    bench.feeder.feed(0.0)
    assert (bench.held(0), bench.held(1)) == ([0], [1])


def test_outcomes_cut_a_chunk(bench: Bench) -> None:
    chunk = long_chunk(bench, 0, 0, 8)
    worker = bench.workers[0]
    before = bench.held(0)
    bench.feeder.finished(worker, chunk.serial, before[2], 2)
    assert bench.held(0) == before[:2] + before[4:]
    assert {task.token for task in bench.feeder.take_back()} <= {1}


def test_what_a_busy_worker_has_not_begun_goes_to_an_idle_one(bench: Bench) -> None:
    chunk = long_chunk(bench, 0, 0, 8)
    before = bench.held(0)
    bench.slots.set(0, RUNNING, before[0])
    bench.feeder.feed(1.0)
    assert bench.slots.get(0, VOID) == chunk.serial
    bench.feeder.feed(1.0 + 2 * GRACE)
    bench.feeder.feed(1.0 + 2 * GRACE)
    assert bench.workers[0].chunks[0].count == 1
    assert bench.held(0)[0] == before[0]
    assert bench.held(1)
    everything = (
        bench.held(0) + bench.held(1) + [k for task in bench.feeder.take_back() for k in range(task.first, task.first + task.count)]
    )
    assert sorted(everything) == before


def test_a_void_mark_of_an_earlier_chunk_takes_nothing_back(bench: Bench) -> None:
    """The worker ended the voided chunk without giving anything back; the next one has to be voided anew."""
    chunk = long_chunk(bench, 0, 0, 8)
    bench.slots.set(0, RUNNING, chunk.first)
    bench.feeder.feed(1.0)
    worker = bench.workers[0]
    bench.feeder.finished(worker, chunk.serial, chunk.first, chunk.count)
    again = long_chunk(bench, 0, 100, 8)
    bench.slots.set(0, RUNNING, again.first)
    before = bench.held(0)
    bench.feeder.feed(9.0)
    assert bench.held(0) == before
    assert bench.slots.get(0, VOID) == again.serial


def test_what_a_worker_gives_back_is_given_to_others(bench: Bench) -> None:
    chunk = long_chunk(bench, 0, 0, 8)
    before = bench.held(0)
    bench.feeder.returned(bench.workers[0], {"lease": chunk.serial, "first": before[3], "count": len(before) - 3})
    assert bench.held(0) == before[:3]
    assert [(task.first, task.count) for task in bench.feeder.take_back()] == [(before[3], len(before) - 3)]


def test_a_task_that_runs_alone_waits_for_the_others(bench: Bench) -> None:
    bench.feeder.add([Task(1, 0, 1), Task(2, 5, 1, None, True), Task(3, 7, 1)])
    bench.feeder.feed(0.0)
    assert (bench.held(0), bench.held(1)) == ([0], [])
    bench.feeder.finished(bench.workers[0], bench.workers[0].chunks[0].serial, 0, 1)
    bench.feeder.feed(0.1)
    assert sorted(bench.held(0) + bench.held(1)) == [5]
    holder = next(worker for worker in bench.workers.values() if worker.chunks)
    bench.feeder.finished(holder, holder.chunks[0].serial, 5, 1)
    bench.feeder.feed(0.2)
    assert sorted(bench.held(0) + bench.held(1)) == [7]


def test_a_revoked_lease_is_forgotten_where_it_waits_and_named_where_it_runs(bench: Bench) -> None:
    bench.feeder.add([Task(1, 0), Task(2, 1), Task(3, 2), Task(2, 3)])
    bench.feeder.feed(0.0)
    assert (bench.held(0), bench.held(1)) == ([0], [1])
    bench.slots.set(1, RUNNING, 1)
    bench.feeder.revoke(2, 0.1)
    assert [worker.slot for worker in bench.feeder.running_revoked()] == [1]
    assert bench.feeder.is_revoked(2)
    assert [(task.token, task.first) for task in bench.feeder.take_back()] == [(3, 2)]
    bench.feeder.forget(bench.workers[1])
    assert not bench.feeder.running_revoked()
    assert not bench.feeder.is_revoked(2), "nobody holds it any more"


def test_a_revoked_lease_that_was_not_begun_is_dropped_when_it_comes_back(bench: Bench) -> None:
    bench.feeder.add([Task(1, 0), Task(2, 1)])
    bench.feeder.feed(0.0)
    serial = bench.workers[1].chunks[0].serial
    bench.feeder.revoke(2, 0.1)
    assert bench.slots.get(1, VOID) == serial
    assert not bench.feeder.running_revoked()
    bench.feeder.returned(bench.workers[1], {"lease": serial, "first": 1, "count": 1})
    assert not bench.held(1)
    assert not bench.feeder.take_back()


def test_a_drained_feeder_voids_all_workers_and_gives_nothing_more(bench: Bench) -> None:
    chunk = long_chunk(bench, 0, 0, 8)
    before = bench.held(0)
    bench.slots.set(0, RUNNING, before[0])
    wanted = len(bench.wanted)
    bench.feeder.drain(1.0)
    bench.feeder.add([Task(9, 500, 10)])
    assert bench.slots.get(0, VOID) == chunk.serial
    bench.feeder.feed(1.0 + 2 * GRACE)
    assert (bench.held(0), bench.held(1)) == ([before[0]], [])
    back = [k for task in bench.feeder.take_back() for k in range(task.first, task.first + task.count)]
    assert sorted(back) == before[1:] + list(range(500, 510))
    assert len(bench.wanted) == wanted
