"""``batchmill runs remove``."""

from __future__ import annotations

from pathlib import Path

import typer

from batchmill.cli.options import RunArgument


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("remove")(remove)


def remove(run: RunArgument) -> None:
    """Delete a run's folder: ledger, logs, plan, and its results if they lie there. A folder given with --output stays."""
    from batchmill.cli.terminal import short_path, tell
    from batchmill.errors import RunBusyError
    from batchmill.parallel_run.run import Run

    handle = Run.find(run)
    inside = Path(handle.output).is_relative_to(handle.folder)
    try:
        handle.remove()
    except RunBusyError:
        raise RunBusyError(
            f"Run {handle.id} ({handle.name}) is running.", cure=f"Cancel it first: batchmill runs cancel {handle.id}"
        ) from None
    tell(
        f"Removed run {handle.id} ({handle.name})" + (" and its results." if inside else f"; its output {short_path(handle.output)} stays.")
    )
