"""The rows of a table dataset outside a run: planned as a run plans them, read by the same reader, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from batchmill.data.definition import PARQUET, SQL, Definition
from batchmill.data.definition_inputs import open_definition, require_files
from batchmill.data.definition_tables import row_operations, table_options
from batchmill.data.listed_files import ListedFiles
from batchmill.data.path_columns import all_columns, path_columns, path_values
from batchmill.data.row_operations import RowOperations
from batchmill.data.sql_query import query_input
from batchmill.data.table_file import open_parquet, open_text
from batchmill.data.table_pieces import read_in_pieces
from batchmill.data.table_plan import plan_table
from batchmill.data.table_reader import TableReader, has_header
from batchmill.data.table_slice import TableSlice, to_frame
from batchmill.errors import InputError, ReadError
from batchmill.storage.files import open_binary

if TYPE_CHECKING:
    import pandas as pd

THREADS = 2
CHECKED = 64 * 1024
FAILED_CURE = "Repair the row, or leave it out of the data."


class TableRows:
    """A table dataset over physical sources, its files listed and its columns found; made by `open_rows`."""

    def __init__(self, definition: Definition, files: ListedFiles, threads: int = THREADS) -> None:
        self.definition = definition
        self.files = files
        self._threads = threads
        self.header = plan_table(files, table_options(definition), grouped=True, joined=True, operations=row_operations(definition)).header

    @property
    def columns(self) -> list[dict[str, str]]:
        """Names and types of the columns that the operations leave."""
        columns = all_columns(self.header, 0)
        operations = RowOperations(self.header["operations"])
        if not operations or not self.header["schemas"][0]["columns"]:
            return columns
        left = set(operations.columns([column["name"] for column in columns]))
        return [column for column in columns if column["name"] in left]

    def pieces(self, *, strict: bool = False) -> Iterator[TableSlice]:
        """The rows in order, in pieces of memory size; at least one, with no rows where there are none.

        Raises:
            InputError: a file or a row cannot be read, or changed while it was read; with ``strict``, a value does not fit its type.
        """
        empty = True
        try:
            for position, piece in read_in_pieces(self.header, self.files, self._threads):
                if piece.failed:
                    row, _, message = piece.failed[0]
                    raise InputError(f"{piece.describe(row)}: {message}", cure=FAILED_CURE)
                if strict and piece.nulled:
                    where = self.files[position].path
                    raise InputError(
                        f"{piece.nulled} cells of {where} do not fit the types of their columns.", cure="Make them null: on_error='null'."
                    )
                empty = False
                yield piece
            if empty:
                yield self._nothing()
        except ReadError as error:
            raise InputError(error.message, cure=error.cure) from None

    def _nothing(self) -> TableSlice:
        """A piece without rows, with the columns as they are."""
        reader = TableReader({**self.header, "cut": "blocks", "grouped": None, "positions": None}, open_remote=open_binary)
        try:
            piece = reader.read_nothing(self.files[0])
            return reader.operate(piece, self.files[0].input, RowOperations(self.header["operations"]).beginning)[0]
        finally:
            reader.close()

    def frame(self, *, strict: bool = False) -> pd.DataFrame:
        """All rows as a data frame.

        Raises:
            InputError: something cannot be read; with ``strict``, a value does not fit the type of its column.
        """
        import pandas as pd
        import pyarrow as pa

        pieces = list(self.pieces(strict=strict))
        tables = [piece.arrow for piece in pieces]
        rows = sum(table.num_rows for table in tables)
        if not tables[0].num_columns:
            return pd.DataFrame(index=pd.RangeIndex(sum(piece.rows for piece in pieces)))
        filled = [table for table in tables if table.num_rows] or tables[:1]
        frame = to_frame(pa.concat_tables(filled), pieces[0].types)
        frame.index = pd.RangeIndex(rows)
        return frame


@contextmanager
def open_rows(definition: Definition, *, threads: int = THREADS, scratch: str | Path | None = None) -> Iterator[TableRows]:
    """The rows of a dataset whose sources are physical; the answer of a query lies in a folder in ``scratch`` until the block ends.

    Raises:
        InputError: a source does not exist or cannot be read, or an operation names a column that is not there.
    """
    with TemporaryDirectory(prefix="batchmill-rows-", dir=scratch) as folder:
        yield TableRows(definition, list_files(definition, Path(folder)), threads)


def list_files(definition: Definition, folder: Path) -> ListedFiles:
    """The files of a dataset; the answer of a query is written to ``folder``.

    Raises:
        InputError: a source does not exist, or there is no file.
    """
    if definition.format == SQL:
        return ListedFiles([query_input(definition, folder, "query.parquet", str(folder))])
    files = ListedFiles(open_definition(definition, scratch=str(folder)))
    require_files(definition, "The dataset", len(files))
    return files


def local_size(definition: Definition, most: int) -> int | None:
    """The bytes of all files where they lie on this machine and are at most ``most``; None where not."""
    if definition.format == SQL:
        return None
    size = 0
    for place in open_definition(definition):
        if place.location != "local":
            return None
        for chunk in place.chunks():
            size += sum(chunk.sizes)
            if size > most:
                return None
    return size


def key_values(definition: Definition, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """The distinct values of key columns that the paths hold, in ascending order, nulls last; files are listed, not read.

    Where operations take rows away, what is left is read.

    Raises:
        InputError: a source does not exist or cannot be read.
    """
    found: set[tuple[Any, ...]] = set()
    if any(one["op"] not in ("keep_columns", "drop_columns") for one in definition.operations):
        with open_rows(definition.with_operation(op="keep_columns", columns=list(keys))) as rows:
            for piece in rows.pieces():
                table = piece.arrow.select(list(keys)).group_by(list(keys)).aggregate([])
                found.update(zip(*(_python(column) for column in table.columns), strict=True))
    else:
        options = table_options(definition)
        header = {"options": options.to_dict(), "path_columns": path_columns(options, [])}
        with TemporaryDirectory(prefix="batchmill-keys-") as folder:
            for file in list_files(definition, Path(folder)):
                if file.size:
                    values = {name: _typed(value, kind) for name, kind, value in path_values(header, file.path)}
                    found.add(tuple(values[key] for key in keys))
    return sorted(found, key=lambda values: [(value is None, "" if value is None else value) for value in values])


def _python(column: Any) -> list[Any]:
    return [_stamp(value) for value in column.to_pylist()]


def _typed(value: Any, kind: Any) -> Any:
    import pyarrow as pa

    return _stamp(pa.scalar(value, kind).as_py())


def _stamp(value: Any) -> Any:
    """A moment as a timestamp of pandas, whatever its unit."""
    import pandas as pd

    return pd.Timestamp(value) if hasattr(value, "isoformat") else value


def check_readable(definition: Definition) -> None:
    """Look at the head of the first file that holds anything, and at no more (Azure ML: ``validate`` of the factories).

    Raises:
        InputError: there is none, or it is not what the dataset says.
    """
    with TemporaryDirectory(prefix="batchmill-check-") as folder:
        if definition.format == SQL:
            from batchmill.data.sql_query import write_answer

            write_answer(definition, Path(folder) / "query.parquet", limit=1)
            return
        options = table_options(definition)
        for place in open_definition(definition, scratch=folder):
            for chunk in place.chunks():
                file = next((file for file in ListedFiles([_only(place, chunk)]) if file.size), None)
                if file is not None:
                    _check_head(file, options)
                    return


def _only(place: Any, chunk: Any) -> Any:
    return SimpleNamespace(base=place.base, chunks=lambda: [chunk])


def _check_head(file: Any, options: Any) -> None:
    if options.format == PARQUET:
        open_parquet(file).close()
        return
    from batchmill.data.table_file import unreadable

    opened = open_text(file, options, with_header=has_header(options, True))
    try:
        if opened.with_header:
            opened.column_names()
        opened.file.read_at(opened.header_end, CHECKED)
    except (OSError, ReadError) as error:
        raise unreadable(file.path, error) from None
    finally:
        opened.close()
