"""Measures both pipelines: fifteen sensors by a step each and in one step, and ten thousand in one step.

    python examples/sensors/measure.py [--folder build/sensors] [--rounds 3]

The numbers stand in docs/how-to/sensors.md. The bare loop runs the fifteen scripts with two processes and nothing around them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from make_data import make

SCRIPTS = Path(__file__).resolve().parent / "scripts"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the pipelines over sensors.")
    parser.add_argument("--folder", type=Path, default=Path("build/sensors"), help="where readings, models and the workspace are put")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=10_000, help="how many sensors the large plant has (a square of a hundred devices)")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    os.environ["BATCHMILL_HOME"] = str(folder / "home")
    small, large = folder / "small", folder / "large"
    make(small)
    make(large, devices=100, sensors=max(1, arguments.many // 100))

    from azureml.core import Workspace
    from pipeline_as_microsoft import EXPERIMENT, Experiment, build
    from pipeline_recommended import register, run

    ws = Workspace.create("sensors", exist_ok=True, show_output=False)

    def steps() -> None:
        pipeline, _ = build(ws, small)
        Experiment(ws, EXPERIMENT).submit(pipeline).wait_for_completion(show_output=False)

    say("15 sensors, bare loop of the scripts", [timed(lambda: loop(small)) for _ in range(arguments.rounds)])
    say("15 sensors, a step each", [timed(steps) for _ in range(arguments.rounds)])
    say("15 sensors, registered and partitioned", [timed(lambda: register(ws, small))])
    say("15 sensors, one step", [timed(lambda: run(ws)) for _ in range(arguments.rounds)])
    count = sum(1 for _ in (large / "models").iterdir())
    say(f"{count:,} sensors, registered and partitioned", [timed(lambda: register(ws, large))])
    say(f"{count:,} sensors, one step", [timed(lambda: run(ws)) for _ in range(arguments.rounds)])


def loop(folder: Path) -> None:
    """The scripts of all sensors of a folder, two at a time."""
    preds = tempfile.mkdtemp()

    def score(name: str) -> None:
        device, sensor = name.split("_")[1:]
        words = [device, sensor, folder / "models", folder / "data", "sensor_data", Path(preds) / name]
        subprocess.run([sys.executable, SCRIPTS / "predict.py", *words], stdout=subprocess.DEVNULL, check=True)

    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(score, sorted(path.name for path in (folder / "models").iterdir())))
    finally:
        shutil.rmtree(preds)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    with contextlib.redirect_stdout(None):
        work()
    return time.monotonic() - began


def say(what: str, taken: list[float]) -> None:
    print(f"{what}: {statistics.median(taken):.1f} s (of {len(taken)}: {min(taken):.1f} to {max(taken):.1f})", flush=True)


if __name__ == "__main__":
    main()
