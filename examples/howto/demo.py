"""From nothing to checked rows: makes pictures and models, then executes a how-to document on them, with the commands a user would type.

python examples/howto/demo.py                              our own document
python examples/howto/demo.py --document tutorial.md       one of somebody else's that names the same containers
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from prepare import mirrors, prepare

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute a how-to document on pictures of digits.")
    parser.add_argument("--document", type=Path, default=HERE / "document.md", help="a Markdown text (default: ours)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "howto", help="where everything is put")
    parser.add_argument("--count", type=int, default=200, help="how many pictures")
    arguments = parser.parse_args()
    folder, document = arguments.folder.resolve(), arguments.document.resolve()

    started = time.monotonic()
    labels = prepare(folder, arguments.count)
    print(f"{len(labels)} pictures and two models lie below {folder}.\n", flush=True)
    shutil.copytree(HERE / "scripts", folder / "scripts", dirs_exist_ok=True)
    batchmill = str(Path(sys.executable).with_name("batchmill"))
    settings = ["--set", f"mirrors={json.dumps(mirrors(folder))}", "--set", "environments=current"]
    for words in (
        ["workspace", "create", "howto", "--exist-ok"],
        ["workspace", "update", "howto", *settings],
        ["exec", str(document), "--prelude", str(HERE / "prelude.py")],
    ):
        print("$ " + shlex.join(["batchmill", *words]), flush=True)
        code = subprocess.run([batchmill, *words], cwd=folder, check=False).returncode
        if code != 0:
            return code
    return report(folder, labels, time.monotonic() - started)


def report(folder: Path, labels: dict[str, int], seconds: float) -> int:
    """Compare the newest rows below the folder ``rows`` of the document with the truth."""
    found = sorted((folder / "rows").rglob("parallel_run_step.txt"), key=os.path.getmtime)
    if not found:
        print("\nThe document downloaded no rows; batchmill runs list shows its run.")
        return 0
    answers = dict(row.split(": ") for row in found[-1].read_text(encoding="utf-8").splitlines())
    if answers.keys() != labels.keys():
        print(f"{found[-1]} does not hold each of the {len(labels)} pictures once.", file=sys.stderr)
        return 1
    right = sum(int(answers[name]) == digit for name, digit in labels.items())
    print(f"\nAccuracy: {right / len(labels):.1%} ({right} of {len(labels)})\nDone in {seconds:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
