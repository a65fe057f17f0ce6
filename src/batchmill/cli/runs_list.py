"""``batchmill runs list``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from batchmill.cli.tables import LimitOption, WorkspaceOption

if TYPE_CHECKING:
    from datetime import datetime

    from batchmill.cli.found_run import WorkspaceRun
    from batchmill.parallel_run.run_folder import RunFolder
    from batchmill.records import RunRecord

KINDS = {"parallel": (), "pipeline": ("azureml.PipelineRun",), "script": ("azureml.scriptrun",), "step": ("azureml.StepRun",)}
SHOWN = ("parallel", "pipeline", "script")
PARALLEL_ID = re.compile(r"\d{8}-\d{6}-[0-9a-z]+")
ALL, ITEMS = ["ID", "NAME", "STATUS", "STARTED"], ["ITEMS", "SUCCEEDED", "FAILED"]


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("list")(list_runs)


def list_runs(
    limit: LimitOption = 100,
    after: Annotated[
        Optional[str],  # noqa: UP045 -- Typer reads it at run time
        typer.Option("--after", metavar="ID", help="Go on behind this run: the last of the page before.", show_default=False),
    ] = None,
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--kind", metavar="WORD", help="Only runs of this kind: parallel, pipeline, script or step."),
    ] = None,
    experiment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--experiment", metavar="NAME", help="Only runs of this experiment."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of the objects of runs show.")] = False,
) -> None:
    """List the runs, newest first: parallel runs of this machine, and the runs of pipelines and scripts of the workspace."""
    from itertools import islice

    from batchmill.cli.tables import print_json, tell_more
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.parallel_run.run_folder import home

    if kind is not None and kind not in KINDS:
        raise UsageError(f"Option --kind has the value '{kind}'.", cure=f"It is one of {', '.join(KINDS)}.")
    found = list(islice(_newest_first(after, (kind,) if kind else SHOWN, experiment, workspace), limit))
    if as_json:
        print_json([_object(one) for one in found])
        return
    if not found:
        which = f"{kind} " if kind else ""
        tell(f"There are no {'older ' if after else ''}{which}runs in {f'experiment {experiment}' if experiment else home()}.")
        return
    _print(found)
    tell_more(len(found), limit, found[-1].id)


def _newest_first(
    after: str | None, kinds: tuple[str, ...], experiment: str | None, workspace: str | None
) -> Iterator[RunRecord | WorkspaceRun]:
    import heapq

    from batchmill.cli.found_run import WorkspaceRun

    before = _moment(after, workspace)
    listed = [_parallel(after, before)] if "parallel" in kinds and experiment is None else []
    words = [word for one in kinds for word in KINDS[one]]
    if words:
        listed.append(_registered(words, after, before, experiment, workspace))
    for _, _, one in heapq.merge(*listed, key=lambda place: place[:2], reverse=True):
        if isinstance(one, WorkspaceRun):
            yield one
        else:
            yield from _record(one)


def _moment(after: str | None, workspace: str | None) -> datetime | None:
    """When the run was made that the page before ended with; None where it is unknown."""
    from batchmill.cli.found_run import moment_of, open_workspace
    from batchmill.parallel_run.run_folder import RunFolder, runs_folder

    if after is None:
        return None
    if PARALLEL_ID.fullmatch(after):
        return moment_of(RunFolder(runs_folder() / after))
    there = open_workspace(workspace)
    row = there.registry.run(after) if there is not None else None
    return None if row is None else row.created


def _parallel(after: str | None, before: datetime | None) -> Iterator[tuple[datetime, str, Any]]:
    """Those that carry out no step of a pipeline; those are shown with it."""
    from batchmill.cli.found_run import carries_out_step, moment_of
    from batchmill.parallel_run.run_folder import all_runs

    own = after is not None and PARALLEL_ID.fullmatch(after)
    for folder in all_runs(after if own else None):
        moment = moment_of(folder)
        if (own or before is None or moment < before) and not carries_out_step(folder):
            yield moment, folder.id, folder


def _registered(
    words: list[str], after: str | None, before: datetime | None, experiment: str | None, name: str | None
) -> Iterator[tuple[datetime, str, WorkspaceRun]]:
    from batchmill.cli.found_run import WorkspaceRun, open_workspace
    from batchmill.cli.terminal import tell
    from batchmill.errors import RegistryError

    try:
        workspace = open_workspace(name)
    except RegistryError as error:
        tell(f"Runs of pipelines cannot be listed: {error.line}")
        return
    known = None if workspace is None or after is None else workspace.registry.run(after)
    last = known.id if known is not None else None
    while workspace is not None:
        page = workspace.registry.runs(kind=words, experiment=experiment, after=last)
        for row in page:
            if before is None or row.created < before or known is not None:
                yield row.created, row.id, WorkspaceRun(workspace, row.id)
        if not page:
            return
        last = page[-1].id


def _record(folder: RunFolder) -> Iterator[RunRecord]:
    """What is known of a parallel run; one that is being made or removed at this moment is passed over."""
    import sqlite3

    from batchmill.parallel_run.run import Run

    try:
        yield Run(folder).record()
    except (sqlite3.Error, OSError, ValueError):
        return


def _object(one: RunRecord | WorkspaceRun) -> dict[str, Any]:
    from batchmill.records import RunRecord

    if isinstance(one, RunRecord):
        return one.as_dict()
    from batchmill.cli.pipeline_report import report

    return report(one).as_dict()


def _print(found: list[RunRecord | WorkspaceRun]) -> None:
    """A table: of parallel runs with what became of their items, of others with their experiments."""
    import sys

    from batchmill.cli.terminal import styled, table
    from batchmill.records import RunRecord

    parallel = [isinstance(one, RunRecord) for one in found]
    right: tuple[int, ...] = ()
    if all(parallel):
        head, right = [*ALL, *ITEMS, "OUTPUT"], (4, 5, 6)
    elif any(parallel):
        head, right = [ALL[0], "KIND", *ALL[1:], *ITEMS, "OUTPUT OR EXPERIMENT"], (5, 6, 7)
    else:
        head = [ALL[0], "KIND", *ALL[1:], "EXPERIMENT"]
    rows = [[styled(word, sys.stdout, dim=True) for word in head]]
    for one in found:
        cells = _record_row(one) if isinstance(one, RunRecord) else _row(one)
        if all(parallel):
            cells = [cells[0], *cells[2:]]
        elif not any(parallel):
            cells = [*cells[:5], cells[-1]]
        rows.append(cells)
    for line in table(rows, right=right):
        print(line)


def _record_row(record: RunRecord) -> list[str]:
    import sys

    from batchmill.cli.terminal import local_time, number, short_path, status_word

    items = record.counts.items
    numbers = [number(items.total), number(items.succeeded), number(items.failed)]
    facts = ["parallel", record.name, status_word(record.status, sys.stdout), local_time(record.started)]
    return [record.id, *facts, *numbers, short_path(record.output or "")]


def _row(run: WorkspaceRun) -> list[str]:
    from batchmill.cli.pipeline_report import KIND_WORDS, coloured
    from batchmill.cli.terminal import local_time

    row = run.row
    began = row.started or row.created
    facts = [KIND_WORDS[row.kind], row.name, coloured(row.live_status), local_time(began.isoformat())]
    return [row.id, *facts, "", "", "", row.experiment or ""]
