"""``batchmill runs logs``."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from batchmill.cli.options import RunArgument


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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added, until the run ends.")] = False,
) -> None:
    """Print what the entry script printed and logged, and its errors."""
    from batchmill.cli.log_files import LogFiles, tell_mini_batch
    from batchmill.errors import UsageError
    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import find_run

    folder = find_run(run)
    if mini_batch is not None:
        if worker is not None or follow:
            raise UsageError("--mini-batch shows what has ended.", cure="Leave out --worker and --follow.")
        tell_mini_batch(Run(folder), mini_batch)
        return
    files = LogFiles(folder, worker)
    files.copy()
    if follow:
        files.follow()
    elif worker is not None and not files.seen:
        raise UsageError(
            f"Run {folder.id} has no log of a worker '{worker}'.", cure=f"Its workers: {', '.join(files.workers()) or 'none yet'}."
        )
