"""The columns of a table input and their types: one pass over all of it up to 256 MB, beyond that over samples.

Inputs whose first files have the same columns share one schema, so that all mini-batches of a run agree.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from batchmill.data.compressed import is_compressed
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.input_survey import InputSurvey
from batchmill.data.json_type_pass import JsonTypePass
from batchmill.data.parquet import plain_type
from batchmill.data.row_slices import whole_lines
from batchmill.data.table_file import open_parquet, open_text, unreadable
from batchmill.data.table_options import COMBINE, NO_HEADERS, TableOptions
from batchmill.data.table_reader import has_header
from batchmill.data.table_schema import file_layout
from batchmill.data.text_file import TextFile
from batchmill.data.type_pass import TypePass
from batchmill.errors import InputError, ReadError

WHOLE_PASS = 256 * 1024 * 1024
"""Inputs up to this length are read completely to find their types."""
HEAD = 32 * 1024 * 1024
SAMPLED_FILES = 1000
SAMPLE = WHOLE_PASS // SAMPLED_FILES
LOOK = 4 * 1024 * 1024
"""Bytes of text that are looked at together."""
_HEAD_CHECKED = 64 * 1024


def scan_schemas(files: Sequence[Any], survey: InputSurvey, options: TableOptions) -> dict[str, Any]:
    """The part of the table header that says what the columns are.

    Raises:
        InputError: a file cannot be read, or is not text of the encoding, or not of the format.
    """
    scan = _ParquetScan(files, joined=survey.joined) if options.format == "parquet" else _TextScan(files, survey, options)
    return {
        "options": options.to_dict(),
        "complete": scan.complete,
        "schemas": scan.schemas(),
        "schema_of_input": scan.schema_of_input,
        "first_names": survey.first_names,
        "bases": survey.bases,
        "path_columns": [],
        "operations": [],
        "positions": None,
        "grouped": None,
    }


class _TextScan:
    def __init__(self, files: Sequence[Any], survey: InputSurvey, options: TableOptions) -> None:
        self._files = files
        self._survey = survey
        self._options = options
        self._first = survey.first
        self._first_names = survey.first_names
        self.complete = survey.size <= WHOLE_PASS
        self._passes: list[Any] = []
        self.schema_of_input = self._group_inputs()
        self._layouts: dict[int, list[int]] = {}
        self._left = WHOLE_PASS
        self._held: dict[int, list[bytes]] = {}
        self._held_bytes = 0
        try:
            for file, start, count in self._pieces():
                self._observe(file, start, count)
        except (OSError, ReadError) as error:
            raise unreadable(file.path, error) from None
        self._observe_held()

    def schemas(self) -> list[dict[str, Any]]:
        columns = [found.result(complete=self.complete) for found in self._passes]
        return [{"columns": entry} for entry in columns]

    def _group_inputs(self) -> list[int]:
        """Inputs with the same header share a pass."""
        by_names: dict[Any, int] = {}
        numbers = []
        for file in self._firsts():
            names = self._names_of(file) if file is not None else None
            key = None if not self._options.delimited or self._options.header in (NO_HEADERS, COMBINE) else tuple(names or ())
            if key not in by_names:
                by_names[key] = len(self._passes)
                self._passes.append(TypePass(self._options) if self._options.delimited else JsonTypePass())
                if key:
                    self._passes[-1].layout(list(key))
            numbers.append(by_names[key])
        if not self._passes:
            self._passes.append(TypePass(self._options) if self._options.delimited else JsonTypePass())
        if self._survey.joined:
            numbers = [0] * len(self._first)
        elif self._survey.places is not None:  # inputs of other tables have a number too, which nobody uses
            found = iter(numbers)
            numbers = [next(found) if number in self._survey.places else 0 for number in range(len(self._first))]
        if self._options.header == COMBINE and self._options.delimited:
            self._combine_headers()
        return numbers

    def _firsts(self) -> list[Any]:
        """The files that name the columns: one for each input, or one for all places of a dataset."""
        if self._survey.joined:
            return [file for file in self._first if file is not None]
        places = self._survey.places
        return [file for number, file in enumerate(self._first) if places is None or number in places]

    def _names_of(self, file: Any) -> list[str] | None:
        if not self._has_header(file):
            return None
        opened = self._open(file)
        try:
            return opened.column_names()
        except ReadError as error:
            raise unreadable(file.path, error) from None
        finally:
            opened.close()

    def _combine_headers(self) -> None:
        found = (self._names_of(file) for file in self._files if file.size)
        for layout in [self._passes[0].layout(names) for names in found if names]:
            self._passes[0].missing_in(layout)

    def _has_header(self, file: Any) -> bool:
        return has_header(self._options, self._first_names[file.input] == file.name)

    def _open(self, file: Any) -> TextFile:
        return open_text(file, self._options, with_header=self._has_header(file))

    def _pieces(self) -> Iterator[tuple[Any, int, int | None]]:
        """Which files to look at: from which byte on, how much of each (None: all)."""
        if not self.complete:
            yield next(file for file in self._first if file is not None), 0, HEAD
        step = max(1, -(-self._survey.filled // SAMPLED_FILES))
        for position, file in enumerate(file for file in self._files if file.size):
            if self.complete:  # until the text of compressed files turns out to be longer
                yield file, 0, None
            elif position % step == 0:
                from_start = is_compressed(file.name) or self._options.multi_line
                yield file, 0 if from_start else max(0, (file.size - SAMPLE) // 2), SAMPLE

    def _observe(self, file: Any, start: int, count: int | None) -> None:
        opened = self._open(file)
        try:
            number = self.schema_of_input[file.input]
            layout = self._layout(opened, number) if self._options.delimited else []
            for text in self._texts(opened, file, start, count):
                if text.bad_lines or self._options.multi_line or self._options.header == COMBINE:
                    self._take(number, text, layout)
                else:
                    self._hold(number, text)
        finally:
            opened.close()

    def _take(self, number: int, text: Utf8Text, layout: list[int]) -> None:
        found = self._passes[number]
        if self._options.delimited:
            found.observe(text, layout)
        else:
            found.observe(text)

    def _hold(self, number: int, text: Utf8Text) -> None:
        """Many small files are looked at together: a look costs more than their bytes."""
        data = text.data[text.start : text.stop]
        self._held.setdefault(number, []).append(data if data.endswith(b"\n") else data + b"\n")
        self._held_bytes += len(data)
        if self._held_bytes >= LOOK:
            self._observe_held()

    def _observe_held(self) -> None:
        held, self._held, self._held_bytes = self._held, {}, 0
        for number, parts in held.items():
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            self._take(number, Utf8Text(data, 0, len(data)), self._shared_layout(number))

    def _layout(self, file: TextFile, number: int) -> list[int]:
        if self._options.header == COMBINE:
            names = self._passes[number].names
            return list(file_layout(file.column_names() or [], {name: n for n, name in enumerate(names)}))
        return self._shared_layout(number)

    def _shared_layout(self, number: int) -> list[int]:
        """By position: all files of the schema fill the same columns, and those that grow grow for all."""
        if not self._options.delimited:
            return []
        return self._layouts.setdefault(number, list(range(len(self._passes[number].names))))

    def _texts(self, opened: TextFile, file: Any, start: int, count: int | None) -> Iterator[Utf8Text]:
        if start:
            block = opened.block(start, start + (count or 0))
            yield Utf8Text.decode(block.data, block.start, block.stop, opened.encoding)
            return
        read = 0
        for _, data in whole_lines(opened, self._options, count):
            text = Utf8Text.decode(data, 0, len(data), opened.encoding)
            if read == 0:
                self._check_head(text, file)
            read += len(data)
            if opened.compressed:
                self._left -= len(data)
            yield text
            if self._left < 0:
                self.complete = False
                return

    def _check_head(self, text: Utf8Text, file: Any) -> None:
        head = text.data[:_HEAD_CHECKED]
        bad = any(offset < _HEAD_CHECKED for offset in text.bad_lines)
        if not bad and not head.isascii():
            try:
                head.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = error.start < len(head) - 4 or len(head) == len(text.data)
        if bad:
            raise InputError(f"{file.path} is not text in the encoding {self._options.encoding}.", cure="Say which it is: --encoding.")


class _ParquetScan:
    """Columns from the footers; whether a column is ever null from their statistics."""

    def __init__(self, files: Sequence[Any], *, joined: bool) -> None:
        self.complete = True
        self.schema_of_input: list[int] = []
        self._schemas: list[Any] = []
        self._never_null: list[set[str]] = []
        by_names: dict[tuple[str, ...], int] = {}
        for file in files:
            table = open_parquet(file)
            try:
                while len(self.schema_of_input) <= file.input:
                    number = by_names.setdefault(() if joined else tuple(table.schema.names), len(self._schemas))
                    if number == len(self._schemas):
                        self._schemas.append(_decoded(table.schema))
                        self._never_null.append(set(table.schema.names))
                    self.schema_of_input.append(number)
                self._take(self.schema_of_input[file.input], table, file)
            finally:
                table.close()

    def _take(self, number: int, table: Any, file: Any) -> None:
        import pyarrow as pa

        known, found = self._schemas[number], _decoded(table.schema)
        if not known.equals(found):
            try:
                self._schemas[number] = pa.unify_schemas([known, found], promote_options="permissive")
            except pa.ArrowException as error:
                raise InputError(
                    f"{file.path} has columns of other types than the files before it: {error}", cure="Give the inputs one schema."
                ) from None
        if table.row_groups:
            self._never_null[number] &= table.never_null()

    def schemas(self) -> list[dict[str, Any]]:
        import pyarrow as pa

        result = []
        for schema, never_null in zip(self._schemas, self._never_null, strict=True):
            plain = pa.schema([(field.name, plain_type(field.type, never_null=field.name in never_null)) for field in schema])
            columns = [
                {
                    "name": field.name,
                    "type": "object_bool" if pa.types.is_boolean(field.type) and field.name not in never_null else str(field.type),
                }
                for field in plain
            ]
            result.append({"columns": columns, "arrow": base64.b64encode(plain.serialize().to_pybytes()).decode("ascii")})
        return result or [{"columns": [], "arrow": base64.b64encode(pa.schema([]).serialize().to_pybytes()).decode("ascii")}]


def _decoded(schema: Any) -> Any:
    """The schema without metadata, and without dictionaries, which say how values are stored and not what they are."""
    import pyarrow as pa

    fields = [pa.field(field.name, field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema]
    return pa.schema([field.remove_metadata() for field in fields])
