"""``batchmill runs show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import RunArgument

if TYPE_CHECKING:
    from batchmill.cli.found_run import WorkspaceRun


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("show")(show)


def show(run: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> None:
    """Show one run: status, counts, times, and where things lie; of a pipeline its steps, and why they were reused or run again."""
    import sys

    from batchmill.cli.found_run import WorkspaceRun, find_any

    found = find_any(run)
    if isinstance(found, WorkspaceRun):
        _show_in_workspace(found, as_json)
        return
    from batchmill.cli.foreground import print_record
    from batchmill.cli.summary import LABEL, count_lines, next_steps
    from batchmill.cli.terminal import local_time, short_path, status_word, styled, table
    from batchmill.parallel_run.run import Run
    from batchmill.records import RunStatus

    handle = Run(found)
    if as_json:
        print_record(handle)
        return
    record = handle.record()
    completed = record.status is RunStatus.COMPLETED
    head = [
        ["run", record.id],
        ["name", record.name],
        ["status", status_word(record.status, sys.stdout)],
        *([["error", styled(record.error, sys.stdout, fg="red")]] if record.error else []),
        ["started", local_time(record.started)],
        *([["ended", local_time(record.ended)]] if record.ended else []),
    ]
    places = [["output", short_path((handle.output_path if completed else None) or handle.output)], ["folder", short_path(handle.folder)]]
    names = [[kind, text] for kind, text in handle.names()] + [["reuse", text] for text in handle.reuse()]
    steps = next_steps(handle, record.status, record.error, record.counts)
    for line in [*table(head, left=LABEL), *count_lines(record.counts), *table([*names, *places, *steps], left=LABEL)]:
        print(line)


def _show_in_workspace(run: WorkspaceRun, as_json: bool) -> None:
    from batchmill.cli.pipeline_report import print_report, report
    from batchmill.cli.tables import print_json

    if as_json:
        print_json(report(run).as_dict())
    else:
        print_report(run)
