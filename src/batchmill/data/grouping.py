"""Grouping a table by key columns: sorted once, outside memory, into tables from which a worker reads the rows of one key at once.

Runs as a process of its own (``python -m batchmill.data.grouping JOB.json``) with a bounded memory and a spill folder. The rows come
from the reader of the mini-batches, so a grouped row is the row that an ungrouped run would have seen. DuckDB sorts them by keys and
row number; the result is written as uncompressed Arrow files that workers map (`data.grouped_table`), with an index of the keys.

Keys come in ascending order of their typed values, nulls last; rows keep the order of the input. Each input is grouped by itself.
Rows that cannot be read belong to the group without keys, where they fail by name.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import batchmill.errors
from batchmill.data.compressed import is_compressed
from batchmill.data.group_writer import GroupIndex, write_grouped_input
from batchmill.data.path_columns import all_columns
from batchmill.data.row_operations import RowOperations
from batchmill.errors import BatchmillError, DiskFullError, InputError, PartitionFormatError
from batchmill.storage.connections import connections_text, take_connections

TEXT_GROWTH, ARCHIVE_GROWTH, PARQUET_GROWTH = 1.5, 8.0, 5.0
"""Bytes of the grouped table per byte of input, generously."""
PARENT_DEATH_SIGNAL = 1
JOB, ITEMS, RESULT, SPILL = "grouping.json", "grouping.items", "grouping.result", "grouping.spill"


@dataclass(frozen=True)
class Grouped:
    """A grouped table: for each input its rows, groups and what the header of the plan says about it; the types of the date keys."""

    inputs: list[dict[str, Any]]
    groups: list[int]
    date_keys: list[str]


def check_keys(keys: Sequence[str], header: dict[str, Any]) -> None:
    """All keys must be columns of all inputs, and hold single values.

    Raises:
        PartitionFormatError: one is not, or does not.
    """
    operations = RowOperations(header["operations"])
    for number, schema in enumerate(header["schemas"]):
        columns = {column["name"]: column["type"] for column in all_columns(header, number)}
        if schema["columns"]:
            columns = {name: columns[name] for name in operations.columns(list(columns))}
        for key in keys:
            if key not in columns:
                known = ", ".join(list(columns)[:20])
                raise PartitionFormatError(f"The input has no column {key!r} to group by.", cure=f"Its columns are: {known}.")
            if columns[key] == "json" or columns[key].startswith(("list", "struct", "map", "large_list", "fixed_size_list")):
                raise PartitionFormatError(f"Column {key!r} holds lists, objects or mixed values: it cannot be a partition key.")


def group(
    files: Iterable[Any],
    header: dict[str, Any],
    keys: Sequence[str],
    folder: Path,
    *,
    memory_limit: int,
    threads: int = 2,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Grouped:
    """Group ``files`` (in plan order) by ``keys`` into ``folder``, in a process of its own; ``header`` comes from `plan_table`.

    Writes the tables, ``groups.index`` and ``groups.keys`` (formats of `worker.plan_file`). Nothing is left where it fails; the
    folder is the plan's before it gets its name, so what is published is complete. ``progress`` is told the rows read.

    Raises:
        PartitionFormatError: a key is no column.
        DiskFullError: the disk has no room for it.
        InputError: a file cannot be read.
    """
    check_keys(keys, header)
    size = _write_items(files, folder / ITEMS, header["options"]["format"])
    _check_disk(size, memory_limit, keys, folder, announce)
    job = {"folder": str(folder), "header": header, "keys": list(keys), "memory_limit": memory_limit, "threads": threads}
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    try:
        result = _run_process(folder, progress)
    finally:
        for name in (JOB, ITEMS, RESULT):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / SPILL, ignore_errors=True)
    return Grouped(**result)


def _write_items(files: Iterable[Any], path: Path, table_format: str) -> int:
    """Write the files down for the process; returns the expected bytes of the grouped table."""
    expected = 0.0
    with path.open("w", encoding="utf-8") as out:
        for file in files:
            entry = [file.path, file.name, file.input, file.size, getattr(file, "mtime_ns", 0), getattr(file, "etag", None)]
            out.write(json.dumps(entry) + "\n")
            growth = PARQUET_GROWTH if table_format == "parquet" else ARCHIVE_GROWTH if is_compressed(file.name) else TEXT_GROWTH
            expected += growth * file.size
    return int(expected)


def _check_disk(size: int, memory_limit: int, keys: Sequence[str], folder: Path, announce: Callable[[str], None] | None) -> None:
    needed = size if size < memory_limit else 2 * size  # what does not fit into memory is spilled while it is sorted
    free = shutil.disk_usage(folder).free
    names = ", ".join(keys)
    if announce is not None:
        announce(f"Grouping by {names} needs up to {_shown(needed)} of disk below {folder.parent} ({_shown(free)} free).")
    if needed > free:
        raise DiskFullError(
            f"Grouping by {names} needs up to {_shown(needed)} of disk below {folder.parent}, which has {_shown(free)} free.",
            cure="Make room, or set BATCHMILL_HOME to a larger disk.",
        )


def _shown(size: int) -> str:
    return f"{size / 1024**3:.1f} GB" if size >= 1024**3 else f"{max(size, 1024**2) / 1024**2:.0f} MB"


def _run_process(folder: Path, progress: Callable[[int], None] | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "batchmill.data.grouping", str(folder / JOB)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(connections_text())
        process.stdin = None
        for line in process.stdout:
            if progress is not None and line.strip().isdigit():
                progress(int(line))
        _, said = process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    result = folder / RESULT
    if process.returncode or not result.exists():
        raise _process_error(process.returncode, said)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def _process_error(code: int, said: str) -> BatchmillError:
    lines = said.strip().splitlines()
    try:
        told = json.loads(lines[-1])
        kind = getattr(batchmill.errors, told["error_class"])
        error: BatchmillError = kind(told["message"], cure=told["cure"])
        return error
    except (IndexError, ValueError, KeyError, TypeError, AttributeError):
        pass
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return InputError(
        f"The process that groups the input {how}: {lines[-1] if lines else 'it said nothing'}.", cure="Run again, with more memory."
    )


# --- in the process -----------------------------------------------------------------------------------------------------------------


class _Item:
    __slots__ = ("etag", "input", "mtime_ns", "name", "path", "size")

    def __init__(self, path: str, name: str, number: int, size: int, mtime_ns: int, etag: str | None) -> None:
        self.path, self.name, self.input, self.size, self.mtime_ns, self.etag = path, name, number, size, mtime_ns, etag


def _items(path: Path) -> Iterator[_Item]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield _Item(*json.loads(line))


def run_job(job: dict[str, Any], progress: Callable[[int], None]) -> dict[str, Any]:
    """Group all inputs of a job; returns what `Grouped` holds."""
    folder = Path(job["folder"])
    spill = folder / SPILL
    spill.mkdir(exist_ok=True)
    items = list(_items(folder / ITEMS))
    inputs, groups = [], []
    first = rows = 0
    with GroupIndex(folder, job["keys"]) as index:
        while first < len(items):
            end = first
            while end < len(items) and (job["header"]["joined"] or items[end].input == items[first].input):
                end += 1
            before = index.groups
            entry = write_grouped_input(job, items[first].input, items[first:end], index, _from(rows, progress))
            inputs.append({**entry, "place": items[first].input, "first_item": first, "items": end - first})
            groups.append(index.groups - before)
            rows += entry["rows"]
            first = end
        return {"inputs": inputs, "groups": groups, "date_keys": sorted(index.date_keys)}


def _from(rows: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda read: progress(rows + read)


def _die_with_parent() -> None:
    """The process is of no use without the planner: end with it."""
    try:
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() == 1:
        sys.exit(1)


def main() -> int:
    """Do the job in the file that is the first argument; errors go to standard error as one line of JSON."""
    _die_with_parent()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    take_connections(sys.stdin.read())
    try:
        result = run_job(job, lambda rows: print(rows, flush=True))  # noqa: T201 - the planner reads it
        (Path(job["folder"]) / RESULT).write_text(json.dumps(result), encoding="utf-8")
    except BatchmillError as error:
        told = {"error_class": type(error).__name__, "message": error.message, "cure": error.cure}
        sys.stderr.write(json.dumps(told) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
