"""``batchmill resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from batchmill.cli.options import Json, Quiet, RunArgument

if TYPE_CHECKING:
    from batchmill.cli.found_run import WorkspaceRun


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    app.command("resume")(resume)


def resume(
    run: RunArgument,
    compute: Annotated[
        Optional[str],  # noqa: UP045 -- Typer reads it at run time
        typer.Option(metavar="ray:ADDRESS", help="Of a run on a Ray cluster that is gone: the cluster on which it goes on."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Go on with a run from its last commit; a run that is alive is followed to its end."""
    from batchmill.cli.found_run import WorkspaceRun, find_any

    folder = find_any(run)
    if isinstance(folder, WorkspaceRun):
        return _resume_in_workspace(folder, quiet=quiet, as_json=as_json)
    if compute is not None:
        from batchmill.parallel_run.cluster_run import move

        move(folder, compute)
    from batchmill.cli.foreground import carry_out, follow, print_record
    from batchmill.cli.terminal import tell
    from batchmill.errors import RunBusyError
    from batchmill.parallel_run.run import Run
    from batchmill.records import RunStatus

    if folder.alive():
        return follow(folder, quiet=quiet, as_json=as_json)
    handle = Run(folder)
    if handle.status is not RunStatus.COMPLETED:
        try:
            return carry_out(folder, quiet=quiet, as_json=as_json)
        except RunBusyError:  # somebody else resumed it in this very moment
            return follow(folder, quiet=quiet, as_json=as_json)
    if not quiet:
        tell(f"Run {folder.id} ({handle.name}) is already completed: {handle.output_path or handle.output}")
    if as_json:
        print_record(handle)
    return 0


def _resume_in_workspace(run: WorkspaceRun, *, quiet: bool, as_json: bool) -> int:
    """A run of a pipeline or script: taken up by a process of its own where none works at it, and followed to its end."""
    from contextlib import suppress

    from batchmill.cli.pipeline_report import report
    from batchmill.cli.pipeline_watch import end, follow
    from batchmill.errors import RunBusyError, UsageError
    from batchmill.pipeline.run_status_words import has_ended
    from batchmill.pipeline.runner import resume_run
    from batchmill.records import RunStatus
    from batchmill.workspace.registered_run import STEP_RUN

    row = run.row
    if row.kind == STEP_RUN:
        raise UsageError(f"{run.id} is a step of run {row.parent}.", cure=f"A pipeline goes on as a whole: batchmill resume {row.parent}")
    if row.live_status == RunStatus.COMPLETED:
        return end(report(run), quiet=quiet, as_json=as_json)
    if has_ended(row):
        with suppress(RunBusyError):  # somebody else resumed it in this very moment
            resume_run(run.workspace, run.id)
    return follow(run, quiet=quiet, as_json=as_json)
