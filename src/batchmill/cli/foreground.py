"""A run carried out, or followed, by the command that the user waits for."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime

from batchmill.cli.summary import tell_ending
from batchmill.cli.terminal import tell
from batchmill.cli.watching import Watcher, watcher
from batchmill.errors import BatchmillError
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_folder import RunFolder, run_name
from batchmill.records import RunRecord, RunStatus

INTERRUPTED = 130
LOOK_EVERY = 0.2


def carry_out(folder: RunFolder, *, quiet: bool, as_json: bool) -> int:
    """Be the coordinator of the run, or the follower of one on a cluster, until it ends; returns the exit code."""
    from batchmill.nodes.carrier import carrier

    began = time.monotonic()
    shown = watcher(title_of(folder), quiet=quiet)
    coordinator = carrier(folder, shown)
    try:
        coordinator.prepare()
        ending = coordinator.carry_out()
    except KeyboardInterrupt:  # before or after the work, during which the job itself ends in order
        shown.close()
        if coordinator.submitted:
            tell(f"Run {folder.id} goes on. Follow it: batchmill resume {folder.id}. Stop it: batchmill runs cancel {folder.id}")
        elif Run(folder).status is RunStatus.COMPLETED:
            tell(f"Interrupted. {title_of(folder)} is completed; only its logs are not.")
        else:
            tell(f"Interrupted. Go on: batchmill resume {folder.id}")
        return INTERRUPTED
    finally:
        shown.close()
    run = Run(folder)
    if not quiet:
        tell_ending(run, ending.status, ending.error, ending.counts, time.monotonic() - began)
    elif ending.status is not RunStatus.COMPLETED:
        _tell_briefly(run, ending.status, ending.error)
    if as_json:
        print_record(run)
    return exit_code(ending.status)


def follow(folder: RunFolder, *, quiet: bool, as_json: bool) -> int:
    """Watch a run that another process carries out, to its end; returns the exit code."""
    run = Run(folder)
    shown = watcher(title_of(folder), quiet=quiet)
    try:
        _watch(run, folder, shown)
    except KeyboardInterrupt:
        shown.close()
        tell(f"Run {run.id} goes on. Stop it: batchmill runs cancel {run.id}")
        return INTERRUPTED
    finally:
        shown.close()
    record = run.record()
    if not quiet:
        tell_ending(run, record.status, record.error, record.counts, _seconds(record))
    elif record.status is not RunStatus.COMPLETED:
        _tell_briefly(run, record.status, record.error)
    if as_json:
        print_record(run)
    return exit_code(record.status)


def _watch(run: Run, folder: RunFolder, shown: Watcher) -> None:
    started = False
    while run.alive:
        counts = run.counts
        if not counts.mini_batches.total:
            shown.planning(0)
        elif not started:
            started = True
            shown.started(counts)
        else:
            shown.update(counts)
        time.sleep(LOOK_EVERY)


def _seconds(record: RunRecord) -> float:
    if record.started is None or record.ended is None:
        return 0.0
    return (datetime.fromisoformat(record.ended) - datetime.fromisoformat(record.started)).total_seconds()


def _tell_briefly(run: Run, status: RunStatus, error: str | None) -> None:
    if status is RunStatus.FAILED:
        raise BatchmillError(f"Run {run.id} failed: {error}", cure=f"See batchmill runs errors {run.id}")
    tell(f"Run {run.id} is {status}. Go on: batchmill resume {run.id}")


def title_of(folder: RunFolder) -> str:
    """How a run is called where people read."""
    return f"Run {folder.id} ({run_name(folder)})"


def exit_code(status: RunStatus) -> int:
    """What a command returns for a run that ended so."""
    return {RunStatus.COMPLETED: 0, RunStatus.INTERRUPTED: INTERRUPTED}.get(status, 1)


def print_record(run: Run) -> None:
    """The object of ``runs show --json``."""
    json.dump(run.record().as_dict(), sys.stdout, indent=2, ensure_ascii=False)
    print(flush=True)
