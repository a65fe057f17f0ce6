"""``batchmill runs errors``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import RunArgument

if TYPE_CHECKING:
    from batchmill.cli.found_run import WorkspaceRun
    from batchmill.parallel_run.run import Run
    from batchmill.records import DeadLetter

LAST_ERROR = 16 << 10


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("errors")(errors)


def errors(
    run: RunArgument,
    traceback: Annotated[bool, typer.Option("--traceback", help="Print the traceback of each error too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of the dead letters.")] = False,
) -> None:
    """List what failed for good and why: one line for each dead letter, of a pipeline for each step."""
    import json
    import sys

    from batchmill.cli.found_run import WorkspaceRun, find_any
    from batchmill.cli.terminal import show_error, tell
    from batchmill.parallel_run.run import Run

    found = find_any(run)
    if isinstance(found, WorkspaceRun):
        _errors_of_steps(found, as_json)
        return
    handle = Run(found)
    letters = handle.errors(open_only=True)
    if as_json:
        json.dump([letter.as_dict() for letter in letters], sys.stdout, indent=2)
        print()
        return
    record = handle.record()
    if record.error:
        show_error(f"Run {record.id} ended as {record.status}: {record.error}")
    for letter in letters:
        print(line(letter))
        if traceback and letter.traceback:
            print("\n".join("    " + one for one in letter.traceback.rstrip().splitlines()))
    if letters and not traceback:
        tell(f"Tracebacks: batchmill runs errors {record.id} --traceback")
    elif not letters and not (record.error and _last_error(handle)):
        tell(f"Run {record.id} has no failed items.")


def line(letter: DeadLetter) -> str:
    """``mini-batch 12  images/7.png  ValueError: not an image``."""
    what = letter.item if letter.item is not None else f"{letter.items_failed} items"
    message = (letter.message.strip() or "(no message)").splitlines()[0]
    return f"mini-batch {letter.mini_batch}  {what}  {letter.error_class}: {message}".encode("utf-8", "backslashreplace").decode()


def _last_error(run: Run) -> bool:
    """Print the newest entry of the error log: what a run without dead letters (init() failed, say) died of."""
    path = run.folder / "logs" / "user" / "error.txt"
    try:
        text = path.read_bytes()[-LAST_ERROR:].decode("utf-8", "replace")
    except OSError:
        return False
    entry = text.rstrip().split("\n\n")[-1]
    if entry:
        print(entry)
    return bool(entry)


def _errors_of_steps(run: WorkspaceRun, as_json: bool) -> None:
    """Why steps failed, and where more is to be found of each."""
    from batchmill.cli.pipeline_report import report
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import show_error, tell

    told = report(run)
    bad = [step for step in told.steps if step.error]
    if as_json:
        keys = ("id", "name", "status", "error", "parallel_run")
        print_json([{key: getattr(step, key) for key in keys} for step in bad])
        return
    if told.error:
        show_error(f"Run {told.id} ended as {told.status}: {told.error}")
    for step in bad:
        print(f"step {step.name}  {step.status}  {' '.join(str(step.error).split())}")
    for step in bad:
        if step.parallel_run is not None:
            tell(f"Items of step {step.name}: batchmill runs errors {step.parallel_run}")
        elif step.started is not None:
            tell(f"Log of step {step.name}: batchmill runs logs {step.id}")
    if not bad and not told.error:
        tell(f"Run {told.id} has no failed steps.")
