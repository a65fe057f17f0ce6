"""``batchmill runs errors``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import RunArgument

if TYPE_CHECKING:
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
    """List what failed for good and why: one line for each dead letter."""
    import json
    import sys

    from batchmill.cli.terminal import show_error, tell
    from batchmill.parallel_run.run import Run

    handle = Run.find(run)
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
