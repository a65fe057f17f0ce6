"""``batchmill plan``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.options import Quiet, ScriptCommand, parse_settings, takes_settings

if TYPE_CHECKING:
    from batchmill.nodes.trial import Failure, Preview, Trial
    from batchmill.parallel_run.estimate import Estimate

SHOWN = 5


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    app.command("plan", cls=ScriptCommand)(takes_settings(plan))


def plan(
    values: dict[str, Any],
    *,
    tries: Annotated[
        int,
        typer.Option(
            "--try",
            metavar="N",
            min=0,
            help="Run N mini-batches, spread over the input, for real; throw the results away and estimate the whole run.",
            show_default=False,
            rich_help_panel="Other",
        ),
    ] = 0,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan and estimate as a JSON object.", rich_help_panel="Other")] = False,
) -> int:
    """Show what a run would do: files, bytes, mini-batches; with --try also how long it would take.

    Nothing stays behind: no run, no output.

    Exit codes: 0 done, 1 the tried mini-batches failed, 2 wrong usage or input, 130 interrupted.
    """
    settings = parse_settings(values)
    from batchmill.cli.watching import watcher
    from batchmill.nodes.trial import preview, try_out

    shown = watcher("Plan", quiet=quiet)
    try:
        with preview(settings, shown.planning) as planned:
            shown.close()
            record: dict[str, Any] = {"plan": _plan_record(planned), "trial": None, "estimate": None}
            if not as_json:
                _print_plan(planned)
            if not tries:
                return _finish(record, as_json=as_json)
            trial, work, machine = try_out(planned, tries)
    finally:
        shown.close()
    from batchmill.parallel_run.estimate import estimate

    wholes = [sample for sample in trial.samples if not sample.part]
    estimated = estimate(trial.measured(), work, machine) if wholes else None
    record["trial"] = _trial_record(trial)
    if estimated is not None:
        record["estimate"] = _estimate_record(estimated, work.unit)
    if not as_json:
        _print_trial(trial, estimated, work.unit, work.workers)
    return _finish(record, as_json=as_json) or _verdict(trial, settings.error_threshold, estimated is None)


def _finish(record: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        json.dump(record, sys.stdout, indent=2, ensure_ascii=False)
        print()
    sys.stdout.flush()
    return 0


def _verdict(trial: Trial, threshold: int, nothing: bool) -> int:
    """Would the run have failed already?"""
    from batchmill.cli.terminal import show_error

    if not trial.failures or (not nothing and (threshold == -1 or trial.items_failed <= threshold)):
        return 0
    first = trial.failures[0]
    where = "init() failed" if first.mini_batch is None else f"{len(trial.failures)} of {trial.tried} tried mini-batches failed"
    show_error(f"{where}: {first.error.error_class}: {first.error.message} The run would fail too.")
    return 1


# --- for programs ---------------------------------------------------------------------------------------------------------------


def _plan_record(planned: Preview) -> dict[str, Any]:
    summary = planned.summary
    return {
        "script": planned.settings.script,
        "kind": summary.kind,
        "format": summary.format,
        "inputs": [
            {"base": one["base"], "files": one["items"], "mini_batches": one["mini_batches"]} | ({"joined": True} if one["joined"] else {})
            for one in planned.plan.header["inputs"]
        ],
        "files": summary.files,
        "bytes": summary.bytes,
        "rows": planned.rows,
        "mini_batches": summary.mini_batches,
        "partition_keys": list(planned.settings.partition_keys),
    }


def _trial_record(trial: Trial) -> dict[str, Any]:
    wholes = [sample for sample in trial.samples if not sample.part]
    return {
        "mini_batches": trial.tried,
        "succeeded": len(wholes) - sum(1 for one in trial.failures if one.error.error_class == "ItemsFailed"),
        "items": sum(sample.items for sample in wholes),
        "items_failed": trial.items_failed,
        "workers": trial.workers,
        "startup_seconds": trial.startup,
        "seconds": trial.work_seconds,
        "failures": [
            {"mini_batch": one.mini_batch, "items": one.items, "error_class": one.error.error_class, "message": one.error.message}
            for one in trial.failures
        ],
    }


def _estimate_record(estimated: Estimate, unit: str | None) -> dict[str, Any]:
    size, workers = estimated.mini_batch_size, estimated.workers
    return {
        "wall_seconds": estimated.wall,
        "wall_seconds_low": estimated.wall_low,
        "wall_seconds_high": estimated.wall_high,
        "items": estimated.items,
        "items_per_second": estimated.items_per_second,
        "mini_batch_seconds": estimated.mini_batch_seconds,
        "overhead_share": estimated.overhead_share,
        "memory_per_worker": estimated.memory_per_worker,
        "mini_batch_size": {"value": _size(size.value, unit), "unit": unit, "reason": size.reason},
        "workers": {"value": workers.value, "reason": workers.reason},
    }


def _size(value: int | None, unit: str | None) -> str | None:
    """As ``--mini-batch-size`` takes it."""
    return None if value is None else f"{value}rows" if unit == "rows" else str(value)


# --- for people -----------------------------------------------------------------------------------------------------------------


def _print_plan(planned: Preview) -> None:
    from batchmill.cli.terminal import number, table
    from batchmill.parallel_run.estimate import byte_text

    summary, settings = planned.summary, planned.settings
    rows = [("files", number(summary.files), byte_text(summary.bytes)), ("mini-batches", number(summary.mini_batches), _cut(planned))]
    if summary.kind == "table":
        known = number(planned.rows) if planned.rows is not None else "?"
        rows.insert(1, ("rows", known, summary.format if planned.rows is not None else f"{summary.format}, counted when they are read"))
    if settings.partition_keys:
        rows.append(("keys", number(len(settings.partition_keys)), ", ".join(settings.partition_keys)))
    for line in table(rows, right=(1,)):
        print(line)
    sys.stdout.flush()


def _cut(planned: Preview) -> str:
    cut = planned.plan.header["cut"]
    if cut["rule"] == "groups":
        return "one for each combination of the keys"
    if cut["rule"] == "count":
        return f"of {cut['size']:,} files at most"
    if cut["rule"] == "blocks":
        return f"of {cut['size']:,} bytes of text"
    return ""


def _print_trial(trial: Trial, estimated: Estimate | None, unit: str | None, workers: int) -> None:
    from batchmill.cli.terminal import number, table, tell
    from batchmill.parallel_run.estimate import byte_text

    for failure in trial.failures[:SHOWN]:
        tell(_failure_line(failure))
    if estimated is None:
        return
    wholes = [sample for sample in trial.samples if not sample.part]
    items = sum(sample.items for sample in wholes)
    print(f"\nTried {len(wholes)} mini-batches ({number(items)} items) with {trial.workers} of {workers} workers. The whole run:")
    spread = f"between {_time(estimated.wall_low)} and {_time(estimated.wall_high)}"
    rows = [
        ("wall time", _time(estimated.wall), spread),
        ("items/s", f"{estimated.items_per_second:,.4g}", f"{_time(estimated.mini_batch_seconds)} a mini-batch"),
        ("memory", byte_text(estimated.memory_per_worker), "per worker, at most"),
        ("overhead", f"{estimated.overhead_share:.1%}", "of the work is spent per mini-batch, not per item"),
    ]
    for line in table(rows, right=(1,)):
        print(line)
    print("\nProposed:")
    size = _size(estimated.mini_batch_size.value, unit)
    proposals = [("--mini-batch-size", size or "-", estimated.mini_batch_size.reason)]
    proposals.append(("--workers", str(estimated.workers.value), estimated.workers.reason))
    for line in table(proposals):
        print(line)


def _failure_line(failure: Failure) -> str:
    where = "init()" if failure.mini_batch is None else f"mini-batch {failure.mini_batch}"
    return " ".join(f"{where}  {failure.error.error_class}: {failure.error.message}".split("\n"))


def _time(seconds: float) -> str:
    from batchmill.parallel_run.progress import duration

    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 120 else duration(seconds)
