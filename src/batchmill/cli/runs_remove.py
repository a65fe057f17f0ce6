"""``batchmill runs remove``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from batchmill.cli.options import RunArgument

if TYPE_CHECKING:
    from batchmill.cli.found_run import WorkspaceRun


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("remove")(remove)


def remove(run: RunArgument) -> None:
    """Delete a run's folder: ledger, logs, plan, and its results if they lie there. A folder given with --output stays.

    Of a run of a pipeline its steps go as well; what lies in datastores stays.
    """
    from batchmill.cli.found_run import WorkspaceRun, find_any
    from batchmill.cli.terminal import short_path, tell
    from batchmill.errors import RunBusyError
    from batchmill.parallel_run.run import Run

    found = find_any(run)
    if isinstance(found, WorkspaceRun):
        _remove_from_workspace(found)
        return
    handle = Run(found)
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


def _remove_from_workspace(run: WorkspaceRun) -> None:
    """A run of a pipeline or script with its steps and their parallel runs."""
    import shutil

    from batchmill.cli.pipeline_report import report
    from batchmill.cli.terminal import tell
    from batchmill.errors import RunBusyError, UsageError
    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import RunFolder, runs_folder
    from batchmill.pipeline.run_status_words import has_ended
    from batchmill.workspace.registered_run import STEP_RUN

    row = run.row
    if row.kind == STEP_RUN:
        cure = f"A run is removed as a whole: batchmill runs remove {row.parent}"
        raise UsageError(f"{run.id} is a step of run {row.parent}.", cure=cure)
    if not has_ended(row):
        raise RunBusyError(f"Run {run.id} ({row.name}) is running.", cure=f"Cancel it first: batchmill runs cancel {run.id}")
    steps = report(run).steps
    run.workspace.registry.remove_run(run.id)
    for step in steps:
        folder = RunFolder(runs_folder() / step.parallel_run) if step.parallel_run else None
        if folder is not None and folder.settings.exists():
            Run(folder).remove()
    if row.folder and Path(row.folder).is_dir():
        shutil.rmtree(row.folder)
    tell(f"Removed run {run.id} ({row.name}); what it left in datastores stays.")
