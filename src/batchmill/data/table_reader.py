"""Reading one mini-batch of a table, in a worker process: only its bytes, with the column types that the plan found.

Standard library only at import, Python 3.9.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Union

from batchmill.data.chosen_types import convert_chosen
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.grouped_table import GroupedTable
from batchmill.data.parquet import ParquetTable, conform
from batchmill.data.path_columns import PATH, all_columns, path_values
from batchmill.data.row_filter import plain_value
from batchmill.data.row_keys import file_salt, row_range, text_keys
from batchmill.data.row_operations import RowOperations, compiled
from batchmill.data.row_places import row_places
from batchmill.data.row_positions import RowPositions
from batchmill.data.table_options import FIRST_ONLY, NO_HEADERS, TableOptions
from batchmill.data.table_schema import TableSchema
from batchmill.data.table_slice import TableSlice
from batchmill.data.text_blocks import Block
from batchmill.data.text_file import Opener, TextFile
from batchmill.errors import ItemChangedError, ReadError

if TYPE_CHECKING:
    import pyarrow as pa

OPEN_FILES = 32
Opened = Union[TextFile, ParquetTable]


class TableReader:
    """Reads the mini-batches of one plan; ``header`` is the "table" part of plan.json. May be used by two threads.

    ``folder`` is the plan's, where a grouped table lies. ``open_remote`` opens URLs, where items may be such (workers have files).
    """

    def __init__(self, header: dict[str, Any], folder: Optional[str] = None, open_remote: Optional[Opener] = None) -> None:
        self.options = TableOptions.from_dict(header["options"])
        self._header = header
        self._schemas = [TableSchema(schema, self.options) for schema in header["schemas"]]
        self._columns = [all_columns(header, number) for number in range(len(self._schemas))]
        self._blocks = header["cut"] == "blocks"
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.RLock()
        self._open_remote = open_remote
        self._operations: Optional[RowOperations] = compiled(header.get("operations"))
        self._draws = self._operations is not None and self._operations.draws
        self._left: list[list[str]] = []
        self._find_columns_left()
        chosen = self.options.column_types
        of_path = [column["name"] for column in header["path_columns"] if column["name"] not in chosen]
        of_path += [PATH] if self.options.include_path else []
        self._conditions = self._operations.conditions(of_path) if self._operations is not None and of_path else []
        self._positions: Optional[RowPositions] = None
        if self._operations is not None and self._operations.positional and header.get("positions"):
            self._positions = RowPositions(folder or "", header["positions"], self._operations.positional)
        self._grouped: Optional[GroupedTable] = None
        if header["grouped"]:
            types = [self._types_left(number) for number in header["schema_of_input"]]
            self._grouped = GroupedTable(folder or "", header["grouped"], types)

    def read(self, plan: Any, item_of: Callable[[int], Any]) -> TableSlice:
        """The rows of a mini-batch (``plan``: MiniBatchPlan; ``item_of``: number of an item -> Item).

        Raises:
            ReadError: it cannot be read at all; names its bytes (ItemChangedError: the file is no longer the planned one).
        """
        if self._grouped is not None:
            return self._grouped.read(plan.input, plan.start, plan.stop, item_of)
        piece = self.read_all(plan, item_of)
        if self._operations is None:
            return piece
        starts = self._positions.starts(plan.index - self._header.get("first_mini_batch", 0)) if self._positions is not None else ()
        return self.operate(piece, plan.input, starts)[0]

    def operate(self, piece: TableSlice, number: int, starts: Sequence[int]) -> tuple[TableSlice, tuple[int, ...]]:
        """What the operations leave of a slice of input ``number``, and how many rows reached each positional one."""
        if self._operations is None:
            return piece, ()
        return self._operations.apply(piece, starts, self._left[self._header["schema_of_input"][number]])

    def read_all(self, plan: Any, item_of: Callable[[int], Any]) -> TableSlice:
        """The rows of a mini-batch before the operations of its dataset.

        Raises:
            ReadError: it cannot be read at all.
        """
        item = item_of(plan.items[0])
        if self._conditions and self._ruled_out(item):
            return self.read_nothing(item)

        def read(opened: Opened) -> TableSlice:
            if isinstance(opened, ParquetTable):
                return self._read_parquet(opened, plan.start, plan.stop, item)
            return self._read_text(opened, lambda again: self._block(again, plan), item)

        return self._guarded(item, read, _range(plan, self.options))

    def read_given(self, item: Any, block: Block) -> TableSlice:
        """The rows of a block of a text file that was read already.

        Raises:
            ReadError: it cannot be read at all.
        """

        def read(opened: Opened) -> TableSlice:
            assert isinstance(opened, TextFile)
            return self._read_text(opened, lambda again: block, item)

        return self._guarded(item, read, f"bytes {block.first_byte} to {block.last_byte}")

    def read_nothing(self, item: Any) -> TableSlice:
        """No rows of a file, with the columns that they would have.

        Raises:
            ReadError: it cannot be opened.
        """

        def read(opened: Opened) -> TableSlice:
            if isinstance(opened, ParquetTable):
                return self._read_parquet(opened, 0, 0, item)
            return self._read_text(opened, lambda again: Block(b"", 0, 0, 0), item)

        return self._guarded(item, read, "its columns")

    def _ruled_out(self, item: Any) -> bool:
        """Whether filters on columns of the path take none of the file's rows: then it is not read."""
        source = self._header["bases"][item.input] + item.name
        values = {name: None if value is None else scalar(value, kind) for name, kind, value in path_values(self._header, source)}
        if self.options.include_path:
            values[PATH] = source
        return not all(one.evaluate(values) for one in self._conditions)

    def _guarded(self, item: Any, read: Callable[[Opened], TableSlice], where: str) -> TableSlice:
        with self._lock:
            try:
                return read(self._opened(item))
            except ReadError:
                self._forget(item.path)
                raise
            except (OSError, ValueError, MemoryError) as error:  # pyarrow's errors are ValueErrors or OSErrors
                self._forget(item.path)
                raise ReadError(f"{item.path}, {where}, cannot be read: {_first_line(error)}") from error

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            if self._grouped is not None:
                self._grouped.close()
            if self._positions is not None:
                self._positions.close()
            while self._open:
                self._open.popitem()[1].close()

    # --- files ------------------------------------------------------------------------------------------------------------------

    def _opened(self, item: Any) -> Opened:
        remote = self._open_remote is not None and not os.path.isabs(item.path)
        if not remote:
            _check_unchanged(item)
        opened = self._open.get(item.path)
        if opened is None:
            opened = self._open_file(item, self._open_remote if remote else None)
            self._open[item.path] = opened
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(item.path)
        return opened

    def _open_file(self, item: Any, opener: Optional[Opener]) -> Opened:
        if self.options.format == "parquet":
            return ParquetTable(item.path, None if opener is None else opener(item.path))
        return TextFile(item.path, self.options, with_header=self.has_header(item), opener=opener, size=item.size)

    def has_header(self, item: Any) -> bool:
        """True where the file of ``item`` begins with column names."""
        return has_header(self.options, self._header["first_names"][item.input] == item.name)

    def _forget(self, path: str) -> None:
        opened = self._open.pop(path, None)
        if opened is not None:
            opened.close()

    # --- text -------------------------------------------------------------------------------------------------------------------

    def _read_text(self, file: TextFile, block_of: Callable[[TextFile], Block], item: Any) -> TableSlice:
        schema = self._schemas[self._header["schema_of_input"][item.input]]
        block = block_of(file)
        text = Utf8Text.decode(block.data, block.start, block.stop, file.encoding)
        parsed = schema.parse(text, file)

        places = [row_places(file, block, self.options)] if parsed.failed else []

        def describe(row: int) -> str:
            if not places:
                with self._lock:
                    again = self._opened(item)
                    assert isinstance(again, TextFile)
                    places.append(row_places(again, block_of(again), self.options))
            return places[0].place(item.path, row)

        failed = [(f.row, f.error_class, f.message) for f in parsed.failed]
        table, lost = self._completed(parsed.table, item, parsed.rows - len(parsed.failed))
        piece = TableSlice(table, self._types(item), parsed.rows, failed, describe, parsed.nulled + lost, dropped=parsed.dropped)
        if self._draws:
            piece.keys = lambda: (text_keys(block, text, self.options, file.encoding), file_salt(item.name))
        return piece

    def _block(self, file: TextFile, plan: Any) -> Block:
        return file.block(plan.start, plan.stop) if self._blocks else file.lines(plan.start or 0, plan.stop)

    # --- Parquet ----------------------------------------------------------------------------------------------------------------

    def _read_parquet(self, file: ParquetTable, begin: int, stop: int, item: Any) -> TableSlice:
        schema = self._schemas[self._header["schema_of_input"][item.input]]
        table = conform(file.read(begin, stop, schema.present(file.schema.names)), schema.arrow)
        table, lost = self._completed(table, item, stop - begin)
        piece = TableSlice(table, self._types(item), stop - begin, [], lambda row: f"{item.path}:row {begin + row + 1}", lost)
        if self._draws:
            piece.keys = lambda: (row_range(begin, stop), file_salt(item.name))
        return piece

    # --- columns that do not come from the file ---------------------------------------------------------------------------------

    def _types(self, item: Any) -> list[str]:
        return [column["type"] for column in self._columns[self._header["schema_of_input"][item.input]]]

    def _types_left(self, number: int) -> list[str]:
        left = set(self._left[number])
        return [column["type"] for column in self._columns[number] if column["name"] in left]

    def _find_columns_left(self) -> None:
        """Which columns the operations leave; of Parquet files, no others are read but those that filters look at."""
        for number, columns in enumerate(self._columns):
            names = [column["name"] for column in columns]
            if self._operations is None or not self._schemas[number].names:  # no columns: no file holds anything
                self._left.append(names)
                continue
            self._left.append(self._operations.columns(names))
            if self.options.format == "parquet":
                schema = self._schemas[number]
                unneeded = set(schema.names) - set(self._operations.needed(names))
                schema.prune(unneeded)
                self._columns[number] = [column for column in columns if column["name"] not in unneeded]

    def _completed(self, table: pa.Table, item: Any, rows: int) -> tuple[pa.Table, int]:
        """The table with the columns of its path and the types that the user chose, and how many values that made null."""
        table = self._with_path_columns(table, item, rows)
        lost = 0
        if self.options.column_types:
            for n, column in enumerate(self._columns[self._header["schema_of_input"][item.input]]):
                if "read_as" in column:
                    choice = self.options.column_types[column["name"]]
                    converted, wrong = convert_chosen(table.column(n), choice, column["type"], column["read_as"])
                    table = table.set_column(n, column["name"], converted)
                    lost += wrong
        return table, lost

    def _with_path_columns(self, table: pa.Table, item: Any, rows: int) -> pa.Table:
        """Azure ML: Path comes first; columns of a partition format first for text, last for Parquet."""
        if not self.options.include_path and not self._header["path_columns"]:
            return table
        import pyarrow as pa

        source = self._header["bases"][item.input] + item.name
        names, columns = table.column_names, table.columns
        at = len(columns) if self.options.format == "parquet" else 0
        for n, (name, kind, value) in enumerate(path_values(self._header, source)):
            names.insert(at + n, name)
            columns.insert(at + n, pa.repeat(pa.scalar(value, kind), rows))
        if self.options.include_path:
            names.insert(0, PATH)
            columns.insert(0, pa.repeat(pa.scalar(source, pa.string()), rows))
        return pa.table(columns, names=names)


def _check_unchanged(item: Any) -> None:
    """Raise ItemChangedError where the file is no longer the one that was listed (a copy of an object has its own time)."""
    try:
        status = os.stat(item.path)
    except FileNotFoundError:
        raise ItemChangedError(f"{item.path} is not there any more: it vanished after the plan was made.") from None
    if status.st_size != item.size or (not item.etag and item.mtime_ns and status.st_mtime_ns != item.mtime_ns):
        sizes = "" if status.st_size == item.size else f": {item.size} bytes then, {status.st_size} now"
        raise ItemChangedError(f"{item.path} changed after the plan was made{sizes}.", cure="Run again to score it.")


def has_header(options: TableOptions, first_of_input: bool) -> bool:
    """True for files whose first line holds column names."""
    if not options.delimited or options.header == NO_HEADERS:
        return False
    return first_of_input or options.header != FIRST_ONLY


def _range(plan: Any, options: TableOptions) -> str:
    if options.format == "parquet":
        return f"rows {plan.start + 1} to {plan.stop}"
    return f"bytes {plan.start or 0} to {'its end' if plan.stop is None else plan.stop}"


def scalar(value: Any, kind: pa.DataType) -> Any:
    """A value of a path column as filters compare it."""
    import pyarrow as pa

    return plain_value(pa.scalar(value, kind).as_py())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
