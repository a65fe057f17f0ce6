"""joblib.Parallel(n_jobs=2) over the files of a folder, the rows into one file.

python joblib_loop.py FOLDER OUTPUT
"""

from __future__ import annotations

import os
import sys

from joblib import Parallel, delayed


def run(mini_batch: list[str]) -> list[str]:
    return mini_batch


def main() -> None:
    folder, output = sys.argv[1:]
    mini_batches = [[path] for path in sorted(entry.path for entry in os.scandir(folder))]
    with open(output, "w") as out:
        for rows in Parallel(n_jobs=2, return_as="generator")(delayed(run)(one) for one in mini_batches):
            out.write("".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    main()
