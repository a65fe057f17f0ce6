"""The columns of one or more inputs of a table, and the parsers that fill them from text.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Optional

from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited import DelimitedParser
from batchmill.data.json_lines import JsonLinesParser
from batchmill.data.parsed_rows import Parsed
from batchmill.data.table_options import COMBINE, TableOptions
from batchmill.data.text_file import TextFile

if TYPE_CHECKING:
    import pyarrow as pa


class TableSchema:
    """The columns of one or more inputs, and the parsers that fill them."""

    def __init__(self, header: dict[str, Any], options: TableOptions) -> None:
        self.names = [column["name"] for column in header["columns"]]
        self.types = [column.get("read_as", column["type"]) for column in header["columns"]]
        self._options = options
        self._by_name = {name: n for n, name in enumerate(self.names)}
        self._parsers: dict[tuple[int, ...], DelimitedParser] = {}
        self._json: Optional[JsonLinesParser] = None
        self.arrow: Any = None
        if "arrow" in header:
            import pyarrow as pa

            self.arrow = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(header["arrow"])))

    def prune(self, unneeded: set[str]) -> None:
        """Leave these columns out (of Parquet files)."""
        import pyarrow as pa

        kept = [n for n, name in enumerate(self.names) if name not in unneeded]
        self.names, self.types = [self.names[n] for n in kept], [self.types[n] for n in kept]
        self.arrow = pa.schema([self.arrow.field(n) for n in kept])

    def present(self, names: list[str]) -> list[str]:
        """Columns of the schema that a file has."""
        return [name for name in self.names if name in names]

    def parse(self, text: Utf8Text, file: TextFile) -> Parsed:
        if not self._options.delimited:
            if self._json is None:
                self._json = JsonLinesParser(self.names, self.types, self._options)
            return self._json.parse(text)
        layout = self._layout(file)
        parser = self._parsers.get(layout)
        if parser is None:
            parser = DelimitedParser([self.names[n] for n in layout], [self.types[n] for n in layout], self._options)
            self._parsers[layout] = parser
        parsed = parser.parse(text)
        parsed.table = self._arrange(parsed.table, layout)
        return parsed

    def _layout(self, file: TextFile) -> tuple[int, ...]:
        if self._options.header != COMBINE:
            return tuple(range(len(self.names)))
        return file_layout(file.column_names() or [], self._by_name)

    def _arrange(self, table: pa.Table, layout: tuple[int, ...]) -> pa.Table:
        import pyarrow as pa

        if len(layout) == len(self.names) and layout == tuple(range(len(layout))):
            return table.rename_columns(self.names)
        place = {number: n for n, number in enumerate(layout)}
        columns = []
        for number, type_name in enumerate(self.types):
            if number in place:
                columns.append(table.column(place[number]))
            else:
                columns.append(pa.nulls(table.num_rows, _arrow_type_in_table(type_name)))
        return pa.table(columns, names=self.names)


def file_layout(names: list[str], by_name: dict[str, int]) -> tuple[int, ...]:
    """Numbers of the columns that the fields of a file's rows belong to: its own header, then the ColumnN that are known."""
    layout = [by_name[name] for name in names]
    while (number := by_name.get(f"Column{len(layout) + 1}")) is not None and number not in layout:
        layout.append(number)
    return tuple(layout)


def _arrow_type_in_table(type_name: str) -> pa.DataType:
    import pyarrow as pa

    from batchmill.data.column_types import arrow_type

    return pa.timestamp("ns") if type_name.startswith("datetime") else arrow_type(type_name)
