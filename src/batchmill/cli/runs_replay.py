"""``batchmill runs replay``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.options import Json, Quiet, RunArgument

if TYPE_CHECKING:
    from batchmill.nodes.replay_one import Replayed
    from batchmill.parallel_run.run_folder import RunFolder
    from batchmill.worker.source import Slice

SHOWN = 20
LONGEST = 200


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("replay")(replay)


def replay(
    run: RunArgument,
    mini_batch: Annotated[
        int | None,
        typer.Option(
            "--mini-batch",
            metavar="N",
            help="Run only this mini-batch, here in the foreground (breakpoint() works), and change nothing in the run.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Run what failed again, with the script as it is now, and merge the rows into the output at their place."""
    from batchmill.parallel_run.run_folder import find_run

    folder = find_run(run)
    if mini_batch is None:
        return _replay_letters(folder, quiet=quiet, as_json=as_json)
    return _replay_one(folder, mini_batch, quiet=quiet, as_json=as_json)


def _replay_letters(folder: RunFolder, *, quiet: bool, as_json: bool) -> int:
    from batchmill.cli.foreground import exit_code, print_record, title_of
    from batchmill.cli.summary import tell_ending
    from batchmill.cli.terminal import show_error
    from batchmill.cli.watching import watcher
    from batchmill.nodes.replay import replay as replay_letters
    from batchmill.parallel_run.run import Run
    from batchmill.records import RunStatus

    began = time.monotonic()
    shown = watcher(title_of(folder), quiet=quiet)
    try:
        ending = replay_letters(folder, shown)
    finally:
        shown.close()
    run = Run(folder)
    if not quiet:
        tell_ending(run, ending.status, ending.error, ending.counts, time.monotonic() - began)
    elif ending.status is not RunStatus.COMPLETED:
        show_error(f"The replay of run {folder.id} ended as {ending.status}: {ending.error}")
    if as_json:
        print_record(run)
    return exit_code(ending.status)


# --- one mini-batch -------------------------------------------------------------------------------------------------------------


def _replay_one(folder: RunFolder, number: int, *, quiet: bool, as_json: bool) -> int:
    from contextlib import nullcontext, redirect_stdout

    from batchmill.cli.terminal import reader_left
    from batchmill.nodes.replay_one import replay_one

    def announce(part: Slice) -> None:
        if not quiet:
            _tell_items(number, part)

    # What the script prints may not spoil the JSON object.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        replayed = replay_one(folder, number, announce)
    if replayed.problem is not None and isinstance(replayed.problem.error, BrokenPipeError) and reader_left(sys.stdout):
        raise replayed.problem.error  # what the script printed, nobody reads
    sys.stdout.flush()
    if as_json:
        _print_json(replayed)
    else:
        _tell_outcome(replayed, quiet=quiet)
    return 0 if replayed.good else 1


def _tell_items(number: int, part: Slice) -> None:
    from batchmill.cli.terminal import tell

    keys = "".join(f", {key}={value!r}" for key, value in (part.keys or {}).items())
    tell(f"Mini-batch {number}: {part.items:,} item{'' if part.items == 1 else 's'}{keys}")
    for position in range(min(part.items, SHOWN)):
        tell(f"  {part.name(position)}")
    if part.items > SHOWN:
        tell(f"  ... and {part.items - SHOWN:,} more")


def _tell_outcome(replayed: Replayed, *, quiet: bool) -> None:
    from batchmill.cli.terminal import show_error, tell

    outcome, problem = replayed.outcome, replayed.problem
    if outcome is not None:
        rows = _rows(replayed)
        for row in rows[:SHOWN]:
            print(row)
        sys.stdout.flush()
        if len(rows) > SHOWN:
            tell(f"... and {len(rows) - SHOWN:,} more rows")
        for text in outcome.problems():
            tell(text)
        if not quiet:
            counts = f"{outcome.succeeded:,} succeeded, {outcome.failed:,} failed"
            tell(f"{outcome.rows.count:,} rows for {outcome.part.items:,} items in {outcome.seconds:.3f} s: {counts}.")
    if problem is not None:
        tell(problem.traceback.rstrip())
        show_error(f"Mini-batch {replayed.mini_batch}: {problem.where} failed: {problem.text}")
    if not quiet:
        tell("Nothing in the run was changed.")


def _rows(replayed: Replayed) -> list[str]:
    """The append_row lines; for summary_only what run() returned, one line."""
    outcome = replayed.outcome
    if outcome is None:
        return []
    if outcome.rows.data:
        return outcome.rows.data.decode("utf-8").removesuffix("\n").split("\n")
    text = " ".join(repr(outcome.result).split())
    return [text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."] if outcome.rows.count else []


def _print_json(replayed: Replayed) -> None:
    import json

    part, outcome, problem = replayed.part, replayed.outcome, replayed.problem
    record: dict[str, Any] = {
        "mini_batch": replayed.mini_batch,
        "items": [part.name(position) for position in range(part.items)] if part is not None else [],
        "keys": {key: str(value) for key, value in ((part.keys if part is not None else None) or {}).items()},
        "rows": _rows(replayed),
        "counts": None if outcome is None else {"items": outcome.part.items, "succeeded": outcome.succeeded, "failed": outcome.failed},
        "problems": [] if outcome is None else outcome.problems(),
        "seconds": None if outcome is None else outcome.seconds,
        "error": None if problem is None else {"where": problem.where, "message": problem.text, "traceback": problem.traceback},
    }
    json.dump(record, sys.stdout, indent=2)
    print(flush=True)
