"""``batchmill resume``."""

from __future__ import annotations

import typer

from batchmill.cli.options import Json, Quiet, RunArgument


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    app.command("resume")(resume)


def resume(run: RunArgument, quiet: Quiet = False, as_json: Json = False) -> int:
    """Go on with a run from its last commit; a run that is alive is followed to its end."""
    from batchmill.cli.foreground import carry_out, follow, print_record
    from batchmill.cli.terminal import tell
    from batchmill.errors import RunBusyError
    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import find_run
    from batchmill.records import RunStatus

    folder = find_run(run)
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
