"""The scripts of the sensors one after another, two at a time: what a step for each of them is compared with.

sensor_loop.py FOLDER SCRIPT PREDS
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

folder, script, preds = map(Path, sys.argv[1:])


def score(name: str) -> None:
    device, sensor = name.split("_")[1:]
    where = [folder / "models", folder / "data", "sensor_data", preds / f"{device}_{sensor}"]
    subprocess.run([sys.executable, script, device, sensor, *where], stdout=subprocess.DEVNULL, check=True)


with ThreadPoolExecutor(2) as pool:
    list(pool.map(score, sorted(path.name for path in (folder / "models").iterdir())))
