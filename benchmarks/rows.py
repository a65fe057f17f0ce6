"""The rows of the results table: each measures one promise of docs/performance.md beside its peers."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import materials
from benchmarks.measure import SCRIPTS, Command, Spent, batchmill, pairs, peer, wall
from benchmarks.report import Result, at_least, at_most, seconds


@dataclass(frozen=True)
class Options:
    """How to measure."""

    data: Path
    pairs: int
    small: bool


def real_work(options: Options) -> list[Result]:
    """10,000 small images, 10 per mini-batch, a small classifier."""
    count = 2_000 if options.small else 10_000
    folder, model = materials.images(options.data, count)
    environment = {"DIGITS_MODEL": str(model)}
    script, rows = SCRIPTS / "digits.py", options.data / "loop-rows"
    loop = peer("loop", script, folder, 10, rows, clean=[rows])
    commands = {
        "batchmill": batchmill(options.data, "digits", folder, "--mini-batch-size", 10, environment=environment),
        "loop": Command(loop.words, loop.clean, environment),
    }
    spent = pairs(commands, options.pairs)
    ours, bare = wall(spent["batchmill"]), wall(spent["loop"])
    bar = 0.6 + 1.05 * bare
    what = f"Real work: {count:,} images, 10 a mini-batch"
    return [at_most(what, seconds(ours), f"bare loop {seconds(bare)}", ours, bar, "s", text=f"≤ 0.6 s + 1.05 × loop = {bar:.2f} s")]


def overhead(options: Options) -> list[Result]:
    """20,000 mini-batches of one file, empty run()."""
    count = 5_000 if options.small else 20_000
    folder, rows = materials.tiny_files(options.data, count), options.data / "peer-rows"
    commands = {
        "batchmill": batchmill(options.data, "empty", folder, "--mini-batch-size", 1),
        "pool": peer("pool", folder, rows, clean=[rows]),
        "joblib": peer("joblib_loop", folder, rows, clean=[rows]),
        "loop": peer("loop", SCRIPTS / "empty.py", folder, 1, rows, clean=[rows]),
    }
    spent = pairs(commands, options.pairs)
    ours, pool, joblib, loop = (wall(spent[name]) for name in commands)
    what = f"Overhead: {count:,} mini-batches of one file, empty `run()`"
    told = f"Pool {seconds(pool)}, joblib {seconds(joblib)}, bare loop {seconds(loop)}"
    return [at_most(what, seconds(ours), told, ours / pool, 1.0, "x Pool")]


def start_up(options: Options) -> list[Result]:
    """20 files, empty run(); and import batchmill."""
    folder, rows = materials.tiny_files(options.data, 20), options.data / "peer-rows"
    commands = {
        "batchmill": batchmill(options.data, "empty", folder, "--mini-batch-size", 1),
        "loop": peer("loop", SCRIPTS / "empty.py", folder, 1, rows, clean=[rows]),
    }
    spent = pairs(commands, 3 * options.pairs)
    ours, loop = wall(spent["batchmill"]), wall(spent["loop"])
    wanted = {"import": "import batchmill", "sdk": "import azureml.core", "bare": "pass"}
    imports = pairs({name: Command([sys.executable, "-c", code]) for name, code in wanted.items()}, 3 * options.pairs)
    imported, sdk = (max(0.0, wall(imports[name]) - wall(imports["bare"])) for name in ("import", "sdk"))
    return [
        at_most("Start-up: 20 files, empty `run()`", seconds(ours), f"bare loop {seconds(loop)}", ours - loop, 0.6, "s above"),
        at_most("`import batchmill`", seconds(imported), "", imported * 1000, 60, "ms"),
        at_most("`import azureml.core`", seconds(sdk), "", sdk * 1000, 300, "ms"),
    ]


def csv(options: Options) -> list[Result]:
    """A CSV table of 20 columns, 1 MB and 10 MB mini-batches."""
    size = 100_000_000 if options.small else 500_000_000
    folder, per_row = materials.csv_files(options.data, size)
    tiny, _ = materials.csv_files(options.data, 4_000)
    results = []
    for mega in (1, 10):
        chunk = mega * 1024**2 // per_row
        how = ["--mini-batch-size", f"{mega}MB", "--output-action", "summary_only"]
        script = SCRIPTS / "range_rows.py"
        commands = {
            "batchmill": batchmill(options.data, "range_rows", folder, *how),
            "pandas": peer("pandas_chunks", script, folder, chunk),
            "batchmill start": batchmill(options.data, "range_rows", tiny, *how),
            "pandas start": peer("pandas_chunks", script, tiny, chunk),
        }
        spent = pairs(commands, options.pairs)
        whole, theirs, begun, their_start = (wall(spent[name]) for name in commands)
        net, their_net = whole - begun, theirs - their_start
        what = f"CSV: {size // 10**6} MB, {mega} MB mini-batches"
        ours = f"{seconds(net)} + {seconds(begun)} start-up"
        told = f"pandas chunks {seconds(their_net)} + {seconds(their_start)} start-up"
        results.append(at_least(what, ours, told, their_net / net, 3, "x rows/s"))
    return results


def many_keys(options: Options) -> list[Result]:
    """One mini-batch and one tiny model per key."""
    keys = 1_000 if options.small else 10_000
    table, models = materials.keyed_table(options.data, keys, 100)
    few, few_models = materials.keyed_table(options.data, 20, 100)
    grouped, few_grouped, rows = options.data / "grouped.parquet", options.data / "grouped-few.parquet", options.data / "peer-rows"
    copies = {"copy": peer("sorted_copy", table / "events.parquet", "device", grouped)}
    pairs({"few": peer("sorted_copy", few / "events.parquet", "device", few_grouped)}, 0)

    def both(source: Path, group: Path, model: Path) -> tuple[Command, Command]:
        environment = {"KEYED_MODELS": str(model)}
        loop = peer("keyed_loop", SCRIPTS / "keyed.py", group, rows, clean=[rows])
        ours = batchmill(options.data, "keyed", source, "--partition-key", "device", environment=environment)
        return ours, Command(loop.words, loop.clean, environment)

    run, loop = both(table, grouped, models)
    small_run, small_loop = both(few, few_grouped, few_models)
    commands = {**copies, "batchmill": run, "loop": loop, "batchmill start": small_run, "loop start": small_loop}
    spent = pairs(commands, options.pairs)
    planning, start_planning = (_seen(spent[name]) for name in ("batchmill", "batchmill start"))
    grouping = planning - start_planning
    net = wall(spent["batchmill"]) - wall(spent["batchmill start"]) - grouping
    bare = wall(spent["loop"]) - wall(spent["loop start"])
    copy = wall(spent["copy"])
    what = f"Many keys: {keys:,} keys × 100 rows"
    return [
        at_most(f"{what}, one model a key", seconds(net), f"bare loop {seconds(bare)}", net / bare, 1.15, "x"),
        at_most(f"{what}, grouping", seconds(grouping), f"DuckDB sorted copy {seconds(copy)}", grouping / copy, 2, "x"),
    ]


def plan(options: Options) -> list[Result]:
    """A million files, a thousand to a folder: the time of the plan, the memory of the whole coordinator."""
    count = 100_000 if options.small else 1_000_000
    tree = materials.many_files(options.data, count)
    commands = {"batchmill": batchmill(options.data, "empty", tree, "--mini-batch-size", 1000), "walk": peer("walk", tree)}
    spent = pairs(commands, options.pairs)
    planning, walked = _seen(spent["batchmill"]), wall(spent["walk"])
    peak = max(one.peak for one in spent["batchmill"]) / 1e6
    what = f"Plan of {count:,} files"
    return [
        at_most(what, seconds(planning), f"scandir with stat {seconds(walked)}", planning / walked, 2, "x"),
        at_most(f"{what}: coordinator", f"{peak:.0f} MB", "", peak, 150, "MB"),
    ]


def _seen(spent: Sequence[Spent]) -> float:
    return statistics.median(one.seen for one in spent)
