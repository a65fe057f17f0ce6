"""The runner of a pipeline: ``python -m batchmill.pipeline.runner RUN_ID --workspace NAME``.

It takes a run up, new or interrupted, carries out its steps in threads, and ends with it. One living runner works at a run; whatever it
starts dies with it, and what it has done is in the registry, so that the next one goes on from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.errors import BatchmillError, RegistryError, RunBusyError, RunNotFoundError, line_of
from batchmill.records import RunStatus
from batchmill.workspace.run_index import OPEN

if TYPE_CHECKING:
    from batchmill.pipeline.graph_runner import GraphRunner
    from batchmill.pipeline.runner_record import RunnerLog
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

FOLDER, LOG = "pipeline_runs", "runner.txt"
LOOK = 0.4  # seconds between looks at whether the run, or a step, is to be canceled
MOST_DEATHS = 3
NOT_INHERITED = ("BATCHMILL_STEP", "BATCHMILL_INCARNATION", "AZUREML_", "AML_PARAMETER_")
"""Variables of a script that submits a pipeline: the run is none of its own, and outlives it."""
_CHILDREN: list[subprocess.Popen[bytes]] = []


def start_runner(workspace: Workspace, run_id: str) -> int:
    """Start the runner of a run as a process of its own, in a session of its own; returns its id at once."""
    from batchmill.workspace.holder import Holder, process_start, this_host

    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
    folder = run_folder(workspace, run_id)
    words = [sys.executable, "-m", "batchmill.pipeline.runner", run_id, "--workspace", workspace.name]
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=_environment(), start_new_session=True
        )
    _CHILDREN.append(process)
    # A runner that dies before it has claimed the run is seen as well.
    with suppress(RegistryError):  # it claims the run by itself
        workspace.registry.hand_run_over(run_id, Holder(this_host(), process.pid, process_start(process.pid) or ""))
    return process.pid


def resume_run(workspace: Workspace, run_id: str) -> int | None:
    """Take a run up again: what has completed stays, the rest runs; returns the id of the new process, None where the run is Completed.

    Raises:
        RunNotFoundError: the workspace has no such run of a pipeline or script.
        RunBusyError: a process works at it, or has just been started to.
    """
    from batchmill.workspace.registered_run import PIPELINE_RUN, SCRIPT_RUN

    run = workspace.registry.run(run_id)
    if run is None or run.kind not in (PIPELINE_RUN, SCRIPT_RUN) or not run.details.get("graph"):
        raise RunNotFoundError(f"Workspace {workspace.name} has no run of a pipeline or script {run_id}.")
    if run.held or run.live_status == RunStatus.QUEUED:
        who = "is about to be taken up" if run.holder is None else f"is carried out by process {run.holder.pid}"
        raise RunBusyError(f"Run {run_id} ({run.name}) {who}: nothing to resume.")
    if run.status == RunStatus.COMPLETED:
        return None
    if run.status in (RunStatus.FAILED, RunStatus.CANCELED):
        _begin_again(workspace, run)
    return start_runner(workspace, run_id)


def _begin_again(workspace: Workspace, run: RegisteredRun) -> None:
    """A run that has ended: its steps that have not completed wait again, and its deaths are forgotten."""
    from batchmill.pipeline.graph_runner import PROGRESS
    from batchmill.pipeline.step_execution import ENDED
    from batchmill.workspace.registered_run import NOT_STARTED, STEP_RUN

    registry = workspace.registry
    if registry.change_run(run.id, status=RunStatus.QUEUED, details={PROGRESS: run.attempts + 1}, if_status=(run.status,)) is None:
        raise RunBusyError(f"Run {run.id} ({run.name}) is being taken up by somebody else: nothing to resume.")
    for step in [run, *registry.runs(parent=run.id, kind=STEP_RUN, limit=None)]:
        if step.folder and step.status != RunStatus.COMPLETED:
            Path(step.folder, ENDED).unlink(missing_ok=True)
        if step.kind == STEP_RUN and step.status != RunStatus.COMPLETED:
            registry.change_run(step.id, status=NOT_STARTED)


def _environment() -> dict[str, str]:
    """That of this process, as a process in another folder needs it."""
    from batchmill.storage.home import home

    found = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    found["BATCHMILL_HOME"] = str(home())
    if found.get("PYTHONPATH"):
        found["PYTHONPATH"] = os.pathsep.join(_absolute(path) for path in found["PYTHONPATH"].split(os.pathsep) if path)
    url = found.get("BATCHMILL_DATABASE_URL", "")
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        found["BATCHMILL_DATABASE_URL"] = f"sqlite:///{_absolute(url.removeprefix('sqlite:///'))}"
    return found


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:  # the working directory is gone, and whatever was meant from there
        return path


def forget_children() -> None:
    """After a fork the processes are none of ours."""
    with suppress(IndexError):
        _CHILDREN.clear()


os.register_at_fork(after_in_child=forget_children)


# --- its process ----------------------------------------------------------------------------------------------------------------


class Pulse:
    """A thread that says that this process works at the run, and hears what is to be canceled."""

    def __init__(self, workspace: Workspace, run_id: str, runner: GraphRunner, log: RunnerLog) -> None:
        self._registry, self._run_id, self._runner, self._log = workspace.registry, run_id, runner, log
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._body, name="batchmill-pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _body(self) -> None:
        from time import monotonic

        from batchmill.workspace.holder import BEAT

        beaten = monotonic()
        while True:
            try:
                self._runner.cancel(self._registry.cancels(self._run_id))
                if monotonic() - beaten > BEAT.total_seconds():
                    if not self._registry.beat(self._run_id):
                        os._exit(3)  # another one works at the run, because this process was silent for too long
                    beaten = monotonic()
            except RegistryError:
                pass  # out of reach; the next look may find it again
            except Exception:  # without this thread the run would seem dead
                self._log.say(traceback.format_exc())
            if self._end.wait(LOOK):
                return


def carry_out_run(workspace: Workspace, run_id: str) -> RunStatus | None:
    """Take a run up in this process and carry it to its end; returns how it ended.

    None where there was nothing to do: it is unknown, has ended, or another process works at it.
    """
    registry = workspace.registry
    if not registry.claim_run(run_id):
        return None
    run = registry.run(run_id)
    if run is None or run.status not in OPEN:
        registry.release_run(run_id)
        return None
    from batchmill.pipeline.runner_record import RunnerLog

    folder = run_folder(workspace, run_id)
    log = RunnerLog(folder / LOG)
    log.say(f"process {os.getpid()} takes up run {run_id} ({run.name}), attempt {run.attempts}")
    try:
        status, error = _carried(workspace, run, folder, log)
    except RegistryError:
        raise  # nothing could be written down: the run can be taken up again
    except Exception as caught:
        log.say(traceback.format_exc())
        status, error = RunStatus.FAILED, line_of(caught)
    log.say(f"the run ends: {status}{': ' + error if error else ''}")
    _keep_log(workspace, run_id, folder / LOG, log)
    _close_steps(workspace, run_id)
    registry.change_run(run_id, status=status, error=error)
    registry.release_run(run_id)
    return status


def _carried(workspace: Workspace, run: RegisteredRun, folder: Path, log: RunnerLog) -> tuple[RunStatus, str | None]:
    from batchmill.pipeline.graph_runner import PROGRESS, GraphRunner

    deaths = run.attempts - max(1, int(run.details.get(PROGRESS) or 1))
    if deaths >= MOST_DEATHS:
        return RunStatus.FAILED, (
            f"The process that carries out the run died {deaths} times, and no step ended in between: look into {folder / LOG}. "
            f"To try again: batchmill resume {run.id}"
        )
    runner = GraphRunner(workspace, run, folder, log)
    pulse = Pulse(workspace, run.id, runner, log)
    pulse.start()
    try:
        status = runner.carry_out()
    finally:
        pulse.close()
        runner.close()
    return status, _error_of(workspace, run, status)


def _error_of(workspace: Workspace, run: RegisteredRun, status: RunStatus) -> str | None:
    """The first failure, as the error of the run."""
    from batchmill.workspace.registered_run import SCRIPT_RUN, STEP_RUN

    if run.kind == SCRIPT_RUN:
        known = workspace.registry.run(run.id)
        return None if known is None else known.error
    if status is not RunStatus.FAILED:
        return None
    failed = workspace.registry.runs(parent=run.id, kind=STEP_RUN, status=RunStatus.FAILED, limit=None)
    first = min(failed, key=lambda row: (row.ended or row.modified, row.id), default=None)
    return None if first is None else f"Step {first.name} failed: {first.error or 'no reason was recorded.'}"


def _close_steps(workspace: Workspace, run_id: str) -> None:
    """No step of a run that has ended is open, however it ended."""
    from batchmill.pipeline.graph_runner import NEVER_BEGUN
    from batchmill.workspace.registered_run import NOT_STARTED, STEP_RUN

    for step in workspace.registry.runs(parent=run_id, kind=STEP_RUN, status=OPEN, limit=None):
        if step.status == NOT_STARTED:
            workspace.registry.change_run(step.id, status=RunStatus.CANCELED, error=f"{NEVER_BEGUN}the run has failed")
        else:
            workspace.registry.change_run(step.id, status=RunStatus.FAILED, error="The run ended while the step was carried out.")


def _keep_log(workspace: Workspace, run_id: str, path: Path, log: RunnerLog) -> None:
    from batchmill.pipeline.step_logs import keep_log

    try:
        keep_log(workspace, run_id, path, f"logs/{LOG}")
    except Exception as error:  # the datastore is out of reach, or full; the log stays in the folder of the run
        log.say(f"this log could not be copied to the datastore: {line_of(error)}")


def run_folder(workspace: Workspace, run_id: str) -> Path:
    """The folder of a run on this machine; made where it is not there."""
    folder = Path(workspace.folder, FOLDER, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> int:
    """Body of the process; the exit code is 0 where the run is Completed, or there was nothing to do."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m batchmill.pipeline.runner", description="Carry out a run of a pipeline.")
    parser.add_argument("run")
    parser.add_argument("--workspace", required=True)
    asked = parser.parse_args()
    from batchmill.pipeline.runner_record import OUTAGE
    from batchmill.workspace.database import bear_outages
    from batchmill.workspace.workspace import Workspace

    bear_outages(OUTAGE)

    try:
        status = carry_out_run(Workspace.get(asked.workspace), asked.run)
    except BatchmillError as error:
        sys.stderr.write(f"{error.line}\n")
        return 1
    return 0 if status in (None, RunStatus.COMPLETED) else 1


if __name__ == "__main__":
    sys.exit(main())
