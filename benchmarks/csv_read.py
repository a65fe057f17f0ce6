"""Reading delimited text, the reader alone: rows/s of our blocks against ``pandas.read_csv(chunksize=...)``, in one process.

Paired rounds, ratio of medians. The file has 10 columns of whole numbers, 8 of decimal ones, 2 of short texts. Beside the promised
peer stand two floors that say where the time goes: the same blocks through the bare parser (``pyarrow.csv``), without rules, places
and data frames, and the same file through the pandas parser at once.

Run as ``python -m benchmarks.csv_read [--megabytes N] [--rounds N] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from batchmill.data.table_options import TableOptions
from batchmill.data.table_plan import plan_table
from batchmill.data.table_reader import TableReader

BAR = 3.0
MEGABYTE = 1024 * 1024


def write_file(path: Path, megabytes: int) -> int:
    """About so many megabytes of 20 columns; returns the number of rows."""
    numbers = np.random.default_rng(0)
    rows = 50_000
    columns: dict[str, object] = {f"count_{k}": numbers.integers(0, 10 ** (2 + k // 2), rows) for k in range(10)}
    columns |= {f"value_{k}": np.round(numbers.normal(size=rows) * 100, 4) for k in range(8)}
    columns |= {f"name_{k}": numbers.choice([f"name{n}" for n in range(500)], rows) for k in range(2)}
    frame = pd.DataFrame(columns)
    header, _, body = frame.to_csv(index=False).partition("\n")
    repeats = max(1, megabytes * MEGABYTE // len(body))
    with path.open("w") as file:
        file.write(header + "\n")
        for _ in range(repeats):
            file.write(body)
    return rows * repeats


def ours(path: Path, block: int) -> Callable[[], int]:
    """Every block through the reader of the worker processes."""
    file = SimpleNamespace(path=str(path), name=path.name, size=path.stat().st_size, input=0)
    plan = plan_table([file], TableOptions("csv"), ("count", block))
    reader = TableReader(json.loads(json.dumps(plan.header)))
    item = SimpleNamespace(path=file.path, name=file.name, size=file.size, input=0, mtime_ns=0, etag=None)
    count = plan.blocks_of(file.size)

    def read() -> int:
        rows = 0
        for k in range(count):
            start = k * block
            piece = SimpleNamespace(items=(0,), start=start, stop=min(start + block, file.size), rows=None)
            rows += len(reader.read(piece, lambda number: item).frame())
        return rows

    return read


def pandas_chunks(path: Path, rows_per_chunk: int) -> Callable[[], int]:
    def read() -> int:
        with pd.read_csv(path, chunksize=rows_per_chunk) as chunks:
            return sum(len(chunk) for chunk in chunks)

    return read


def bare_parser(path: Path, block: int) -> Callable[[], int]:
    names = [f"f{n}" for n in range(20)]
    types = [pa.int64()] * 10 + [pa.float64()] * 8 + [pa.string()] * 2
    convert = csv.ConvertOptions(column_types=dict(zip(names, types, strict=True)))

    def read() -> int:
        options = csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1, block_size=block)
        with csv.open_csv(path, read_options=options, convert_options=convert) as reader:
            return sum(batch.num_rows for batch in reader)

    return read


def measure(path: Path, rows: int, block: int, rounds: int) -> float:
    """Print the rates for one size of block; returns the ratio to pandas."""
    per_chunk = max(1, rows * block // path.stat().st_size)
    ways = {"batchmill": ours(path, block), "pandas chunks": pandas_chunks(path, per_chunk), "bare parser": bare_parser(path, block)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, read in ways.items():
            began = time.perf_counter()
            assert read() == rows, name
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    for name, taken in medians.items():
        print(f"{block // MEGABYTE:3} MB blocks  {name:14} {taken:6.3f} s  {rows / taken / 1e6:5.2f} million rows/s")
    ratio = medians["pandas chunks"] / medians["batchmill"]
    verdict = "met" if ratio >= BAR else "not met"
    print(f"{block // MEGABYTE:3} MB blocks  {ratio:.2f} x the rows/s of pandas {pd.__version__} (bar {BAR:g}: {verdict})")
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "rows.csv"
        rows = write_file(path, arguments.megabytes)
        for block in (MEGABYTE, 10 * MEGABYTE):
            measure(path, rows, block, arguments.rounds)


if __name__ == "__main__":
    main()
