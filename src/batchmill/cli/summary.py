"""The last lines of a run: counts that add up, where things lie, and what to do next."""

from __future__ import annotations

import sys
from pathlib import Path

from batchmill.cli.terminal import number, short_path, show_error, status_word, styled, table, tell
from batchmill.parallel_run.progress import duration
from batchmill.parallel_run.run import Run
from batchmill.records import Counts, RunStatus

LABEL = len("mini-batches")
# A run that a threshold stopped meets it again at once: resuming it is no cure.
THRESHOLDS = ("exceeds error threshold", "exceeds allowed_failed")


def tell_ending(run: Run, status: RunStatus, error: str | None, counts: Counts, seconds: float) -> None:
    """Print the summary of a run that has just ended."""
    _headline(run, status, error, seconds)
    for line in count_lines(counts):
        tell("  " + line)
    for line in table([*_places(run, status), *next_steps(run, status, error, counts)], left=LABEL):
        tell("  " + line)


def _headline(run: Run, status: RunStatus, error: str | None, seconds: float) -> None:
    who = f"Run {run.id} ({run.name})"
    if status is RunStatus.FAILED:
        show_error(f"{who} failed: {error or 'no reason was recorded'}")
    elif status is RunStatus.INTERRUPTED:
        tell(f"{who} was {styled('interrupted', sys.stderr, fg='yellow', bold=True)} after {duration(seconds)}.")
    elif status is RunStatus.CANCELED:
        tell(f"{who} was {styled('canceled', sys.stderr, fg='yellow', bold=True)} after {duration(seconds)}.")
    else:
        tell(f"{who}: {status_word(status, sys.stderr)} in {duration(seconds)}.")


def count_lines(counts: Counts) -> list[str]:
    """Items and mini-batches as sums: total = succeeded + failed + not run."""
    rows = []
    for name, fates in (("items", counts.items), ("mini-batches", counts.mini_batches)):
        sums = ["=", number(fates.succeeded), "succeeded +", number(fates.failed), "failed +", number(fates.not_run), "not run"]
        rows.append([name.ljust(LABEL + 1), number(fates.total), *sums])
    retried = counts.mini_batches.retried
    rows[0].append("")
    rows[1].append(f"({number(retried)} retried)" if retried else "")
    return table(rows, right=(1, 3, 5, 7), gap=" ")


def _places(run: Run, status: RunStatus) -> list[list[str]]:
    rows = []
    if status is RunStatus.COMPLETED:
        rows.append(["output", short_path(run.output_path or run.output)])
    else:
        grown = growing_output(run)
        rows.append(["output", f"not published; the first rows are in {short_path(grown)}" if grown else "none"])
    rows.append(["logs", short_path(run.folder / "logs")])
    return rows


def growing_output(run: Run) -> Path | None:
    """The unfinished output of a run that did not complete."""
    settings = run.settings
    if settings.output_action != "append_row" or "://" in run.output:
        return None
    prefix = f"{settings.append_row_file_name}.partial."
    try:
        found = [path for path in Path(run.output).iterdir() if path.name.startswith(prefix) and path.stat().st_size]
    except OSError:
        return None
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def next_steps(run: Run, status: RunStatus, error: str | None, counts: Counts) -> list[list[str]]:
    """Commands that help from here, each with what it is for."""
    steps = []
    if counts.items.failed or status is RunStatus.FAILED:
        steps.append(["errors", f"batchmill runs errors {run.id}"])
    over = any(word in (error or "") for word in THRESHOLDS)
    if status in (RunStatus.INTERRUPTED, RunStatus.CANCELED) or (status is RunStatus.FAILED and not over and counts.mini_batches.not_run):
        steps.append(["resume", f"batchmill resume {run.id}"])
    elif status is RunStatus.COMPLETED and counts.items.failed:
        steps.append(["replay", f"batchmill runs replay {run.id}"])
    return steps
