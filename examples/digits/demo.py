"""``make demo``: from images to checked results with the command a user would type."""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
import time
from pathlib import Path

from prepare import prepare

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Score scikit-learn's handwritten digits with Batchmill.")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "digits", help="where everything is put")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()

    started = time.monotonic()
    count = prepare(folder)
    print(
        f"{count} images wait in {_short(folder / 'images')}; a classifier trained on as many others is {_short(folder / 'model.joblib')}\n"
    )
    command = _command(folder, arguments.workers)
    own, of_script = command[1 : command.index("--")], command[command.index("--") :]
    print("$ " + shlex.join(["batchmill", *map(_short, own), *of_script]), flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code != 0:
        print(f"\nThe run ended with exit code {code}; its errors: batchmill runs errors last", file=sys.stderr)
        return code
    return _report(folder, count, time.monotonic() - started)


def _command(folder: Path, workers: int) -> list[str]:
    script = [str(Path(sys.executable).with_name("batchmill")), "run", str(HERE / "score.py"), "--input", str(folder / "images")]
    how = ["--mini-batch-size", "10", "--workers", str(workers), "--output", str(folder / "out")]
    return [*script, *how, "--", "--model", str(folder / "model.joblib")]


def _report(folder: Path, count: int, seconds: float) -> int:
    output = folder / "out" / "parallel_run_step.txt"
    rows = output.read_text(encoding="utf-8").splitlines()
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        truth = {row["name"]: row["digit"] for row in csv.DictReader(file)}
    answers = [tuple(row.split(": ")) for row in rows]
    if [name for name, _ in answers] != sorted(truth):
        print(f"{_short(output)} does not hold each of the {count} images once, in order.", file=sys.stderr)
        return 1
    right = sum(truth[name] == digit for name, digit in answers)
    print("\nThe first rows:\n" + "".join(f"    {row}\n" for row in rows[:5]))
    print(f"Accuracy: {right / count:.1%} ({right} of {count})")
    print(f"Rows:     {_short(output)}")
    print(f"Truth:    {_short(folder / 'labels.csv')}")
    print("The run:  batchmill runs show last")
    print(f"Done in {seconds:.1f} s.")
    return 0


def _short(path: Path | str) -> str:
    """As a user in the root of the repository would type it."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
