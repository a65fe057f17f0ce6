"""Pipelines: how soon a step begins, what fifteen steps cost beside a bare loop, and fifty submissions at once."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import materials
from benchmarks.measure import PEERS, ROOT, SCRIPTS, Command, spend
from benchmarks.report import Result, at_most, seconds
from benchmarks.rows import Options

EXAMPLE = ROOT / "examples" / "sensors"
START_BAR, STEPS_BAR, MANY = 1.5, 1.3, 50
ENDED = """
import sys
from azureml.core import Workspace
from azureml.pipeline.core import PipelineRun
ws = Workspace.from_config()
for line in sys.stdin:
    print(PipelineRun(ws.experiments["many"], line.strip()).wait_for_completion(show_output=False))
"""


def pipeline_start(options: Options) -> list[Result]:
    """From submit() to the first mini-batch of a one-step pipeline, and from the start of ``batchmill run`` to its first."""
    files = materials.tiny_files(options.data, 20)
    source = options.data / "first-batch"
    source.mkdir(exist_ok=True)
    shutil.copy(SCRIPTS / "first_batch.py", source)
    ours, theirs = [], []
    for turn in range(options.pairs + 1):
        for kind in ("pipeline", "run") if turn % 2 else ("run", "pipeline"):
            taken = _first_batch(options.data, kind, source, files)
            (ours if kind == "pipeline" else theirs).append(taken)
    mine, bare = statistics.median(ours[1:]), statistics.median(theirs[1:])
    what = "Pipeline: submit() of one step to its first mini-batch"
    return [at_most(what, seconds(mine), f"batchmill run {seconds(bare)}", mine - bare, START_BAR, "s above")]


def _first_batch(data: Path, kind: str, source: Path, files: Path) -> float:
    home, stamp = data / "pipeline-home", data / "first-batch.stamp"
    stamp.unlink(missing_ok=True)
    environment = _environment(home) | {"STAMP": str(stamp)}
    if kind == "pipeline":
        began = _submit(environment, "one", source, files)["began"]
    else:
        began = time.time()
        words = [Path(sys.executable).with_name("batchmill"), "run", source / "first_batch.py", "--input", files, "--mini-batch-size", "5"]
        how = ["--workers", "2", "--output", data / "first-batch-rows", "--quiet"]
        subprocess.run([*words, *how], env=environment, cwd=data, check=True)
    first = float(stamp.read_text().splitlines()[0])
    shutil.rmtree(home)
    shutil.rmtree(data / "first-batch-rows", ignore_errors=True)
    return float(first - began)


def sensor_steps(options: Options) -> list[Result]:
    """A pipeline with a step for each of 15 sensors, from submit() to its end, and their scripts in a bare loop of two processes."""
    plant = options.data / "plant"
    runpy.run_path(str(EXAMPLE / "make_data.py"))["make"](plant)
    preds = options.data / "loop-preds"
    script = EXAMPLE / "scripts" / "predict.py"
    loop = Command([sys.executable, str(PEERS / "sensor_loop.py"), str(plant), str(script), str(preds)], [preds])
    ours, theirs = [], []
    for turn in range(options.pairs + 1):
        for kind in ("steps", "loop") if turn % 2 else ("loop", "steps"):
            if kind == "loop":
                theirs.append(spend(loop).wall)
                continue
            told = _submit(_environment(options.data / "pipeline-home"), "sensors", plant)
            ours.append(told["ended"] - told["began"])
            shutil.rmtree(options.data / "pipeline-home")
    mine, bare = statistics.median(ours[1:]), statistics.median(theirs[1:])
    what = "Pipeline: 15 sensors, a step each, on 2 nodes"
    return [at_most(what, seconds(mine), f"bare loop of the scripts {seconds(bare)}", mine / bare, STEPS_BAR)]


def many_submits(options: Options) -> list[Result]:
    """Fifty pipelines submitted from ten processes at once: until the last one has ended, none being lost."""
    source = options.data / "small-script"
    source.mkdir(exist_ok=True)
    (source / "small.py").write_text("print('done')\n")
    environment = _environment(options.data / "many-home")
    _submit(environment, "many", source, 1)
    words = [sys.executable, str(PEERS / "submit_pipeline.py"), "many", str(source), str(MANY // 10)]
    began = time.monotonic()
    processes = [
        subprocess.Popen(words, env=environment, cwd=options.data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    said = [process.communicate() for process in processes]
    submitted = time.monotonic() - began
    broken = [error for process, (_, error) in zip(processes, said, strict=True) if process.returncode]
    if broken:
        raise RuntimeError(f"{len(broken)} of 10 processes could not submit:\n{broken[0][-2000:]}")
    ids = [one for out, _ in said for one in json.loads(out.splitlines()[-1])]
    waited = subprocess.run(
        [sys.executable, "-c", ENDED], env=environment, cwd=options.data, input="\n".join(ids), capture_output=True, text=True, check=True
    )
    taken = time.monotonic() - began
    finished = waited.stdout.split().count("Finished")
    shutil.rmtree(options.data / "many-home")
    what = f"Pipeline: {MANY} submissions from 10 processes"
    ours = f"{finished} of {MANY} finished in {seconds(taken)}, all submitted after {seconds(submitted)}"
    lost = MANY - (finished if len(set(ids)) == MANY else len(set(ids)))
    return [at_most(what, ours, "", lost, 0, "lost")]


def _environment(home: Path) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | {"BATCHMILL_HOME": str(home)}


def _submit(environment: dict[str, str], *words: object) -> Any:
    command = [sys.executable, str(PEERS / "submit_pipeline.py"), *map(str, words)]
    ended = subprocess.run(
        command, env=environment, cwd=Path(environment["BATCHMILL_HOME"]).parent, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout[-1000:]}\n{ended.stderr[-2000:]}")
    told = json.loads(ended.stdout.splitlines()[-1])
    if isinstance(told, dict) and told["status"] != "Finished":
        raise RuntimeError(f"{' '.join(command)}: the run is {told['status']}")
    return told
