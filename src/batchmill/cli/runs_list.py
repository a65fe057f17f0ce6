"""``batchmill runs list``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from batchmill.records import RunRecord


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("list")(list_runs)


def list_runs(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of the objects of runs show.")] = False) -> None:
    """List the runs, newest first."""
    import json
    import sys

    from batchmill.cli.terminal import local_time, number, short_path, status_word, styled, table, tell
    from batchmill.parallel_run.run_folder import home

    records = list(_records())
    if as_json:
        json.dump([record.as_dict() for record in records], sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    if not records:
        tell(f"There are no runs in {home()}.")
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


def _records() -> Iterator[RunRecord]:
    """The records of all runs; one that is being made or removed at this moment is passed over."""
    import sqlite3

    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import all_runs

    for folder in all_runs():
        try:
            yield Run(folder).record()
        except (sqlite3.Error, OSError, ValueError):
            continue
