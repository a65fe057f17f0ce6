"""``batchmill runs cancel``."""

from __future__ import annotations

import typer

from batchmill.cli.options import RunArgument

PATIENCE = 60.0


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("cancel")(cancel)


def cancel(run: RunArgument) -> int:
    """End a run in order, as Canceled; what is done stays done, and the run can be resumed."""
    from batchmill.cli.terminal import tell
    from batchmill.parallel_run.run import Run
    from batchmill.records import RunStatus

    handle = Run.find(run)
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
