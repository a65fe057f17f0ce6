"""``batchmill runs show``."""

from __future__ import annotations

from typing import Annotated

import typer

from batchmill.cli.options import RunArgument


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("show")(show)


def show(run: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> None:
    """Show one run: status, counts, times, and where things lie."""
    import sys

    from batchmill.cli.foreground import print_record
    from batchmill.cli.summary import LABEL, count_lines, next_steps
    from batchmill.cli.terminal import local_time, short_path, status_word, styled, table
    from batchmill.parallel_run.run import Run
    from batchmill.records import RunStatus

    handle = Run.find(run)
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
    names = [[kind, text] for kind, text in handle.names()]
    steps = next_steps(handle, record.status, record.error, record.counts)
    for line in [*table(head, left=LABEL), *count_lines(record.counts), *table([*names, *places, *steps], left=LABEL)]:
        print(line)
