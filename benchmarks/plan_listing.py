"""``python -m benchmarks.plan_listing [--files N] [--flat]``: planning a tree of files against a bare scandir walk with stat.

Both run in turns in fresh processes over the same tree; prints the ratio of the medians and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Command, pairs

PER_FOLDER = 1000
WALK = """
import os, sys
waiting = [sys.argv[1]]
while waiting:
    with os.scandir(waiting.pop()) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                entry.stat()
"""
PLAN = """
import sys
from pathlib import Path
from batchmill.parallel_run.plan import make_plan
from batchmill.settings import RunSettings
make_plan(RunSettings(script="score.py", inputs=[sys.argv[1]]), Path(sys.argv[2]))
"""
EMPTY = "import batchmill.parallel_run.plan, batchmill.settings"


def make_tree(folder: Path, files: int, *, flat: bool) -> None:
    """Empty files, made in an order that is not the sorted one."""
    each = files if flat else PER_FOLDER
    for first in range(0, files, each):
        inner = folder if flat else folder / f"{first // each:06d}"
        inner.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(inner, os.O_RDONLY | os.O_DIRECTORY)
        for n in range(each):
            os.close(os.open(f"{n * 7919 % each:08d}.png", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
        os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, help="default 100,000; the promise is about 1,000,000")
    parser.add_argument("--flat", action="store_true", help="one folder instead of folders of 1,000 files")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tree", type=Path, help="an existing tree to use instead of making one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchmill-plan-") as scratch:
        tree = arguments.tree or Path(scratch) / "tree"
        if arguments.tree is None:
            make_tree(tree, arguments.files, flat=arguments.flat)
        plan = Path(scratch) / "plan"
        commands = {
            "plan": Command([sys.executable, "-c", PLAN, str(tree), str(plan)], [plan]),
            "walk": Command([sys.executable, "-c", WALK, str(tree)]),
            "imports": Command([sys.executable, "-c", EMPTY]),
        }
        spent = pairs(commands, arguments.pairs)
    report({name: sorted(one.wall for one in taken) for name, taken in spent.items()}, max(one.peak for one in spent["plan"]))


def report(walls: dict[str, list[float]], peak: int) -> None:
    """The ratio with and without the start of the interpreter and its imports."""
    plan, walk, imports = (taken[len(taken) // 2] for taken in walls.values())
    print(f"plan {plan:.2f} s (imports {imports:.2f} s), walk {walk:.2f} s")
    print(f"ratio of medians {plan / walk:.2f}, {(plan - imports) / walk:.2f} without interpreter and imports")
    print(f"peak of resident memory {peak / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
