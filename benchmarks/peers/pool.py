"""multiprocessing.Pool.imap_unordered(chunksize=1) over the files of a folder, the rows into one file.

python pool.py FOLDER OUTPUT
"""

from __future__ import annotations

import multiprocessing
import os
import sys


def run(mini_batch: list[str]) -> list[str]:
    return mini_batch


def main() -> None:
    folder, output = sys.argv[1:]
    mini_batches = [[path] for path in sorted(entry.path for entry in os.scandir(folder))]
    with multiprocessing.Pool(2) as pool, open(output, "w") as out:
        for rows in pool.imap_unordered(run, mini_batches, chunksize=1):
            out.write("".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    main()
