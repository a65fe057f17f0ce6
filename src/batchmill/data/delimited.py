"""Delimited text (csv, tsv) to Arrow tables: the fast parser where the text is clean, the rules where it is not.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from batchmill.data.column_types import PARSED_TOGETHER, TOO_LONG_A_ROW, arrow_type, convert_column, convert_options, finished
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited_text import UNIT_SEPARATOR, Repaired, is_clean, parser_separator, repair, split_line
from batchmill.data.parsed_rows import Parsed, RowFailure, shown
from batchmill.data.table_options import TableOptions
from batchmill.data.text_encoding import TextEncoding

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = 2**31 - 1
"""Parse all of a text at once (the parser counts bytes in 32 bits)."""


class DelimitedParser:
    """Parses texts whose fields are, by position, columns of the given names and types."""

    def __init__(self, names: list[str], types: list[str], options: TableOptions) -> None:
        from pyarrow import csv

        self.names = names
        self.types = types
        self.width = len(names)
        self._options = options
        self._separator = options.separator.encode("utf-8")
        self._written = parser_separator(options.separator)
        self._fields = [f"f{n}" for n in range(self.width)]
        self._finish = [n for n, name in enumerate(types) if name.startswith("datetime") and name != "datetime"]
        self._typed = convert_options(self._fields, [arrow_type(name) for name in types], empty_as_string=options.empty_as_string)
        self._text = convert_options(self._fields, [arrow_type("str")] * self.width, empty_as_string=options.empty_as_string)
        self._parse = csv.ParseOptions(delimiter=self._written.decode("ascii"), newlines_in_values=options.multi_line)
        self._read = csv.ReadOptions(use_threads=False, column_names=self._fields)

    def parse(self, text: Utf8Text) -> Parsed:
        """Rows of ``text``, which begins and ends at a line."""
        table = self._parse_clean(text)
        if table is not None:
            return Parsed(table, table.num_rows, [])
        return self._parse_with_care(text)

    def _parse_clean(self, text: Utf8Text) -> Optional[pa.Table]:
        import pyarrow as pa

        if text.bad_lines:
            return None
        data, start, stop = text.data, text.start, text.stop
        if len(self._separator) > 1:
            if data.find(UNIT_SEPARATOR, start, stop) >= 0 or data.find(b'"', start, stop) >= 0:
                return None
            data = data[start:stop].replace(self._separator, self._written)
            start, stop = 0, len(data)
        if not is_clean(data, start, stop, self._written, multi_line=self._options.multi_line):
            return None
        for together in (PARSED_TOGETHER, WHOLE):
            try:
                return self._table(data, start, stop, self._typed, together)
            except pa.ArrowInvalid as error:
                if TOO_LONG_A_ROW not in str(error):
                    return None
        return None

    def _table(self, data: bytes, start: int, stop: int, convert: Any, together: int = WHOLE) -> pa.Table:
        import pyarrow as pa
        from pyarrow import csv

        self._read.block_size = min(together, stop - start + 1)
        source = pa.BufferReader(pa.py_buffer(data).slice(start, stop - start))
        table = csv.read_csv(source, read_options=self._read, parse_options=self._parse, convert_options=convert)
        if convert is self._typed:
            for n in self._finish:
                table = table.set_column(n, self._fields[n], finished(table.column(n), self.types[n]))
        return table

    def empty(self) -> pa.Table:
        """A table without rows."""
        import pyarrow as pa

        nothing = pa.chunked_array([], type=arrow_type("str"))
        return pa.table([convert_column(nothing, name)[0] for name in self.types], names=self._fields)

    def _parse_with_care(self, text: Utf8Text) -> Parsed:
        import pyarrow as pa

        given = text.data[text.start : text.stop]
        fixed = repair(given, self._separator, self.width, multi_line=self._options.multi_line, bad_lines=text.bad_lines)
        failed = self._failures(fixed)
        if not fixed.kept:
            return Parsed(self.empty(), len(fixed.starts), failed)
        try:
            table = self._table(fixed.data, 0, len(fixed.data), self._typed)
            return Parsed(table, len(fixed.starts), failed)
        except pa.ArrowInvalid:
            return self._convert_each(fixed, failed)

    def _failures(self, fixed: Repaired) -> list[RowFailure]:
        encoding = self._options.encoding
        failed = [
            RowFailure(
                row,
                "UndecodableText",
                f"{shown(text.decode('utf-8', 'replace'))} is not text in the encoding {encoding}. Check --encoding.",
            )
            for row, text in fixed.undecodable.items()
        ]
        failed += [
            RowFailure(row, "TooManyFields", f"the row has {fields} fields, the table {self.width} columns.")
            for row, fields in fixed.too_long.items()
        ]
        return sorted(failed, key=lambda failure: failure.row)

    def _convert_each(self, fixed: Repaired, failed: list[RowFailure]) -> Parsed:
        """Column by column, so that the cells that do not parse are known."""
        import numpy as np
        import pyarrow as pa

        table = self._table(fixed.data, 0, len(fixed.data), self._text)
        columns = []
        wrong: dict[int, RowFailure] = {}
        nulled = 0
        for n, type_name in enumerate(self.types):
            column, bad = convert_column(table.column(n), type_name)
            columns.append(column)
            nulled += len(bad)
            for position in bad:
                if position not in wrong:
                    wrong[position] = RowFailure(
                        fixed.kept[position], "UnparsableCell", self._bad_cell(n, table.column(n)[position].as_py())
                    )
        result = pa.table(columns, names=self._fields)
        if self._options.unparsable == "null":
            return Parsed(result, len(fixed.starts), failed, nulled)
        keep = np.ones(len(fixed.kept), bool)
        keep[list(wrong)] = False
        failed = sorted([*failed, *wrong.values()], key=lambda failure: failure.row)
        return Parsed(result.filter(pa.array(keep)), len(fixed.starts), failed)

    def _bad_cell(self, n: int, value: str) -> str:
        return f"column {self.names[n]!r} holds {shown(value)}, which is no {shown_type(self.types[n])}. --unparsable null makes it null."


def shown_type(type_name: str) -> str:
    """A type in the words of a message."""
    return {"object_bool": "bool", "datetime": "date-time (ISO)", "datetime_utc": "date-time with a zone"}.get(
        type_name, type_name.replace("datetime:", "date-time of the form ")
    )


def header_names(line: bytes, encoding: TextEncoding, separator: str) -> list[str]:
    """The column names in a stored header line: unnamed ones become ColumnN, a name met before gets a number.

    >>> header_names(b"a,,a,b", TextEncoding("utf-8"), ",")
    ['a', 'Column2', 'a.1', 'b']

    Raises:
        UnicodeDecodeError: the line is no text of this encoding.
    """
    text = line.decode(encoding.codec).removesuffix("\r").encode("utf-8")
    fields = [field.decode("utf-8") for field in split_line(text, separator.encode("utf-8"))]
    return unique_names([name if name.strip() else f"Column{n}" for n, name in enumerate(fields, 1)])


def unique_names(names: list[str]) -> list[str]:
    """``names`` with a number behind those that were met before."""
    taken: set[str] = set()
    result = []
    for name in names:
        unique, number = name, 0
        while unique in taken or (number and unique in names):
            number += 1
            unique = f"{name}.{number}"
        taken.add(unique)
        result.append(unique)
    return result
