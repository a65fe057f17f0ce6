"""Ten million mini-batches through scheduler, job and ledger: a synthetic plan, and an engine that answers at once.

``python -m benchmarks.scale FOLDER MINI_BATCHES`` carries them out, ``... --resume`` restores the full ledger; each prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from batchmill.nodes.restoring import restore
from batchmill.parallel_run.events import Done, Event, Hungry, Task
from batchmill.parallel_run.job import Job, Limits
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.worker.delivery import RECORD
from benchmarks.measure import Command, pairs
from benchmarks.report import Result, at_most, seconds
from benchmarks.rows import Options

PER_MESSAGE = 100
"""Mini-batches in one message of a worker: a worker tells 20 times a second, so this is the rate of mini-batches of 0.5 ms."""

WANT = 2_000
ROW = 20
"""Bytes of output of one mini-batch."""


class AtOnce:
    """An engine with one node, whose workers have finished whatever they are given by the next step."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._offset = 0

    speculates = False

    @property
    def nodes(self) -> Sequence[str]:
        return ["node0"]

    def start(self) -> None:
        self._events.append(Hungry("node0", WANT))

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        for task in tasks:
            for first in range(task.first, task.first + task.count, PER_MESSAGE):
                self._events.append(self._done(node, task.token, first, min(PER_MESSAGE, task.first + task.count - first)))
        self._events.append(Hungry(node, WANT))

    def _done(self, node: str, token: int, first: int, count: int) -> Done:
        packed = RECORD.pack(ROW, 1, 1, 1, first & 0xFFFFFFFF, 1.8e9, 0.0005, 0.0005) * count
        worker = f"process{first // PER_MESSAGE % 64:03d}"
        offset, self._offset = self._offset, self._offset + ROW * count
        return Done(node, worker, token, first, count, None, f"1-{node}-{worker}", offset, ROW * count, count, count, count, 0, packed)

    def step(self, timeout: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def finish(self, hear: Callable[[list[Event]], None]) -> None: ...

    def abort(self) -> None: ...


def carry_out(folder: RunFolder, count: int) -> None:
    """Every mini-batch gets its fate, durably."""
    for path in (folder.path, folder.logs):
        path.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder.ledger, write=True)
    ledger.begin(id=folder.id)
    ledger.claim()
    scheduler = Scheduler(count, Policy(), lambda _: 1)
    job = Job(folder, ledger, scheduler, AtOnce(), None, count, Limits(no_progress=600.0, first_progress=600.0), Silent())
    ending = job.run()
    assert ending.counts.items.succeeded == count, ending
    ledger.close()


def resume(folder: RunFolder, count: int) -> None:
    """Bring a new scheduler to the state of the ledger."""
    ledger = Ledger(folder.ledger, write=True)
    ledger.claim()
    scheduler = Scheduler(count, Policy(), lambda _: 1)
    restore(ledger, scheduler)
    assert scheduler.finished
    ledger.close()


def scale(options: Options) -> list[Result]:
    """The row of the results table."""
    count = 1_000_000 if options.small else 10_000_000
    folder = options.data / "scale" / "run"
    script = [sys.executable, "-m", "benchmarks.scale", str(folder), str(count)]
    made = pairs({"run": Command(script)}, 1, warm=False)["run"][0]
    again = pairs({"resume": Command([*script, "--resume"])}, 1, warm=False)["resume"][0]
    what, part = f"Scale: {count:,} mini-batches, scheduler and ledger", count / 10_000_000
    peak = max(made.peak, again.peak) / 1e6
    return [
        at_most(f"{what}: CPU", seconds(made.cpu), f"{seconds(made.wall)} wall", made.cpu, 60 * part, "s"),
        at_most(f"{what}: peak memory", f"{peak:.0f} MB", "", peak, 400, "MB"),
        at_most(f"{what}: resume", seconds(again.wall), "", again.wall, 15 * part, "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if not options.resume and options.folder.exists():
        import shutil

        shutil.rmtree(options.folder)
    began = time.perf_counter()
    (resume if options.resume else carry_out)(RunFolder(options.folder), options.count)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wall, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    print(json.dumps({"wall": round(wall, 2), "cpu": round(cpu, 2), "peak": usage.ru_maxrss << 10}))


if __name__ == "__main__":
    main()
