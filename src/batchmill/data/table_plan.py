"""How a table input is cut into mini-batches, and what its columns are: decided once, before anything runs.

Azure ML: text is cut into blocks of bytes, Parquet by row group, compressed and multi-line text by file (specification D2).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from batchmill.data.choice_pass import choose_types
from batchmill.data.compressed import WHOLE_LIMIT, is_compressed
from batchmill.data.input_survey import InputSurvey
from batchmill.data.path_columns import all_columns, path_columns
from batchmill.data.row_operations import RowOperations
from batchmill.data.row_slices import block_slices, row_slices
from batchmill.data.schema_scan import scan_schemas
from batchmill.data.table_file import open_parquet, open_text
from batchmill.data.table_options import TableOptions
from batchmill.data.table_reader import has_header
from batchmill.data.text_blocks import block_count
from batchmill.errors import InputError

DEFAULT_BLOCK = 1024 * 1024
"""Azure ML: bytes of text per mini-batch of a TabularDataset."""
UNKNOWN = 2**64 - 1

Slice = tuple[int, int, int, int]
"""Number of the file, start, stop, rows (UNKNOWN where only reading tells)."""


class InputFile(Protocol):
    """A file of an input: where it can be opened, what it is called below its input, which input it belongs to, what it was when listed."""

    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def input(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def etag(self) -> str | None: ...


@dataclass(frozen=True)
class TablePlan:
    """The cut of a table input. ``rule`` is ``blocks`` (``size`` bytes each, see `blocks_of`) or ``slices`` (see `slices`)."""

    header: dict[str, Any]
    rule: Literal["blocks", "slices"]
    size: int
    files: Sequence[InputFile]
    options: TableOptions
    rows: bool
    whole: bool = False
    """Each (Parquet) file is one mini-batch, whatever its row groups."""

    def blocks_of(self, size: int) -> int:
        """Mini-batches of a file of ``size`` bytes, for the rule ``blocks``."""
        return block_count(size, self.size)

    def slices(self, progress: Callable[[int], None] | None = None, first: int = 0, stop: int | None = None) -> Iterator[Slice]:
        """The mini-batches of the files from ``first`` to ``stop`` in order; reads the files where rows are to be counted."""
        for number in range(first, len(self.files) if stop is None else stop):
            file = self.files[number]
            for begin, end, rows in self._slices_of(file):
                yield number, begin, end, rows
            if progress is not None:
                progress(number + 1)

    def _slices_of(self, file: InputFile) -> Iterator[tuple[int, int, int]]:
        if self.options.format == "parquet":
            yield from self._row_groups(file)
            return
        if file.size == 0:
            return
        if self.rule == "blocks":
            for start in range(0, file.size, self.size):
                yield start, min(start + self.size, file.size), UNKNOWN
            return
        compressed = is_compressed(file.name)
        if not self.rows and (compressed or self.options.multi_line):
            yield 0, UNKNOWN if compressed else file.size, UNKNOWN
            return
        opened = open_text(file, self.options, with_header=self._with_header(file))
        try:
            for start, stop, rows in row_slices(opened, self.options, self.size) if self.rows else block_slices(opened, self.size):
                yield start, stop, UNKNOWN if self.options.invalid_lines == "drop" else rows
        finally:
            opened.close()

    def _with_header(self, file: InputFile) -> bool:
        return has_header(self.options, self.header["first_names"][file.input] == file.name)

    def _row_groups(self, file: InputFile) -> Iterator[tuple[int, int, int]]:
        opened = open_parquet(file)
        try:
            if self.whole:
                yield 0, opened.starts[-1], opened.starts[-1]
                return
            for start, stop in zip(opened.starts, opened.starts[1:], strict=False):
                step = self.size if self.rows else max(stop - start, 1)
                cuts = [*range(start, stop, step), stop] if stop > start else [start, start]
                for begin, end in zip(cuts, cuts[1:], strict=False):
                    yield begin, end, end - begin
        finally:
            opened.close()


def plan_table(
    files: Sequence[InputFile],
    options: TableOptions,
    size: tuple[Literal["count", "rows"], int] | None = None,
    *,
    grouped: bool = False,
    joined: bool = False,
    places: Collection[int] | None = None,
    whole: bool = False,
    operations: Sequence[Mapping[str, Any]] = (),
) -> TablePlan:
    """Find the columns of ``files`` (which are in plan order) and how they are cut; ``size`` as `settings.parse_size` returns it.

    With ``grouped`` the cut is left to `data.grouping`: only the columns matter. With ``joined`` all inputs are places of one dataset,
    whose first file names the columns; ``places`` are the inputs of this table, if there are others. ``whole``: a Parquet file is one
    mini-batch unless rows are asked for. ``operations`` are those of the dataset (`data.definition`).

    Raises:
        InputError: a file cannot be read, is not of the format, or has no columns; a compressed file is too long for one mini-batch;
            an operation or a chosen type names a column that is not there.
        PartitionFormatError: the partition format does not fit.
    """
    unit, amount = size or ("count", DEFAULT_BLOCK)
    rows = unit == "rows"
    survey = InputSurvey.of(files, joined=joined, places=places)
    uncut = options.multi_line or options.format == "parquet" or survey.compressed
    rule: Literal["blocks", "slices"] = "slices" if rows or uncut or grouped else "blocks"
    if survey.long_archive is not None and not rows and not grouped:
        raise InputError(
            f"{survey.long_archive} is compressed and holds more than {WHOLE_LIMIT:,} bytes of text: too much for one mini-batch.",
            cure="Use --mini-batch-size 500rows to cut it into slices, or uncompress it.",
        )
    header = scan_schemas(files, survey, options)
    header["cut"] = rule
    header["path_columns"] = path_columns(options, header["schemas"])
    _mark_json(header, options)
    choose_types(header, files, survey, options)
    header["operations"] = [dict(one) for one in operations]
    header["joined"] = joined
    _check_operations(header)
    return TablePlan(header, rule, amount, files, options, rows, whole and not rows)


def _mark_json(header: dict[str, Any], options: TableOptions) -> None:
    """Python values that `partition_by` wrote as JSON text are Python values again."""
    for column in header["schemas"][0]["columns"]:
        if column["name"] in (options.partitioned or {}).get("json", ()):
            column["type"] = "json"


def _check_operations(header: dict[str, Any]) -> None:
    checked = RowOperations(header["operations"])
    for number, schema in enumerate(header["schemas"]):
        if schema["columns"]:  # no column is known where no file holds anything
            checked.columns([column["name"] for column in all_columns(header, number)])
