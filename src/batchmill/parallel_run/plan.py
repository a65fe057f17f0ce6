"""From inputs to numbered mini-batches: list, cut, and write the plan folder, before anything is started.

The plan lives on disk: a million files cost a listing and two sequential writes, and a few bytes per item on disk, none in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchmill.data.definition import Definition
from batchmill.data.formats import FILES
from batchmill.data.listing import reaches
from batchmill.data.walk import shown
from batchmill.errors import DiskFullError, InputError, OutputError, SettingError
from batchmill.parallel_run.named_things import is_name
from batchmill.parallel_run.plan_groups import cut_groups
from batchmill.parallel_run.plan_inputs import RunInputs
from batchmill.parallel_run.plan_writer import InputPlan, ItemsWriter, plan_folder, write_header
from batchmill.settings import RunSettings, parse_size
from batchmill.storage.files import disk_is_full

FILES_PER_MINI_BATCH = 10
"""Azure ML: the default of ``mini_batch_size`` for files."""


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What was planned. ``items`` is None for tables, whose rows are counted as they are read; ``bytes`` is the size of all files."""

    kind: str
    format: str
    mini_batches: int
    items: int | None
    files: int
    bytes: int
    inputs: tuple[InputPlan, ...]


def make_plan(
    settings: RunSettings,
    folder: Path,
    *,
    definitions: Mapping[str, Definition] | None = None,
    progress: Callable[[int], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> PlanSummary:
    """List and cut the inputs, and write the plan to ``folder``, which appears only when it is complete and durable.

    An input that is a key of ``definitions`` is the dataset found there, over places that `storage` can take.
    ``progress`` is called with the number of files listed so far, ``announce`` with what grouping a table will need.

    Raises:
        InputError: an input is missing, empty, mixed or cannot be read.
        PartitionFormatError: partition format or keys do not fit.
        SettingError: the mini-batch size does not fit the input.
        DiskFullError: there is no room for the plan.
    """
    if settings.rank_mini_batch_count:
        return write_rank_plan(folder, settings.rank_mini_batch_count)
    if not settings.inputs:
        raise InputError("No input was given.", cure="Name a folder, a file, a glob, @list.txt or a URL with --input.")
    inputs = RunInputs(settings, definitions)
    inputs.check_partitions()
    try:
        with plan_folder(folder) as temporary:
            return _write_plan(settings, inputs, temporary, progress, announce)
    except OSError as error:
        if disk_is_full(error, folder.parent):
            raise DiskFullError(f"The disk of {folder} is full: the plan does not fit.", cure="Make room and resume the run.") from error
        raise


def write_rank_plan(folder: Path, count: int) -> PlanSummary:
    """A plan without input: ``count`` mini-batches of one item, its number (Azure ML: ``--rank_mini_batch_count``)."""
    with plan_folder(folder) as temporary:
        for name in ("items.bin", "items.index"):
            (temporary / name).touch()
        write_header(temporary, kind="rank", inputs=(), mini_batches=count, items=count, size=0, cut={"rule": "rank"})
    return PlanSummary("rank", "rank", count, count, 0, 0, ())


def check_output_outside(settings: RunSettings, output: str | None = None, *, definitions: Mapping[str, Definition] | None = None) -> None:
    """Refuse an output folder that the inputs would take in (``output`` in place of the one in the settings).

    Names of a workspace can be checked when they have been resolved: ``definitions`` has the datasets among the inputs.

    Raises:
        OutputError: the folder lies inside of an input, or is one.
    """
    target = output if output is not None else settings.output
    if target is None or (output is None and is_name(target)):
        return
    named = definitions or {}
    texts = [source for text in settings.inputs for source in (named[text].sources if text in named else (text,))]
    for text in (text for text in texts if output is not None or not is_name(text)):
        if reaches(text, target):
            raise OutputError(
                f"The output folder {shown(target)} lies inside the input {shown(text)}: results would become input.",
                cure="Choose an --output outside of it; nothing was started.",
            )


def _write_plan(
    settings: RunSettings,
    inputs: RunInputs,
    folder: Path,
    progress: Callable[[int], None] | None,
    announce: Callable[[str], None] | None,
) -> PlanSummary:
    size = parse_size(settings.mini_batch_size)
    count = size[1] if size is not None and size[0] == "count" else FILES_PER_MINI_BATCH
    with ItemsWriter(folder, count, skip_empty=bool(settings.partition_keys), progress=progress) as items:
        inputs.list_into(items, folder)
    if inputs.format != FILES:
        return _cut_tables(settings, inputs, folder, items, progress, announce)
    if size is not None and size[0] == "rows":
        raise SettingError(
            f"Setting 'mini_batch_size' has the value {settings.mini_batch_size!r}: files have no rows.",
            cure="Give a number of files, or say with --format that the inputs are tables.",
        )
    return _cut_files(settings, folder, items, count, inputs.patterns)


def _cut_files(settings: RunSettings, folder: Path, items: ItemsWriter, count: int, patterns: Sequence[str | None]) -> PlanSummary:
    cut: dict[str, Any] = {"rule": "count", "size": count}
    more: dict[str, Any] = {"format": FILES}
    inputs, mini_batches = items.inputs, items.mini_batches
    write_header(folder, kind="files", inputs=inputs, mini_batches=mini_batches, items=items.items, size=items.bytes, cut=cut, **more)
    if settings.partition_keys:
        inputs, keys = cut_groups(folder, patterns, settings.partition_keys, inputs)
        more |= {**keys, "skipped_empty": items.skipped}
        mini_batches, cut = sum(one.mini_batches for one in inputs), {"rule": "groups"}
        write_header(folder, kind="files", inputs=inputs, mini_batches=mini_batches, items=items.items, size=items.bytes, cut=cut, **more)
    return PlanSummary("files", FILES, mini_batches, items.items, items.items, items.bytes, tuple(inputs))


def _cut_tables(
    settings: RunSettings,
    inputs: RunInputs,
    folder: Path,
    items: ItemsWriter,
    progress: Callable[[int], None] | None,
    announce: Callable[[str], None] | None,
) -> PlanSummary:
    from batchmill.parallel_run.plan_table_groups import group_tables
    from batchmill.parallel_run.plan_tables import cut_tables, plan_tables

    keys = settings.partition_keys
    header: dict[str, Any] = {"kind": "table", "items": None, "size": items.bytes, "format": inputs.format, "partition_keys": keys}
    tables = plan_tables(settings, inputs, folder, items, header)
    if keys:
        more, cut_inputs, mini_batches = group_tables(tables, keys, folder, items, announce)
    else:
        more, cut_inputs, mini_batches = cut_tables(tables, folder, items, progress)
    write_header(folder, inputs=cut_inputs, mini_batches=mini_batches, **{**header, **more})
    return PlanSummary("table", inputs.format, mini_batches, None, items.items, items.bytes, tuple(cut_inputs))
