"""``batchmill runs list``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.tables import LimitOption

if TYPE_CHECKING:
    from batchmill.records import RunRecord


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("list")(list_runs)


def list_runs(
    limit: LimitOption = 100,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Go on behind this run: the last of the page before.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of the objects of runs show.")] = False,
) -> None:
    """List the runs, newest first."""
    import json
    import sys
    from itertools import islice

    from batchmill.cli.tables import tell_more
    from batchmill.cli.terminal import local_time, number, short_path, status_word, styled, table, tell
    from batchmill.parallel_run.run_folder import home

    records = list(islice(_records(after), limit))
    if as_json:
        json.dump([record.as_dict() for record in records], sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    if not records:
        tell(f"There are no {'older ' if after else ''}runs in {home()}.")
        return
    head = ["ID", "NAME", "STATUS", "STARTED", "ITEMS", "SUCCEEDED", "FAILED", "OUTPUT"]
    rows = [[styled(word, sys.stdout, dim=True) for word in head]]
    for record in records:
        items = record.counts.items
        numbers = [number(items.total), number(items.succeeded), number(items.failed)]
        status, output = status_word(record.status, sys.stdout), short_path(record.output or "")
        rows.append([record.id, record.name, status, local_time(record.started), *numbers, output])
    for line in table(rows, right=(4, 5, 6)):
        print(line)
    tell_more(len(records), limit, records[-1].id)


def _records(after: str | None) -> Iterator[RunRecord]:
    """The records of all runs; one that is being made or removed at this moment is passed over."""
    import sqlite3

    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import all_runs

    for folder in all_runs(after):
        try:
            yield Run(folder).record()
        except (sqlite3.Error, OSError, ValueError):
            continue
