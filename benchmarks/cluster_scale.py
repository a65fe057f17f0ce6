"""The coordinator of a large cluster: the real scheduler, job, ledger and encoding of segments, with nodes that are only simulated.

``python -m benchmarks.cluster_scale FOLDER`` prints one JSON line; ``--whole`` simulates all of it, else the beginning and the end are, and
what lies between counts as done. What is counted: everything the coordinator's process does for an event, including unpickling it. What is
not: Ray's own work for a message, the network of the store, and putting the output together at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from batchmill.parallel_run.events import Engine
from batchmill.parallel_run.job import Job, Limits
from batchmill.parallel_run.ledger import Segment
from batchmill.parallel_run.output import OrderedOutput
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.storage.shared_store import SharedStore
from benchmarks.measure import ROOT, Command, spend
from benchmarks.report import Result, at_most
from benchmarks.rows import Options
from benchmarks.simulated_cluster import MemoryStore, Shape, SimulatedCluster

EDGE = 120.0
"""Simulated seconds at the beginning and at the end."""


class NoOutput:
    """Takes what `CollectedOutput` takes while the run goes on, and does as much with it."""

    front = length = 0

    def add(self, first: int, count: int, segments: Iterable[Segment]) -> None: ...

    def advance(self) -> None: ...

    def proven(self) -> None: ...

    def intact(self) -> bool:
        return True

    def publish(self, stopped: Callable[[], bool], /) -> bool:
        return True

    def close(self) -> None: ...


def simulate(folder: Path, shape: Shape, *, whole: bool) -> dict[str, Any]:
    """Carry a run out on a simulated cluster; what it cost."""
    shutil.rmtree(folder, ignore_errors=True)
    run = RunFolder(folder)
    run.logs.mkdir(parents=True)
    store, cluster = MemoryStore(), SimulatedCluster(shape)
    began = time.process_time()
    ledger = SegmentedLedger(run.ledger, cast(SharedStore, store))
    ledger.begin(id=run.id)
    ledger.claim()
    scheduler = Scheduler(shape.mini_batches, Policy(error_threshold=-1, speculative=True), lambda _: 1)
    if not whole:
        cluster.skip(scheduler, EDGE, EDGE)
    job = Job(
        run,
        ledger,
        scheduler,
        cast(Engine, cluster),
        cast(OrderedOutput, NoOutput()),
        shape.mini_batches,
        Limits(no_progress=600.0, first_progress=600.0),
        Silent(),
        proven=whole,
        clock=lambda: cluster.now,
    )
    ending = job.run()
    index = run.ledger.stat().st_size
    ledger.close()
    cpu = time.process_time() - began - cluster.simulation
    assert ending.counts.items.succeeded == shape.mini_batches, ending
    return {
        "cpu": round(cpu, 2),
        "simulated": round(cluster.now, 2),
        "share": round(cpu / cluster.now, 4),
        "ideal": round(shape.wall - cluster.skipped, 2),
        "simulation_cpu": round(cluster.simulation, 2),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "mini_batches": shape.mini_batches - round(cluster.skipped * shape.mini_batches / shape.wall),
        "leases": cluster.leases,
        "grants": cluster.grants,
        "outcomes": cluster.outcomes,
        "failed_tries": cluster.tries,
        "revoked": cluster.revoked,
        "messages": cluster.messages,
        "message_bytes": cluster.message_bytes,
        "segments": sum(name.startswith("ledger/") for name in store.names),
        "segment_bytes": store.bytes["ledger"],
        "index_bytes": index,
    }


def cluster_scale(options: Options) -> list[Result]:
    """The rows of the results table."""
    shape = Shape(nodes=100, mini_batches=2_000_000) if options.small else Shape()
    folder, report = options.data / "cluster-scale", options.data / "cluster-scale.json"
    size = ["--nodes", str(shape.nodes), "--workers", str(shape.workers), "--mini-batches", str(shape.mini_batches)]
    script = [sys.executable, "-m", "benchmarks.cluster_scale", str(folder), "--report", str(report), *size]
    spend(Command(script, [folder]))
    found = json.loads(report.read_text())
    share, peak = 100 * found["share"], found["peak"] / 1e6
    what = f"Cluster: {shape.nodes:,} nodes × {shape.workers} workers, {shape.mini_batches:,} mini-batches of {shape.seconds:g} s"
    rate = f"{found['leases'] / found['simulated']:.0f} leases and {found['outcomes'] / found['simulated']:.0f} outcomes a second"
    return [
        at_most(f"{what}: CPU of the coordinator", f"{found['cpu']:.0f} s in {found['simulated']:.0f} s", rate, share, 50, "% of a core"),
        at_most(f"{what}: peak memory", f"{peak:.0f} MB", f"{found['segment_bytes'] >> 20:,} MiB of ledger segments", peak, 2_000, "MB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "benchmarks" / "cluster-scale")
    parser.add_argument("--nodes", type=int, default=Shape().nodes)
    parser.add_argument("--workers", type=int, default=Shape().workers)
    parser.add_argument("--mini-batches", type=int, default=Shape().mini_batches)
    parser.add_argument("--whole", action="store_true", help="simulate all of it, not just the beginning and the end")
    parser.add_argument("--report", type=Path, help="where to write the JSON line, too")
    options = parser.parse_args()
    found = json.dumps(simulate(options.folder, Shape(options.nodes, options.workers, options.mini_batches), whole=options.whole))
    shutil.rmtree(options.folder)
    print(found)
    if options.report is not None:
        options.report.write_text(found)


if __name__ == "__main__":
    main()
