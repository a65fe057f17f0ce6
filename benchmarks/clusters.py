"""Batchmill on a Ray cluster of this machine beside Ray Data, bare Ray actors and itself without Ray: real work, overhead, start-up."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import materials
from benchmarks.measure import PEERS, SCRIPTS, WORKERS, Command, Spent, batchmill, pairs, peer
from benchmarks.report import Result, at_least, at_most, seconds
from benchmarks.rows import Options

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Ray runs its workers at niceness 15; on a machine that does other things, too, that would hide what Batchmill and its peers cost."""
OBJECT_STORE = 200 << 20
DEFAULT_BLOCKS, FEW_BLOCKS = 0, 4
"""Ray Data cuts its input into 200 blocks unless told otherwise; four make empty calls cheaper, and its steps coarser."""


def ray_real_work(options: Options) -> list[Result]:
    """10,000 small images, 10 per mini-batch, a small classifier: what follows the first mini-batch."""
    count = 2_000 if options.small else 10_000
    folder, model = materials.images(options.data, count)
    spent = _side_by_side(options, "marked_digits", folder, 10, options.pairs, 4, FEW_BLOCKS * 5, {"DIGITS_MODEL": str(model)})
    ours, local = _after(spent["on Ray"]), _after(spent["local"])
    what = f"Real work on Ray: {count:,} images, 10 a mini-batch, after start-up"
    told = f"Batchmill local {seconds(local)}, " + _peers(spent)
    return [at_most(what, seconds(ours), told, ours / local, 1.05, "x local")]


def ray_overhead(options: Options) -> list[Result]:
    """20,000 mini-batches of one file, empty run(): what follows the first mini-batch."""
    count = 5_000 if options.small else 20_000
    folder = materials.tiny_files(options.data, count)
    spent = _side_by_side(options, "marked_empty", folder, 1, options.pairs, 64, FEW_BLOCKS)
    ours, local = _after(spent["on Ray"]), _after(spent["local"])
    what = f"Overhead on Ray: {count:,} mini-batches of one file, empty `run()`, after start-up"
    told = f"Batchmill local {seconds(local)}, " + _peers(spent)
    slower = {"Ray Data": _after(spent["Ray Data"]), "bare Ray actors": _after(spent["Ray actors"])}
    return [at_least(f"{what}: {name}", seconds(ours), told, theirs / ours, 10, "x faster") for name, theirs in slower.items()]


def ray_start_up(options: Options) -> list[Result]:
    """20 files, empty run(), on a cluster that is up: from the command to the first mini-batch."""
    folder = materials.tiny_files(options.data, 20)
    spent = _side_by_side(options, "marked_empty", folder, 1, 2 * options.pairs, 4, FEW_BLOCKS)
    ours, data, actors, local = (_before(spent[name]) for name in ("on Ray", "Ray Data", "Ray actors", "local"))
    told = f"Ray Data {seconds(data)}, bare Ray actors {seconds(actors)}, Batchmill local {seconds(local)}"
    whole = statistics.median(one.wall for one in spent["on Ray"])
    what = "Start-up on Ray: command to first mini-batch, 20 files"
    return [at_most(what, f"{seconds(ours)} (its end after {seconds(whole)})", told, ours / data, 1.1, "x Ray Data")]


def _side_by_side(
    options: Options,
    script: str,
    folder: Path,
    size: int,
    turns: int,
    in_flight: int,
    few_blocks: int,
    environment: Mapping[str, str] | None = None,
) -> dict[str, list[Spent]]:
    """All commands in turn on one cluster; what ``look`` sees is the seconds from the first mini-batch to the end of the command."""
    stamp, rows = options.data / "first-mark", options.data / "peer-rows"
    variables = {**QUIET, "STAMP": str(stamp), **(environment or {})}
    path = SCRIPTS / f"{script}.py"
    with _cluster(variables) as address:
        how = ["--mini-batch-size", size]
        commands = {
            "local": batchmill(options.data, script, folder, *how),
            "on Ray": batchmill(options.data, script, folder, *how, "--compute", f"ray:{address}"),
            "Ray Data": peer("ray_data", address, path, folder, size, rows, DEFAULT_BLOCKS, clean=[rows]),
            "Ray Data, few blocks": peer("ray_data", address, path, folder, size, rows, few_blocks, clean=[rows]),
            "Ray actors": peer("ray_actors", address, path, folder, size, rows, in_flight, clean=[rows]),
        }
        return pairs({name: _marked(command, stamp, variables) for name, command in commands.items()}, turns)


def _marked(command: Command, stamp: Path, variables: Mapping[str, str]) -> Command:
    def since_first() -> float:
        return time.time() - min(map(float, stamp.read_text().split()))

    return replace(command, clean=[*command.clean, stamp], environment={**command.environment, **variables}, look=since_first)


def _after(spent: Sequence[Spent]) -> float:
    return statistics.median(one.seen for one in spent)


def _before(spent: Sequence[Spent]) -> float:
    return statistics.median(one.wall - one.seen for one in spent)


def _peers(spent: Mapping[str, Sequence[Spent]]) -> str:
    data, few, actors = (seconds(_after(spent[name])) for name in ("Ray Data", "Ray Data, few blocks", "Ray actors"))
    return f"Ray Data {data} (few blocks: {few}), bare Ray actors {actors}"


@contextmanager
def _cluster(variables: Mapping[str, str]) -> Iterator[str]:
    """The address of a Ray cluster of one node with as many CPUs as there are workers; it has a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | dict(variables)
    with tempfile.TemporaryDirectory(prefix="bm-ray-") as folder:
        head = subprocess.Popen(
            [sys.executable, str(PEERS / "ray_head.py"), folder, str(WORKERS), str(OBJECT_STORE)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            if not address:
                raise RuntimeError("the Ray cluster did not start")
            yield address
        finally:
            head.communicate()  # the end of its input is the end of the cluster
