"""A whole table in pieces of memory size, read by the reader of the mini-batches: what grouping takes its rows from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, TypeVar

from batchmill.data.compressed import is_compressed
from batchmill.data.parquet import ParquetTable
from batchmill.data.row_operations import RowOperations, advanced
from batchmill.data.row_slices import whole_lines
from batchmill.data.table_file import open_parquet, open_text
from batchmill.data.table_options import TableOptions
from batchmill.data.table_reader import TableReader, has_header
from batchmill.data.table_slice import TableSlice
from batchmill.data.text_blocks import Block, block_count
from batchmill.storage.files import open_binary

PIECE = 8 * 1024 * 1024

Task = Callable[[TableReader], TableSlice]
T = TypeVar("T")


def read_in_pieces(header: dict[str, Any], files: Sequence[Any], threads: int) -> Iterator[tuple[int, TableSlice]]:
    """Position of the file among ``files`` and rows, in the order of the input; pieces are read ahead by ``threads``.

    The operations of the header are applied. Nothing is read behind the last row that a take leaves.
    """
    ungrouped = {**header, "cut": "blocks", "grouped": None, "positions": None}
    operations = RowOperations(header.get("operations") or [])
    readers = [TableReader(ungrouped, open_remote=open_binary) for _ in range(threads)]
    starts = operations.beginning
    for position, (piece, reader) in read_ahead(_tasks(header, files), readers):
        if operations.positional:
            if operations.exhausted(starts):
                return
            piece, counts = reader.operate(piece, files[position].input, starts)
            starts = advanced(starts, counts)
        elif operations:
            piece, _ = reader.operate(piece, files[position].input, ())
        yield position, piece


def read_ahead(tasks: Iterator[tuple[T, Task]], readers: Sequence[TableReader]) -> Iterator[tuple[T, tuple[TableSlice, TableReader]]]:
    """What the tasks read, in their order, with the reader that did; as many threads as readers work ahead. Closes the readers."""
    free = deque(readers)
    waiting: deque[tuple[T, Future[tuple[TableSlice, TableReader]]]] = deque()

    def run(task: Task) -> tuple[TableSlice, TableReader]:
        reader = free.popleft()
        try:
            return task(reader), reader
        finally:
            free.append(reader)

    try:
        with ThreadPoolExecutor(len(readers)) as pool:
            try:
                for key, task in tasks:
                    waiting.append((key, pool.submit(run, task)))
                    while len(waiting) > len(readers):
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        for reader in readers:
            reader.close()


def _tasks(header: dict[str, Any], files: Sequence[Any]) -> Iterator[tuple[int, Task]]:
    options = TableOptions.from_dict(header["options"])
    for position, file in enumerate(files):
        if options.format == "parquet":
            for start, stop in _row_groups(file):
                yield position, _range_task(file, start, stop)
        elif file.size and (is_compressed(file.name) or options.multi_line):
            yield from ((position, task) for task in _text_tasks(header, options, file))
        else:
            for block in range(block_count(file.size, PIECE)):
                yield position, _range_task(file, block * PIECE, min((block + 1) * PIECE, file.size))


def _row_groups(file: Any) -> list[tuple[int, int]]:
    table: ParquetTable = open_parquet(file)
    try:
        return list(zip(table.starts, table.starts[1:], strict=False))
    finally:
        table.close()


def _range_task(file: Any, start: int, stop: int) -> Task:
    plan = SimpleNamespace(items=(0,), input=file.input, start=start, stop=stop, rows=None, keys=None)
    return lambda reader: reader.read_all(plan, lambda _: file)


def _text_tasks(header: dict[str, Any], options: TableOptions, file: Any) -> Iterator[Task]:
    """Text that must be read from its beginning: decompressed or cut here, parsed by the pool."""
    opened = open_text(file, options, with_header=has_header(options, header["first_names"][file.input] == file.name))
    try:
        for offset, data in whole_lines(opened, options):
            yield _block_task(file, Block(data, 0, len(data), offset))
    finally:
        opened.close()


def _block_task(file: Any, block: Block) -> Task:
    return lambda reader: reader.read_given(file, block)
