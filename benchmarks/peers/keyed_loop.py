"""The bare two-process loop over a table that is grouped already: half of the keys each.

python keyed_loop.py SCRIPT GROUPED.parquet OUTPUT
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys


def half(number: int, script: str, table: str, output: str) -> None:
    import numpy
    import pyarrow.parquet

    spec = importlib.util.spec_from_file_location("entry_script", script)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    frame = pyarrow.parquet.read_table(table).to_pandas()
    keys = frame["device"].to_numpy()
    starts = numpy.concatenate([[0], numpy.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]])
    middle = len(starts) // 2
    mine = range(middle) if number == 0 else range(middle, len(starts) - 1)
    with open(f"{output}.{number}", "w") as out:
        for group in mine:
            rows = module.run(frame.iloc[starts[group] : starts[group + 1]].reset_index(drop=True))
            out.write("".join(f"{row}\n" for row in rows))


def main() -> None:
    script, table, output = sys.argv[1:]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=half, args=(number, script, table, output)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(process.exitcode or 0 for process in processes))


if __name__ == "__main__":
    main()
