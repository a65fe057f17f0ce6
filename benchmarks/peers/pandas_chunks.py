"""pandas.read_csv(chunksize=...) calling the same run() in two processes, each on half of the files.

python pandas_chunks.py SCRIPT FOLDER ROWS_PER_CHUNK
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys


def half(script: str, files: list[str], rows: int) -> None:
    import pandas

    spec = importlib.util.spec_from_file_location("entry_script", script)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    for file in files:
        with pandas.read_csv(file, chunksize=rows) as chunks:
            for chunk in chunks:
                module.run(chunk)


def main() -> None:
    script, folder, rows = sys.argv[1:]
    files = sorted(entry.path for entry in os.scandir(folder))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=half, args=(script, files[number::2], int(rows))) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(process.exitcode or 0 for process in processes))


if __name__ == "__main__":
    main()
