"""Cutting the tables of a run into mini-batches: plain inputs are one table, each dataset is one of its own, with its own options.

A run whose tables are all cut into blocks of bytes needs no more than their sizes. Else ``slices.index`` holds every mini-batch, and
where a dataset numbers its rows (take, skip), ``positions-N.bin`` holds the numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from struct import Struct
from typing import Any, overload

from batchmill.data.definition import SQL, TABULAR, Definition
from batchmill.data.definition_tables import row_operations, table_options
from batchmill.data.position_pass import positioned
from batchmill.data.row_operations import RowOperations
from batchmill.data.row_positions import positions_name
from batchmill.data.table_options import TableOptions
from batchmill.data.table_plan import Slice, TablePlan, plan_table
from batchmill.parallel_run.cores import usable_cores
from batchmill.parallel_run.plan_groups import joined_places
from batchmill.parallel_run.plan_inputs import RunInputs
from batchmill.parallel_run.plan_writer import InputPlan, ItemsWriter, first_mini_batches, write_header
from batchmill.settings import RunSettings, parse_size
from batchmill.worker.plan_file import SLICE, Item, PlanFile

Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class PlannedTable:
    """A table of the run: the inputs that it is made of (each a list of places), and how it is cut."""

    inputs: list[list[int]]
    files: TableFiles
    cut: TablePlan

    @property
    def places(self) -> list[int]:
        return [place for places in self.inputs for place in places]


class TableFiles(Sequence[Item]):
    """The files of some ranges of items of a plan folder, as a sequence that is read from the disk as it is used."""

    def __init__(self, plan: PlanFile, ranges: Sequence[tuple[int, int]]) -> None:
        self._plan = plan
        self._ranges = [one for one in ranges if one[0] < one[1]]
        self._firsts = [0, *accumulate(stop - start for start, stop in self._ranges)]
        self._count = self._firsts.pop()

    def item_number(self, n: int) -> int:
        """The number in the plan of file ``n``."""
        number = bisect_right(self._firsts, n) - 1
        return self._ranges[number][0] + n - self._firsts[number]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, n: int) -> Item: ...
    @overload
    def __getitem__(self, n: slice) -> Sequence[Item]: ...
    def __getitem__(self, n: int | slice) -> Item | Sequence[Item]:
        if isinstance(n, slice):
            return [self[one] for one in range(self._count)[n]]
        return self._plan.item(self.item_number(range(self._count)[n]))

    def __iter__(self) -> Iterator[Item]:
        for start, stop in self._ranges:
            yield from map(self._plan.item, range(start, stop))


def plan_tables(
    settings: RunSettings, run_inputs: RunInputs, folder: Path, items: ItemsWriter, header: Mapping[str, Any]
) -> list[PlannedTable]:
    """Find the columns of all tables, and how they are cut, from the files that ``items`` has written to ``folder``.

    Raises:
        InputError: a file cannot be read, or an operation names a column that is not there.
        PartitionFormatError: a partition format does not fit.
    """
    write_header(folder, inputs=items.inputs, mini_batches=0, cut={"rule": "count"}, **header)
    plan = PlanFile(folder)
    places = places_of_inputs(items.inputs)
    kinds = run_inputs.tables()
    tables = []
    for definition, numbers in kinds:
        inputs = [places[number] for number in numbers]
        files = TableFiles(plan, [_range(items.inputs[place]) for group in inputs for place in group])
        cut = plan_table(
            files,
            _options(settings, definition, run_inputs.plain_format),
            parse_size(settings.mini_batch_size),
            grouped=bool(settings.partition_keys),
            joined=definition is not None,
            places=None if len(kinds) == 1 else {place for group in inputs for place in group},
            whole=definition is not None and definition.format == SQL,
            operations=row_operations(definition) if definition is not None and definition.kind == TABULAR else (),
        )
        tables.append(PlannedTable(inputs, files, cut))
    return tables


def _options(settings: RunSettings, definition: Definition | None, plain_format: str) -> TableOptions:
    """Of a dataset its own; the settings' for plain inputs, and for file datasets that the settings read as tables."""
    if definition is not None and definition.kind == TABULAR:
        return table_options(definition, settings.partition_format)
    options = TableOptions.from_settings(settings, plain_format if definition is None else settings.format)
    if definition is not None and definition.partition_format is not None:
        options.partition_format = definition.partition_format
    return options


def places_of_inputs(inputs: Sequence[InputPlan]) -> list[list[int]]:
    """The numbers of the places of each input."""
    found, place = [], 0
    for group in joined_places(inputs):
        found.append(list(range(place, place + len(group))))
        place += len(group)
    return found


def _range(one: InputPlan) -> tuple[int, int]:
    return one.first_item, one.first_item + one.items


def tables_header(tables: Sequence[PlannedTable], headers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The "table" part of plan.json, see `data.tables_reader`."""
    if len(tables) == 1:
        return headers[0]
    of_place = {place: number for number, table in enumerate(tables) for place in table.places}
    return {"tables": list(headers), "of_place": [of_place[place] for place in sorted(of_place)]}


# --- blocks and slices ------------------------------------------------------------------------------------------------------------------


def cut_tables(
    tables: Sequence[PlannedTable], folder: Path, items: ItemsWriter, progress: Progress
) -> tuple[dict[str, Any], list[InputPlan], int]:
    """Write the mini-batches of all tables; returns what the plan's header says of them, the inputs and the number of mini-batches."""
    in_blocks = all(one.cut.rule == "blocks" and not RowOperations(one.cut.header["operations"]).positional for one in tables)
    if in_blocks:
        cut: dict[str, Any] = {"rule": "blocks", "size": tables[0].cut.size}
        starts = _block_starts(items.items, PlanFile(folder), tables[0].cut.blocks_of)
    else:
        cut = {"rule": "slices"}
        starts = _write_slices(folder, _slices(tables, folder, items.inputs, progress), items.items)
    inputs, mini_batches = number_inputs(folder, starts, items.inputs)
    headers = []
    for number, one in enumerate(tables):
        positional = RowOperations(one.cut.header["operations"]).positional
        more = {"positions": positions_name(number), "first_mini_batch": inputs[one.places[0]].first_mini_batch} if positional else {}
        headers.append({**one.cut.header, **more})
    return {"cut": cut, "table": tables_header(tables, headers)}, inputs, mini_batches


def _block_starts(items: int, plan: PlanFile, blocks_of: Callable[[int], int]) -> Iterator[int]:
    """The first mini-batch of each file, and behind them the number of mini-batches."""
    first = 0
    for number in range(items):
        yield first
        first += blocks_of(plan.item(number).size)
    yield first


def _slices(tables: Sequence[PlannedTable], folder: Path, inputs: Sequence[InputPlan], progress: Progress) -> Iterator[Slice]:
    """The mini-batches of all inputs in their order, files by their number in the plan."""
    by_input = {places[0]: (number, table, n) for number, table in enumerate(tables) for n, places in enumerate(table.inputs)}
    for place in sorted(by_input):
        number, table, n = by_input[place]
        first = sum(inputs[one].items for places in table.inputs[:n] for one in places)
        stop = first + sum(inputs[one].items for one in table.inputs[n])
        if RowOperations(table.cut.header["operations"]).positional:
            found = _with_positions(table, folder / positions_name(number))
        else:
            found = table.cut.slices(None, first, stop)
        last = -1
        for local, begin, end, rows in found:
            item = table.files.item_number(local)
            yield item, begin, end, rows
            if progress is not None and item != last:
                progress(item + 1)
            last = item


def _with_positions(table: PlannedTable, path: Path) -> Iterator[Slice]:
    record = Struct(f"<{RowOperations(table.cut.header['operations']).positional}Q")
    with path.open("wb", buffering=1 << 18) as file:
        for one, starts in positioned(table.cut, usable_cores()):
            file.write(record.pack(*starts))
            yield one


def _write_slices(folder: Path, slices: Iterator[Slice], items: int) -> Iterator[int]:
    """Write slices.index; yields the first mini-batch of each file, and behind them the number of mini-batches."""
    written, item = 0, -1
    with (folder / "slices.index").open("wb", buffering=1 << 18) as file:
        for number, start, stop, rows in slices:
            for _ in range(item, number):
                yield written
            item = number
            file.write(SLICE.pack(number, start, stop, rows))
            written += 1
    for _ in range(item, items):
        yield written


def number_inputs(folder: Path, starts: Iterator[int], inputs: Sequence[InputPlan]) -> tuple[list[InputPlan], int]:
    """Write the first mini-batch of each item (``starts``, and behind them the number of all); returns the inputs with theirs."""
    borders = {one.first_item for one in inputs}
    at: dict[int, int] = {}
    first = 0
    with first_mini_batches(folder) as put:
        for item, first in enumerate(starts):
            put(item, first)
            if item in borders:
                at[item] = first
    ends = [*(at[one.first_item] for one in inputs[1:]), first]
    cut = [
        replace(one, first_mini_batch=at[one.first_item], mini_batches=end - at[one.first_item])
        for one, end in zip(inputs, ends, strict=True)
    ]
    return cut, first
