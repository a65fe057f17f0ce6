"""The answer of an SQL query as a Parquet file: asked once, when a run is planned, so that every retry and resume reads the same rows.

Rows are fetched and written a batch at a time. What a column is shows only at the end: whole numbers with fractions among them become
fractions, values of several kinds texts; decimals are fractions, days and moments date-times in UTC, what no table holds is its text.
"""

from __future__ import annotations

import json
import os
import re
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.data.definition import Definition
from batchmill.data.delimited import unique_names
from batchmill.data.listing import Input
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk
from batchmill.storage.connections import HIDDEN, Connection, connection_of

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import CursorResult, Engine

DATASTORE = re.compile(r"^datastore://(?P<key>[^/]+)/?$")
BATCH = 16_384
"""Rows that are fetched together, and stand in one row group."""
DEFAULT_TIMEOUT = 30
"""Azure ML: seconds that a query may take (``query_timeout``)."""
CONNECT_TIMEOUT = 20
DRIVERS = {"psycopg": "postgres"}


def query_input(definition: Definition, folder: Path, name: str, base: str) -> Input:
    """The answer to the query of a definition, as an input of one file ``name`` in ``folder``, which will lie at ``base``.

    The query is asked when the input is listed.

    Raises:
        InputError: (when it is listed) the query failed or took longer than ``query_timeout`` seconds without an answer.
    """

    def chunks() -> Iterator[Chunk]:
        path = folder / name
        write_answer(definition, path)
        status = path.stat()
        yield Chunk(b"", [name.encode()], array("Q", [status.st_size]), array("q", [status.st_mtime_ns]))

    return Input(definition.sources[0], base, "local", chunks, name)


def write_answer(definition: Definition, path: Path, *, limit: int | None = None) -> int:
    """Ask the query and write its rows to ``path``, at most ``limit``; returns how many.

    Raises:
        InputError: the query failed or took too long; the database cannot be reached.
    """
    import sqlalchemy.exc

    connection = _connection(definition)
    try:
        with _engine(connection) as engine:
            return _Answer(definition.options, path, limit).write(engine)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise InputError(f"The query on {connection.title} failed: {_cause(error, connection)}", cure="Check the query.") from None


def _connection(definition: Definition) -> Connection:
    match = DATASTORE.match(definition.sources[0])
    if match is None:
        raise InputError(
            f"A query is asked of a datastore, not of {definition.sources[0]!r}.", cure="Register the database as a datastore."
        )
    return connection_of(match["key"])


@contextmanager
def _engine(connection: Connection) -> Iterator[Engine]:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.pool import NullPool

    url = make_url(connection.config["url"]).set(password=connection.credentials.get("password"))
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and not os.path.isfile(url.database or ""):
        raise InputError(f"The database of {connection.title} is not there: {url.database}.", cure="Check the path of the datastore.")
    arguments = {"check_same_thread": False} if sqlite else {"connect_timeout": CONNECT_TIMEOUT}
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    except ModuleNotFoundError as error:
        extra = DRIVERS.get(error.name or "", error.name)
        raise InputError(
            f"The driver {error.name!r} of {connection.title} is not installed.", cure=f"Install it: pip install 'batchmill[{extra}]'."
        ) from None
    try:
        yield engine
    finally:
        engine.dispose()


def _cause(error: Exception, connection: Connection) -> str:
    line = connection.concealed(" ".join(str(getattr(error, "orig", None) or error).split()))
    password = connection.credentials.get("password")
    line = line.replace(password, HIDDEN) if password else line
    return line[:300].rstrip(".") + "."


class _Answer:
    """One query, its rows on the way into a file."""

    def __init__(self, options: Any, path: Path, limit: int | None) -> None:
        self._query = str(options["query"])
        self._timeout = float(options.get("query_timeout") or DEFAULT_TIMEOUT)
        self._path = path
        self._limit = limit
        self._late = False

    def write(self, engine: Engine) -> int:
        import pyarrow as pa

        with engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            cancel: Callable[[], None] = getattr(raw, "interrupt", None) or raw.cancel
            streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH)
            # Nothing is to be put in for a percent sign of the query.
            query = self._query.replace("%", "%%") if engine.dialect.paramstyle in ("format", "pyformat") else self._query
            try:
                with self._in_time(cancel):
                    result = streaming.exec_driver_sql(query)
                if not result.returns_rows:
                    raise InputError("The query of a dataset gives no rows.", cure="Write a SELECT.")
                return self._write_batches(result, cancel)
            except Exception as error:
                if self._late:
                    raise InputError(
                        f"The query gave no answer within {self._timeout:g} seconds.", cure="Give from_sql_query a longer query_timeout."
                    ) from None
                if isinstance(error, pa.ArrowException):
                    raise InputError(f"The answer of the query cannot be held in a table: {error}.") from None
                raise
            finally:
                connection.rollback()  # a query of a dataset reads

    @contextmanager
    def _in_time(self, cancel: Callable[[], None]) -> Iterator[None]:
        def give_up() -> None:
            self._late = True
            cancel()

        timer = threading.Timer(self._timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _write_batches(self, result: CursorResult[Any], cancel: Callable[[], None]) -> int:
        import pyarrow as pa

        names = unique_names([str(name) or f"Column{n}" for n, name in enumerate(result.keys(), 1)])
        parts = self._path.with_name(self._path.name + ".parts")
        kinds = [_Kind() for _ in names]
        rows = 0
        try:
            with pa.OSFile(str(parts), "wb") as sink:
                while batch := self._fetch(result, cancel, rows):
                    table = pa.table([kind.column(cells) for kind, cells in zip(kinds, zip(*batch, strict=True), strict=True)], names=names)
                    with pa.ipc.new_stream(sink, table.schema) as writer:  # each batch has a schema of its own
                        writer.write_table(table)
                    rows += len(batch)
            self._write_parquet(parts, pa.schema([(name, kind.type) for name, kind in zip(names, kinds, strict=True)]))
        finally:
            parts.unlink(missing_ok=True)
        return rows

    def _fetch(self, result: CursorResult[Any], cancel: Callable[[], None], rows: int) -> Sequence[Any]:
        count = BATCH if self._limit is None else min(BATCH, self._limit - rows)
        with self._in_time(cancel):
            return result.fetchmany(count) if count > 0 else []

    def _write_parquet(self, parts: Path, schema: pa.Schema) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        with parquet.ParquetWriter(self._path, schema) as writer, pa.OSFile(str(parts), "rb") as source:
            while source.tell() < source.size():
                table = pa.ipc.open_stream(source).read_all()
                columns = [_finished(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
                writer.write_table(pa.table(columns, schema=schema))


class _Kind:
    """What the values of a column have been so far."""

    def __init__(self) -> None:
        self.type: Any = None

    def column(self, cells: Sequence[Any]) -> pa.Array:
        """The cells as an array of their own kind; the kind of the column grows with it."""
        import pyarrow as pa

        values = [_plain(cell) for cell in cells]
        kinds = {type(value) for value in values if value is not None}
        found = _common(kinds)
        self.type = found if self.type in (None, pa.null()) else _wider(self.type, found)
        if found == pa.large_string() and kinds != {str}:
            values = [None if value is None else str(value) for value in values]
        elif found == pa.float64():
            values = [None if value is None else float(value) for value in values]
        return pa.array(values, found)


def _plain(cell: Any) -> Any:
    if cell is None or isinstance(cell, (bool, str)):
        return cell
    if isinstance(cell, int):
        return cell if -(2**63) <= cell < 2**63 else float(cell)
    if isinstance(cell, (float, Decimal)):
        return float(cell)
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).replace(tzinfo=None) if cell.tzinfo is not None else cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    if isinstance(cell, (bytes, memoryview)):
        return bytes(cell)
    return json.dumps(cell) if isinstance(cell, (dict, list)) else str(cell)


def _common(kinds: set[type]) -> Any:
    import pyarrow as pa

    single = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.large_string(),
        datetime: pa.timestamp("us"),
        bytes: pa.binary(),
    }
    if not kinds:
        return pa.null()
    if len(kinds) == 1:
        return single[next(iter(kinds))]
    return pa.float64() if kinds == {int, float} else pa.large_string()


def _wider(one: Any, other: Any) -> Any:
    import pyarrow as pa

    if one == other or other == pa.null():
        return one
    return pa.float64() if {one, other} == {pa.int64(), pa.float64()} else pa.large_string()


def _finished(column: pa.ChunkedArray, type: Any) -> pa.ChunkedArray:
    import pyarrow as pa

    if column.type == type:
        return column
    if type == pa.large_string():
        return pa.chunked_array([pa.array([None if value is None else str(value) for value in column.to_pylist()], type)])
    return column.cast(type, safe=False)
