"""Incremental scoring: one file that sorts last is added to 10,000 scored ones, with ``--reuse mini-batch``."""

from __future__ import annotations

import filecmp
import json
import shutil
import statistics
import sys
from pathlib import Path

from benchmarks import materials
from benchmarks.measure import SCRIPTS, WORKERS, Command, spend
from benchmarks.report import Result, at_most, seconds
from benchmarks.rows import Options

SHARE = 0.05


def reuse(options: Options) -> list[Result]:
    """The row of the results table; the output of the last run is compared with that of a full one."""
    count = 1_000 if options.small else 10_000
    files, one, home = options.data / "reuse-files", options.data / "reuse-one", options.data / "reuse-home"
    for folder in (files, one, home):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(materials.tiny_files(options.data, count), files)
    one.mkdir()
    (one / "0.txt").touch()
    full = spend(_command(home, files, home / "out")).wall
    start = statistics.median(spend(_command(home, one, home / f"one-{n}")).wall for n in range(options.pairs))
    again = []
    for number in range(options.pairs):
        (files / f"z{number}.txt").touch()
        again.append(spend(_command(home, files, home / "out", "--reuse", "mini-batch")).wall)
        _check(home, count // 10)
    spend(_command(home, files, home / "full"))
    if not filecmp.cmp(home / "out" / "parallel_run_step.txt", home / "full" / "parallel_run_step.txt", shallow=False):
        raise RuntimeError("The output of the incremental runs is not that of a full run.")
    ours, bar = statistics.median(again), start + SHARE * full
    what = f"Reuse: 1 file added to {count:,} scored ones, 10 a mini-batch"
    shutil.rmtree(home)
    told = f"full run {seconds(full)}, start-up {seconds(start)}"
    return [at_most(what, seconds(ours), told, ours, bar, "s", text=f"≤ start-up + 5 % = {bar:.2f} s")]


def _command(home: Path, source: Path, output: Path, *options: str) -> Command:
    words = [str(Path(sys.executable).with_name("batchmill")), "run", str(SCRIPTS / "slow.py"), "--input", str(source)]
    how = ["--source", str(SCRIPTS), "--mini-batch-size", "10", "--workers", str(WORKERS), "--output", str(output), *options]
    return Command([*words, *how], (), {"BATCHMILL_HOME": str(home)})


def _check(home: Path, mini_batches: int) -> None:
    """All full mini-batches were reused.

    Raises:
        RuntimeError: some ran again.
    """
    from batchmill.parallel_run.ledger import Ledger

    run = max((home / "runs").iterdir())
    ledger = Ledger(run / "ledger.sqlite")
    found = json.loads(ledger.meta("reuse") or "{}")
    ledger.close()
    if found.get("mini_batches", 0) < mini_batches:
        raise RuntimeError(f"Only {found.get('mini_batches')} mini-batches were reused: {found.get('lines')}")
