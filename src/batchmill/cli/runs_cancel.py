"""``batchmill runs cancel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from batchmill.cli.options import RunArgument

if TYPE_CHECKING:
    from batchmill.cli.found_run import WorkspaceRun

PATIENCE = 60.0
LOOK_EVERY = 0.1


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("cancel")(cancel)


def cancel(run: RunArgument) -> int:
    """End a run in order, as Canceled; what is done stays done, and the run can be resumed."""
    from batchmill.cli.found_run import WorkspaceRun, find_any

    found = find_any(run)
    if isinstance(found, WorkspaceRun):
        return _cancel_in_workspace(found)
    from batchmill.cli.terminal import tell
    from batchmill.parallel_run.run import Run
    from batchmill.records import RunStatus

    handle = Run(found)
    who = f"Run {handle.id} ({handle.name})"
    status = handle.status
    if status.ended and status is not RunStatus.INTERRUPTED:
        tell(f"{who} has ended as {status}; there is nothing to cancel.")
        return 0
    handle.cancel()
    try:
        status = handle.wait(PATIENCE).status
    except TimeoutError:
        tell(f"{who} was asked to end, and is still {handle.status}.")
        return 1
    if status is RunStatus.CANCELED:
        tell(f"{who} is canceled. Go on with it: batchmill resume {handle.id}")
    else:
        tell(f"{who} ended as {status} before it could be canceled.")
    return 0


def _cancel_in_workspace(run: WorkspaceRun) -> int:
    """A run of a pipeline, a step or a script."""
    import time

    from batchmill.cli.terminal import tell
    from batchmill.pipeline.run_status_words import has_ended
    from batchmill.records import RunStatus
    from batchmill.workspace.registered_run import STEP_RUN

    row = run.row
    who = f"Run {run.id} ({row.name})"
    if has_ended(row) and row.live_status != RunStatus.INTERRUPTED:
        tell(f"{who} has ended as {row.live_status}; there is nothing to cancel.")
        return 0
    run.workspace.registry.request_cancel(run.id)
    deadline = time.monotonic() + PATIENCE
    while not has_ended(run.row):
        if time.monotonic() > deadline:
            tell(f"{who} was asked to end, and is still {run.row.live_status}.")
            return 1
        time.sleep(LOOK_EVERY)
    status = run.row.live_status
    if status != RunStatus.CANCELED:
        tell(f"{who} ended as {status} before it could be canceled.")
    elif row.kind != STEP_RUN:
        tell(f"{who} is canceled. Go on with it: batchmill resume {run.id}")
    else:
        tell(f"{who} is canceled.")
    return 0
