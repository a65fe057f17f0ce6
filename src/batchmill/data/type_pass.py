"""Finding the columns of delimited text and their kinds, once for the whole input, chunk by chunk.

The kinds found so far are tried on each chunk by the parser that reads the mini-batches; where a column refuses, its next kind is
tried. So what the pass accepts is what the readers accept.
"""

from __future__ import annotations

import re
from typing import Any

from batchmill.data.column_types import (
    MONTH_FIRST,
    PARSED_TOGETHER,
    TOO_LONG_A_ROW,
    any_case,
    arrow_type,
    convert_options,
    month_first,
    type_of_kind,
)
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited_text import UNIT_SEPARATOR, is_clean, is_utf8, parser_separator, repair
from batchmill.data.table_options import TableOptions

_ORDER = ("int", "float", "bool", "datetime", "datetime_utc", "month_first", "str")
_AFTER_VALUES = {"int": "float"}
_FAILED_COLUMN = re.compile(r"In CSV column #(\d+)")
_LEADING_ZERO = r"^\s*-?0[0-9]"
_HEXADECIMAL = r"^\s*-?0[xX]"
_DATE = re.compile(r"(\d{1,2}[/-]\d{1,2}[/-]\d{4}|\d{4}/\d{1,2}/\d{1,2})", re.ASCII)
_FIRST_CELLS = 100
_WINDOW = 1 << 18
_BLANKS = 16


class _Column:
    """What is known about a column: its name, the kind of its values (None: no value yet), whether a cell was empty."""

    __slots__ = ("kind", "name", "nulls", "settled")

    def __init__(self, name: str, *, nulls: bool) -> None:
        self.name = name
        self.kind: str | None = None
        self.settled = False
        self.nulls = nulls


class TypePass:
    """Collects the columns of one schema. A *layout* is the list of columns (by number) that the fields of a file's rows belong to."""

    def __init__(self, options: TableOptions) -> None:
        self._options = options
        self._separator = options.separator.encode("utf-8")
        self._written = parser_separator(options.separator)
        self._columns: list[_Column] = []
        self._by_name: dict[str, int] = {}
        self._seen_rows = False

    @property
    def names(self) -> list[str]:
        return [column.name for column in self._columns]

    def layout(self, names: list[str]) -> list[int]:
        """The layout of a file with these columns; those not met before are added."""
        return [self._add(name) for name in names]

    def missing_in(self, layout: list[int]) -> None:
        """Rows of this layout leave all other columns empty."""
        present = set(layout)
        for number, column in enumerate(self._columns):
            if number not in present:
                column.nulls = True

    def _add(self, name: str) -> int:
        if name not in self._by_name:
            self._by_name[name] = len(self._columns)
            column = _Column(name, nulls=self._seen_rows)
            if name in self._options.column_types:  # read as text, converted afterwards
                column.kind, column.settled = "str", True
            self._columns.append(column)
        return self._by_name[name]

    def _widen(self, layout: list[int], width: int) -> None:
        """More fields than the header names: ColumnN, N being the place of the field."""
        beyond = bool(layout)  # rows before, or the header, have fewer fields; the first row of a file without header has not
        while len(layout) < width:
            name = f"Column{len(layout) + 1}"
            while self._by_name.get(name) in layout:
                name += "_"
            layout.append(self._add(name))
            self._columns[layout[-1]].nulls |= beyond

    def observe(self, text: Utf8Text, layout: list[int]) -> None:
        """Take a chunk of whole rows into account; ``layout`` grows where a row has more fields."""
        import pyarrow as pa

        clean = self._clean(text)
        if clean is not None and layout:
            try:
                self._observe_clean(clean, layout)
                return
            except pa.ArrowInvalid:
                pass  # a row with too few or too many fields
        given = text.data[text.start : text.stop]
        fixed = repair(given, self._separator, None, multi_line=self._options.multi_line, bad_lines=text.bad_lines)
        self._widen(layout, fixed.width)
        if fixed.width < len(layout):
            fixed = repair(given, self._separator, len(layout), multi_line=self._options.multi_line, bad_lines=text.bad_lines)
        if fixed.kept:
            self._observe_clean(fixed.data, layout)

    def _clean(self, text: Utf8Text) -> bytes | None:
        data, start, stop = text.data, text.start, text.stop
        if text.bad_lines or (len(self._separator) > 1 and (UNIT_SEPARATOR in data or b'"' in data)):
            return None
        data = data if start == 0 and stop == len(data) else data[start:stop]
        if len(self._separator) > 1:
            data = data.replace(self._separator, self._written)
        if _is_blank(data) or not is_utf8(data):
            return None
        return data if is_clean(data, 0, len(data), self._written, multi_line=self._options.multi_line) else None

    def _observe_clean(self, data: bytes, layout: list[int]) -> None:
        columns = [self._columns[number] for number in layout]
        if self._options.infer_column_types:
            if any(not column.settled for column in columns):
                self._guess(data, columns)
            table = self._try_until_all_fit(data, columns)
            self._look_for_leading_zeros(data, columns)
            for column, values in zip(columns, table.columns, strict=True):
                column.nulls = column.nulls or values.null_count > 0
                column.settled = column.settled or values.null_count < len(values)
                if not column.settled:
                    column.kind = None
        else:
            self._read(data, columns, ["str"] * len(columns))
        self._seen_rows = True

    def _guess(self, data: bytes, columns: list[_Column]) -> None:
        """First kinds for columns without values, as the parser's own inference sees them in the first rows."""
        import pyarrow as pa

        head = data if len(data) <= 1 << 16 else data[: data.rfind(b"\n", 0, 1 << 16) + 1] or data
        try:
            schema = self._read(head, columns, None).schema
        except pa.ArrowInvalid:
            return
        for column, field in zip(columns, schema, strict=True):
            if not column.settled:
                column.kind = _kind_of(field.type)

    def _try_until_all_fit(self, data: bytes, columns: list[_Column]) -> Any:
        import pyarrow as pa

        while True:
            try:
                table = self._read(data, columns, [column.kind or "null" for column in columns])
            except pa.ArrowInvalid as error:
                found = _FAILED_COLUMN.search(str(error))
                if found is None:
                    raise
                _next_kind(columns[int(found[1])])
                continue
            _settle_dates(table, columns)
            return table

    def _read(self, data: bytes, columns: list[_Column], kinds: list[str] | None) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        names = [f"f{n}" for n in range(len(columns))]
        if kinds is None:
            convert = csv.ConvertOptions(
                null_values=[""],
                strings_can_be_null=True,
                true_values=any_case("true"),
                false_values=any_case("false"),
            )
        else:
            types = [pa.null() if kind == "null" else arrow_type(_parse_type(kind)) for kind in kinds]
            convert = convert_options(names, types, empty_as_string=False)
        parse = csv.ParseOptions(delimiter=self._written.decode("ascii"), newlines_in_values=self._options.multi_line)
        whole = len(data) + 1
        for size in (PARSED_TOGETHER, whole):
            read = csv.ReadOptions(use_threads=True, column_names=names, block_size=size)
            try:
                return csv.read_csv(pa.BufferReader(data), read_options=read, parse_options=parse, convert_options=convert)
            except pa.ArrowInvalid as error:
                if size == whole or TOO_LONG_A_ROW not in str(error):
                    raise
        raise AssertionError("unreachable")

    def _look_for_leading_zeros(self, data: bytes, columns: list[_Column]) -> None:
        """Azure ML: ``00501`` makes a column of floats. Hexadecimal digits, which the parser would take, stay text."""
        suspects = [n for n, column in enumerate(columns) if column.kind == "int"]
        if not suspects or not _may_have_leading_zeros(data, self._written):
            return
        import pyarrow.compute as pc

        kinds = ["str" if n in suspects or column.kind is None else column.kind for n, column in enumerate(columns)]
        table = self._read(data, columns, kinds)
        for n in suspects:
            if pc.any(pc.match_substring_regex(table.column(n), _HEXADECIMAL)).as_py():
                columns[n].kind = "str"
            elif pc.any(pc.match_substring_regex(table.column(n), _LEADING_ZERO)).as_py():
                columns[n].kind = "float"

    def result(self, *, complete: bool) -> list[dict[str, str]]:
        """Names and types of the columns."""
        if not self._options.infer_column_types:
            return [{"name": column.name, "type": "str"} for column in self._columns]
        return [{"name": column.name, "type": type_of_kind(column.kind, complete=complete, nulls=column.nulls)} for column in self._columns]


def _is_blank(data: bytes) -> bool:
    return data[:1] in (b"", b"\r", b"\n") and not data.strip(b"\r\n")


def _parse_type(kind: str) -> str:
    return {"int": "int64", "float": "float64"}.get(kind, kind)


def _kind_of(type: Any) -> str | None:
    import pyarrow.types as types

    if types.is_null(type):
        return None
    if types.is_integer(type):
        return "int"
    if types.is_floating(type):
        return "float"
    if types.is_boolean(type):
        return "bool"
    if types.is_timestamp(type):
        return "datetime" if type.tz is None else "datetime_utc"
    return "datetime" if types.is_date(type) else "month_first"


def _next_kind(column: _Column) -> None:
    """The kind to try after one that did not fit: any later one while no value was seen, else only what holds the values seen."""
    if column.settled:
        column.kind = _AFTER_VALUES.get(column.kind or "", "str")
    elif column.kind is None:
        column.kind = _ORDER[0]
    elif column.kind.startswith("datetime:"):
        column.kind = "str"
    else:
        column.kind = _ORDER[_ORDER.index(column.kind) + 1]


def _settle_dates(table: Any, columns: list[_Column]) -> None:
    """Month-first dates are read as text: find their format; a column without one stays the text that it was read as."""
    import pyarrow as pa

    for column, cells in zip(columns, table.columns, strict=True):
        if column.kind is None or not (column.kind == "month_first" or column.kind.startswith("datetime:")):
            continue
        formats = MONTH_FIRST if column.kind == "month_first" else (column.kind.partition(":")[2],)
        if not _may_be_dates(cells[:_FIRST_CELLS]):
            _next_kind(column)
            continue
        values = cells.drop_null().unique()
        for date_format in formats if _look_like_dates(values) else ():
            try:
                month_first(values, date_format)
            except pa.ArrowInvalid:
                continue
            column.kind = "datetime:" + date_format
            break
        else:
            _next_kind(column)


def _may_be_dates(cells: Any) -> bool:
    """False where one of a few cells is surely none (a quick look, without the kernels of Arrow)."""
    return all(value is None or _DATE.match(value) for value in cells.to_pylist())


def _look_like_dates(values: Any) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(values, "^" + _DATE.pattern)).as_py())


def _may_have_leading_zeros(data: bytes, separator: bytes) -> bool:
    """False where no cell begins with ``0`` and another digit (or ``x``); a minus and blanks may stand before it."""
    import numpy as np

    text = np.frombuffer(data, np.uint8)
    return any(_begins_with_zero(text, at, separator[0]) for at in range(0, len(text), _WINDOW))


def _begins_with_zero(text: Any, start: int, separator: int) -> bool:
    """The same for the zeros from ``start`` on, as many bytes as stay in the cache of a core."""
    import numpy as np

    zeros = text[start : min(start + _WINDOW, len(text) - 1)] == 48
    before = text[max(0, start - 1) : start + len(zeros) - 1]
    # A digit before it is the most frequent case, and is none of the beginning of a cell.
    zeros[-len(before) or len(zeros) :] &= (before < 48) | (before == separator)
    found = np.flatnonzero(zeros) + start
    after = text[found + 1]
    found = found[((after >= 48) & (after <= 57)) | (after == 120) | (after == 88)]
    at = found - 1
    at -= (text[at] == 45) & (separator != 45)
    for _ in range(_BLANKS):
        blank = ((text[at] == 32) | (text[at] == 9)) & (text[at] != separator) & (at >= 0)
        if not blank.any():
            break
        at -= blank
    else:
        return True
    begins = (at < 0) | (text[at] == separator) | (text[at] == 10) | (text[at] == 34)
    return bool(begins.any())
