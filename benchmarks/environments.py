"""What a cached environment costs at the start of a worker: made ready and started, against the plain interpreter, in turns."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from batchmill.nodes.process import boot
from batchmill.parallel_run.run_folder import NodeLogs
from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_preparation import prepare_environment
from benchmarks.report import Result, at_most
from benchmarks.rows import Options

TURNS = 8


def environment_start(options: Options) -> list[Result]:
    """From the wish for a worker to a process that has loaded its modules and found nothing to do."""
    os.environ["BATCHMILL_HOME"] = str(options.data / "environment-home")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environment = Environment("benchmark")
    packages = CondaDependencies.create(python_version=f"3.{sys.version_info.minor}")
    environment.python.conda_dependencies = packages
    prepare_environment(None, environment, "build")
    plain, built, prepared = [], [], []
    for turn in range(TURNS * options.pairs + 1):
        for kind in ("plain", "built") if turn % 2 else ("built", "plain"):
            began = time.perf_counter()
            python, variables = sys.executable, {}
            if kind == "built":
                found = prepare_environment(None, environment, "build")
                python, variables = found.python, found.variables
                prepared.append(time.perf_counter() - began)
            _start(options.data / "environment-run", python, variables)
            (built if kind == "built" else plain).append(time.perf_counter() - began)
    ours, theirs, making = (1000 * statistics.median(times[1:]) for times in (built, plain, prepared))
    told = f"plain interpreter {theirs:.0f} ms"
    mine = f"{ours:.0f} ms, {making:.1f} ms of it to find it"
    return [at_most("Environment: a worker starts in a cached one", mine, told, ours - theirs, 50, "ms above")]


def _start(folder: Path, python: str, variables: Mapping[str, str]) -> None:
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value}
    booted = boot(python, environment, NodeLogs(folder, "node0").prepare("process000"))
    os.close(booted.write_descriptor)
    booted.process.wait()
    os.close(booted.read_descriptor)
