"""``batchmill runs logs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from batchmill.cli.options import RunArgument

if TYPE_CHECKING:
    from batchmill.cli.found_run import WorkspaceRun
    from batchmill.parallel_run.run_folder import RunFolder


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("logs")(logs)


def logs(
    run: RunArgument,
    mini_batch: Annotated[
        Optional[int],  # noqa: UP045 -- Typer reads it at run time
        typer.Option(metavar="N", min=0, help="Only what one mini-batch printed, and the errors of its failed tries."),
    ] = None,
    worker: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="W", help="Only one worker process, for example process000 or node0/process000."),
    ] = None,
    step: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Of a run of a pipeline: only the logs of this step."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added, until the run ends.")] = False,
) -> None:
    """Print what the entry script printed and logged, and its errors; of a pipeline what its steps printed."""
    from batchmill.cli.found_run import WorkspaceRun, find_any
    from batchmill.errors import UsageError

    folder = find_any(run)
    if isinstance(folder, WorkspaceRun):
        if mini_batch is not None or worker is not None:
            raise UsageError(
                f"{folder.id} is a run of a pipeline, and has no mini-batches or workers itself.",
                cure=f"Its parallel steps have runs of their own: batchmill runs show {folder.id}",
            )
        _tell_steps(folder, step, follow)
        return
    if step is not None:
        raise UsageError(f"Run {folder.id} is no run of a pipeline.", cure="Leave out --step.")
    _tell_parallel_run(folder, mini_batch, worker, follow)


def _tell_parallel_run(folder: RunFolder, mini_batch: int | None, worker: str | None, follow: bool) -> None:
    from batchmill.cli.log_files import LogFiles, tell_mini_batch
    from batchmill.errors import UsageError
    from batchmill.parallel_run.run import Run

    if mini_batch is not None:
        if worker is not None or follow:
            raise UsageError("--mini-batch shows what has ended.", cure="Leave out --worker and --follow.")
        tell_mini_batch(Run(folder), mini_batch)
        return
    Run(folder).refresh()
    files = LogFiles(folder, worker)
    files.copy()
    if follow:
        files.follow()
    elif worker is not None and not files.seen:
        raise UsageError(
            f"Run {folder.id} has no log of a worker '{worker}'.", cure=f"Its workers: {', '.join(files.workers()) or 'none yet'}."
        )


def _tell_steps(run: WorkspaceRun, step: str | None, follow: bool) -> None:
    from batchmill.cli.step_log_files import StepLogFiles

    files = StepLogFiles(run, step)
    files.copy()
    if follow:
        files.follow()
