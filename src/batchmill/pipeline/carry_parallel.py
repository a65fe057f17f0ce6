"""Carries out parallel-run steps: starts the parallel run, follows it, cancels it, and takes up the one that an earlier attempt began."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from batchmill.errors import BatchmillError, RegistryError
from batchmill.parallel_run.run import Run, create_run, start_coordinator
from batchmill.parallel_run.run_folder import RunFolder, on_cluster, runs_folder
from batchmill.pipeline.parallel_run_report import copy_logs, log_counts
from batchmill.pipeline.parallel_run_settings import LOCAL, output_of, settings_of
from batchmill.pipeline.step_identity import beside_of
from batchmill.pipeline.step_work import StepOutcome, StepWork
from batchmill.records import RunStatus
from batchmill.storage.files import atomic_write

ID_FILE = "parallel_run"
POLL = 0.05
LOOK_EVERY = 0.2
CANCEL_SECONDS = 30.0
"""How long a canceled run may take to end by itself."""
LAST_WORDS_SECONDS = 20.0
MOST_DEATHS = 5
MOVING = (RunStatus.QUEUED, RunStatus.RUNNING)


def carry_parallel(work: StepWork) -> StepOutcome:
    """Run a `PARALLEL_RUN` step to its end; the coordinator of its run dies with this process. On a cluster the run goes on then, and who
    takes the step up finds it there.

    Raises:
        BatchmillError: a setting, the script or an input cannot be used; nothing was started.
    """
    folder = _begun(work) or _create(work)
    _show_logs(folder, work.folder / "logs")
    with _canceling(work, folder):
        deaths = 0
        while True:
            status = _carried_out(work, folder)
            if status is not RunStatus.INTERRUPTED or work.canceled():
                break
            deaths += 1
            work.announce(f"the coordinator of parallel run {folder.id} died")
            if deaths == MOST_DEATHS:
                error = f"The coordinator of parallel run {folder.id} died {deaths} times. See batchmill runs show {folder.id}"
                return StepOutcome(RunStatus.FAILED, error, _details(work, Run(folder)))
    return _outcome(work, Run(folder), status)


def _begun(work: StepWork) -> RunFolder | None:
    """The run that an earlier attempt of this step began."""
    path = work.folder / ID_FILE
    if work.attempt == 1 or not path.exists():
        return None
    folder = RunFolder(runs_folder() / path.read_text().strip())
    return folder if folder.settings.exists() and folder.ledger.exists() else None


def _create(work: StepWork) -> RunFolder:
    settings = settings_of(work)
    identity = beside_of(work) if settings.reuse is not None else None
    folder = create_run(settings, step_run=_step_run(work), identity=identity)
    atomic_write(work.folder / ID_FILE, folder.id)
    work.announce(f"parallel run {folder.id}")
    return folder


def _step_run(work: StepWork) -> dict[str, Any]:
    """What scripts may ask about their step."""
    inputs = {name: {"path": one.path, "dataset": one.dataset_id, "mode": one.port.mode} for name, one in work.inputs.items()}
    return {"id": work.step_run_id, "inputs": inputs, "outputs": {name: one.path for name, one in work.outputs.items()}}


def _carried_out(work: StepWork, folder: RunFolder) -> RunStatus:
    """The status of the run when it has ended, or when its coordinator has."""
    if (status := _settled(folder)) in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED):
        return status
    life, held = os.pipe()
    try:
        try:
            start_coordinator(folder, life=life)
        finally:
            os.close(life)
        return _followed(work, folder)
    finally:
        os.close(held)


def _settled(folder: RunFolder) -> RunStatus:
    """The status once no earlier coordinator is alive; it ends by itself when its runner has died."""
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while folder.alive() and time.monotonic() < deadline:
        time.sleep(POLL)
    return Run(folder).status


def _followed(work: StepWork, folder: RunFolder) -> RunStatus:
    """Wait for the end, and tell the registry whether it waits for nodes or works."""
    run, told = Run(folder), RunStatus.QUEUED
    give_up: float | None = None
    if work.node.compute not in (None, LOCAL):
        time.sleep(POLL)  # it is Running while it plans, then Queued until it has a node
    while True:
        status = run.status
        if status in MOVING and status is not told:
            with suppress(RegistryError):  # out of reach: again at the next look
                work.workspace.registry.change_run(work.step_run_id, status=status, if_status=("NotStarted", *MOVING))
                told = status
        if status.ended and not folder.alive():
            return status
        if folder.cancel_request.exists():
            give_up = give_up or time.monotonic() + CANCEL_SECONDS
            if time.monotonic() > give_up:
                if on_cluster(folder):
                    with suppress(BatchmillError):
                        run.cancel()  # nobody here follows it any more
                return RunStatus.INTERRUPTED  # what is left of it ends when the pipe to it is closed
        time.sleep(POLL)


@contextmanager
def _canceling(work: StepWork, folder: RunFolder) -> Iterator[None]:
    """While it lasts, a request to cancel the step is handed on to the run, also while that is planned."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_EVERY):
            if work.canceled():
                with suppress(OSError):  # the disk is full: again at the next look
                    folder.cancel_request.touch()
                    return

    watcher = threading.Thread(target=watch, name="batchmill-cancel-relay", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _outcome(work: StepWork, run: Run, status: RunStatus) -> StepOutcome:
    log_counts(work, run.counts)
    copy_logs(work, run)
    details = _details(work, run)
    if status is RunStatus.COMPLETED:
        return StepOutcome(RunStatus.COMPLETED, details=details)
    if status is RunStatus.FAILED:
        return StepOutcome(RunStatus.FAILED, run.error or f"Parallel run {run.id} failed. See batchmill runs errors {run.id}", details)
    return StepOutcome(RunStatus.CANCELED, None, details)


def _details(work: StepWork, run: Run) -> dict[str, Any]:
    output = output_of(work)
    return {
        "parallel_run": run.id,
        "counts": run.counts.as_dict(),
        "output": None if output is None else output.place,
        "names": [list(one) for one in run.names()],
    }


def _show_logs(folder: RunFolder, logs: Path) -> None:
    """The logs of the run are those of the step, while it runs and afterwards."""
    if logs.is_symlink():
        logs.unlink()
    with suppress(FileNotFoundError):
        shutil.rmtree(logs)
    try:
        logs.symlink_to(folder.logs, target_is_directory=True)
    except OSError as error:
        raise BatchmillError(f"The logs of parallel run {folder.id} cannot be shown at {logs}: {error.strerror}.") from error
