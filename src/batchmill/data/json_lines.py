"""JSON lines to Arrow tables: one object a line, one line a row.

Values keep the types that JSON gives them: numbers, booleans, text. A field that holds lists, objects or values of several types is
of the type ``json``: Arrow carries it as JSON text, the script gets the Python values.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Iterator, Optional, Union

from batchmill.data.column_types import arrow_type
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited_text import row_count_and_ends
from batchmill.data.parsed_rows import Parsed, RowFailure, shown
from batchmill.data.table_options import TableOptions

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = 2**63
NO_OBJECT = ("InvalidLine", "UndecodableText")
"""Classes of lines that are no rows where ``invalid_lines`` is ``drop``."""


class JsonLinesParser:
    """Parses lines into columns of the given names and types."""

    def __init__(self, names: list[str], types: list[str], options: TableOptions) -> None:
        import pyarrow as pa

        self.names = names
        self.types = types
        self._options = options
        self._lenient = options.unparsable == "null"
        self._drops = options.invalid_lines == "drop"
        self._known = frozenset(names)
        self._schema = pa.schema([(name, arrow_type(type_name)) for name, type_name in zip(names, types)])
        self._plain = "json" not in types

    def parse(self, text: Utf8Text) -> Parsed:
        """Rows of ``text``, which begins and ends at a line."""
        if self._plain and not text.bad_lines:
            table = self._parse_fast(text)
            if table is not None:
                return Parsed(table, table.num_rows, [])
        return self._parse_each(text)

    def _parse_fast(self, text: Utf8Text) -> Optional[pa.Table]:
        table = read_objects(text, self._schema, "ignore" if self._lenient else "error")
        if table is None:
            return None
        return table.select(self.names) if table.column_names != self.names else table

    def _parse_each(self, text: Utf8Text) -> Parsed:
        import pyarrow as pa

        columns: list[list[Any]] = [[] for _ in self.names]
        failed = []
        rows = nulled = dropped = 0
        for start, line in object_lines(text):
            try:
                if start in text.bad_lines:
                    raise _BadLine(
                        "UndecodableText", f"{shown(line.decode('utf-8', 'replace'))} is not text in the encoding {self._options.encoding}."
                    )
                cells, wrong = self._cells(_object(line))
                nulled += wrong
                for column, cell in zip(columns, cells):
                    column.append(cell)
            except _BadLine as problem:
                if self._drops and problem.error_class in NO_OBJECT:
                    dropped += 1
                    continue
                failed.append(RowFailure(rows, problem.error_class, problem.message))
            rows += 1
        arrays = [
            pa.array(_as_floats(column) if field.type == pa.float64() else column, field.type)
            for column, field in zip(columns, self._schema)
        ]
        return Parsed(pa.table(arrays, schema=self._schema), rows, failed, nulled, dropped)

    def _cells(self, values: dict[str, Any]) -> tuple[list[Any], int]:
        if not self._lenient and not self._known.issuperset(values):
            name = next(name for name in values if name not in self._known)
            raise _BadLine(
                "UnknownField", f"field {name!r} was not there when the columns of the input were found. --unparsable null leaves it out."
            )
        cells = []
        wrong = 0
        for name, type_name in zip(self.names, self.types):
            value = values.get(name)
            if value is not None and not _fits(value, type_name):
                if not self._lenient:
                    wanted = type_name.replace("object_", "")
                    words = f"column {name!r} holds {shown(json.dumps(value))}, which is no {wanted}. --unparsable null makes it null."
                    raise _BadLine("UnparsableCell", words)
                value = None
                wrong += 1
            elif type_name == "json" and value is not None:
                value = json.dumps(value)
            cells.append(value)
        return cells, wrong


class _BadLine(Exception):
    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _BadLine("InvalidLine", f"{shown(line.decode('utf-8', 'replace'))} is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise _BadLine("InvalidLine", f"{shown(line.decode('utf-8', 'replace'))} is no JSON object.")
    return value


def _fits(value: Any, type_name: str) -> bool:
    if type_name == "json":
        return True
    if type_name == "str":
        return isinstance(value, str) and _encodes(value)
    if isinstance(value, bool):
        return type_name in ("bool", "object_bool")
    if type_name == "int64":
        return isinstance(value, int) and -_INT64 <= value < _INT64
    return type_name == "float64" and isinstance(value, (int, float))


def _encodes(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def object_lines(text: Utf8Text) -> Iterator[tuple[int, bytes]]:
    """Offset (from the beginning of the text) and content of each line that is not blank."""
    at, data, stop = text.start, text.data, text.stop
    while at < stop:
        end = data.find(b"\n", at, stop)
        end = stop if end < 0 else end
        line = data[at:end].strip()
        if line:
            yield at - text.start, line
        at = end + 1


def row_lines(text: Utf8Text, options: TableOptions) -> Iterator[tuple[int, bytes]]:
    """The same without the lines that are dropped."""
    for start, line in object_lines(text):
        if options.invalid_lines == "drop":
            try:
                _object(line)
            except _BadLine:
                continue
            if start in text.bad_lines:
                continue
        yield start, line


def object_ends(text: bytes) -> Any:
    """Offsets behind the rows in ``text`` as stored (one byte a character): a line of blanks is no row."""
    import numpy as np

    ends = row_count_and_ends(text, b",", multi_line=False)
    if not len(ends):
        return ends
    data = np.frombuffer(text, np.uint8)
    solid = np.flatnonzero((data != 32) & (data != 9) & (data != 13) & (data != 10) & (data != 11) & (data != 12))
    begins = np.append(0, ends[:-1])
    return ends[np.searchsorted(solid, begins) < np.searchsorted(solid, ends)]


def _as_floats(values: list[Any]) -> list[Optional[float]]:
    """The nearest float of each number: whole numbers beyond 2**53 would be refused."""
    return [None if value is None else _nearest(value) for value in values]


def _nearest(value: Union[int, float]) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def read_objects(text: Utf8Text, schema: Optional[pa.Schema], unexpected: str) -> Optional[pa.Table]:
    """The rows by the fast parser (columns inferred without ``schema``); None where it refuses or would not see one row a line."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    data, start, stop = text.data, text.start, text.stop
    lines = _plain_lines(data, start, stop)
    if not lines:
        return None
    try:
        table = arrow_json.read_json(
            pa.BufferReader(pa.py_buffer(data).slice(start, stop - start)),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=stop - start + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior=unexpected),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return table if table.num_rows == lines else None


def _plain_lines(data: bytes, start: int, stop: int) -> int:
    """How many lines the text has where each is ``{...}`` without space around; 0 where some is not.

    Such a line cannot be the middle of an object that spans lines, so equal numbers of lines and rows mean one row a line.
    """
    import numpy as np

    text = np.frombuffer(data, np.uint8, stop - start, start)
    ends = np.flatnonzero(text == 10)
    if len(text) and text[-1] != 10:
        ends = np.append(ends, len(text))
    if not len(ends):
        return 0
    begins = np.empty_like(ends)
    begins[0] = 0
    begins[1:] = ends[:-1] + 1
    if (ends - begins < 2).any():
        return 0
    last = text[ends - 1]
    last = np.where(last == 13, text[ends - 2], last)
    return len(ends) if bool(((text[begins] == 123) & (last == 125)).all()) else 0
