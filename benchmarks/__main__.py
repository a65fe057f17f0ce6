"""``python -m benchmarks [NAME ...]``: measure the promised rows and print them, one line each as it is known, then the table."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import rows
from benchmarks.cluster_scale import cluster_scale
from benchmarks.clusters import ray_overhead, ray_real_work, ray_start_up
from benchmarks.datastore_transfer import transfer
from benchmarks.environments import environment_start
from benchmarks.measure import ROOT
from benchmarks.object_stores import object_store
from benchmarks.pipelines import many_submits, pipeline_start, sensor_steps
from benchmarks.registry import registry
from benchmarks.report import Result, line, markdown
from benchmarks.reuse import reuse
from benchmarks.scale import scale

ROWS: dict[str, Callable[[rows.Options], list[Result]]] = {
    "start-up": rows.start_up,
    "environment-start": environment_start,
    "overhead": rows.overhead,
    "real-work": rows.real_work,
    "csv": rows.csv,
    "many-keys": rows.many_keys,
    "plan": rows.plan,
    "reuse": reuse,
    "scale": scale,
    "cluster-scale": cluster_scale,
    "registry": registry,
    "s3": partial(object_store, "s3"),
    "az": partial(object_store, "az"),
    "static": partial(object_store, "static"),
    "transfer": transfer,
    "pipeline-start": pipeline_start,
    "sensor-steps": sensor_steps,
    "many-submits": many_submits,
    "ray-start-up": ray_start_up,
    "ray-overhead": ray_overhead,
    "ray-real-work": ray_real_work,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of " + ", ".join(ROWS) + " (default: all)")
    parser.add_argument("--pairs", type=int, default=5, help="how often each command runs (default 5)")
    parser.add_argument("--small", action="store_true", help="smaller inputs: a quick look, not the promised sizes")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "benchmarks", help="where inputs are made and kept")
    parser.add_argument("--remove", action="store_true", help="remove the data folder at the end")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in ROWS]
    if unknown:
        parser.error(f"there is no benchmark '{unknown[0]}'; there are {', '.join(ROWS)}")
    data = arguments.data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    options = rows.Options(data, arguments.pairs, arguments.small)
    results: list[Result] = []
    try:
        for name in arguments.names or ROWS:
            try:
                found = ROWS[name](options)
            except RuntimeError as error:
                found = [Result(name, "", str(error).splitlines()[0], "", "", None)]
                print(error, file=sys.stderr)
            results += found
            for result in found:
                print(line(result), flush=True)
    finally:
        if arguments.remove:
            shutil.rmtree(data, ignore_errors=True)
    print("\n" + markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
