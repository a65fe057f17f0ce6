"""``batchmill run``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchmill.cli.options import Json, Quiet, ScriptCommand, parse_settings, takes_settings


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    app.command("run", cls=ScriptCommand)(takes_settings(run))


def run(
    values: dict[str, Any],
    *,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once the plan is made, and print the run's id.", rich_help_panel="Other")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Run an entry script over every item of the input.

    Progress and summary go to stderr.

    Exit codes: 0 completed, 1 failed, 2 wrong usage or input (nothing was started), 130 interrupted (resumable).
    """
    settings = parse_settings(values)
    from batchmill.cli.foreground import INTERRUPTED, carry_out, print_record
    from batchmill.cli.terminal import tell
    from batchmill.parallel_run.run import Run, create_run, start_coordinator

    folder = create_run(settings)
    if not detach:
        return carry_out(folder, quiet=quiet, as_json=as_json)
    try:
        start_coordinator(folder)
    except KeyboardInterrupt:
        tell(f"Run {folder.id} goes on. Stop it: batchmill runs cancel {folder.id}")
        return INTERRUPTED
    if as_json:
        print_record(Run(folder))
    else:
        print(folder.id, flush=True)
    return 0
