"""`run()` and `Run`: a parallel run as Python sees it. The run lives in a process of its own."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill import errors
from batchmill.errors import BatchmillError, RunBusyError, RunFailedError
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.named_things import as_text, check_reading, names_things
from batchmill.parallel_run.names import Names, bound_names
from batchmill.parallel_run.reuse_note import reuse_lines
from batchmill.parallel_run.run_folder import RunFolder, find_run
from batchmill.parallel_run.run_identity import installed
from batchmill.parallel_run.snapshot import check_script
from batchmill.records import Counts, DeadLetter, RunRecord, RunStatus
from batchmill.settings import RunSettings
from batchmill.storage.files import atomic_write

if TYPE_CHECKING:
    from batchmill.parallel_run.cluster_run import ClusterRun

COORDINATOR = "batchmill.nodes.coordinator_process"
POLL = 0.05
REFRESH_EVERY = 0.5


def run(script: str | os.PathLike[str], inputs: Any, **settings: Any) -> Run:
    """Start a parallel run in a process of its own and return once its plan is made.

    Args:
        script: the entry script, a Python file with ``run(mini_batch)``.
        inputs: one input or several: folder, file, glob, ``@list.txt``, object-store URL, ``dataset:NAME``, ``datastore://NAME/PATH``, or
            a dataset of a workspace as an object; each is cut by itself.
        **settings: any setting of `batchmill.settings.RunSettings`, by its name. Models, environment and compute target may be objects
            of a workspace, too.

    Raises:
        UsageError: the script, the input or a setting cannot be used; nothing was started.

    Example:
        >>> import batchmill
        >>> run = batchmill.run("score.py", inputs="images/", mini_batch_size=10)  # doctest: +SKIP
        >>> run.wait().status                                                        # doctest: +SKIP
        <RunStatus.COMPLETED: 'Completed'>
    """
    values = {"script": os.fspath(script), "inputs": inputs, **settings}
    for name in ("inputs", "models", "environment", "compute", "workspace"):
        if name in values:
            values[name] = as_text(values[name], settings.get("workspace"))
    folder = create_run(RunSettings.parse(values))
    start_coordinator(folder)
    return Run(folder)


def create_run(settings: RunSettings, *, step_run: Mapping[str, Any] | None = None, identity: Mapping[str, Any] | None = None) -> RunFolder:
    """Make the folder and ledger of a new run: its id and name are durable when this returns, nothing has been planned yet.

    ``step_run`` says which step of a pipeline the run carries out, for what its scripts ask: ``id`` of the step run in the workspace of
    the settings, and its ``inputs`` and ``outputs`` as `batchmill.workspace.run_answers.RunAnswers` takes them. ``identity``: what is
    compared in place of the settings where results are reused: ``arguments``, ``variables``, and ``beside``, a text for anything else.

    Raises:
        UsageError: the script or the output cannot be used.
    """
    if not settings.inputs and not settings.rank_mini_batch_count:
        raise errors.InputError(
            "No input was given.", cure="Name a folder, a file, a glob, @list.txt or a URL with --input; nothing was started."
        )
    script = check_script(settings.script)
    check_reading(settings)
    from batchmill.parallel_run.plan import check_output_outside

    check_output_outside(settings)
    workspace = _workspace_of(settings)
    cluster = _cluster_of(settings, workspace)
    folder = RunFolder.create()
    output = settings.output
    if output is None:
        output = str(folder.output_folder())
    elif "://" not in output:
        output = str(Path(output).absolute())
    ledger = Ledger(folder.ledger, write=True)
    ledger.begin(id=folder.id, name=settings.name or script.stem, installed=installed())
    ledger.close()
    # Last: a run is found by this file, and then its ledger can be read.
    write_description(folder, settings, script, output, workspace, step_run=step_run, identity=identity, cluster=cluster)
    return folder


def _cluster_of(settings: RunSettings, workspace: str | None) -> Mapping[str, Any] | None:
    if settings.compute is None:
        return None
    from batchmill.parallel_run.cluster_run import cluster_of

    return cluster_of(settings, workspace)


def _workspace_of(settings: RunSettings) -> str | None:
    """The name of the workspace whose names the settings use, which binds the run; None where they use none.

    Raises:
        BatchmillError: there is no such workspace, or no such datastore for the output.
    """
    if not names_things(settings):
        return None
    names = Names(settings, Path.cwd(), None)
    names.place(settings.output or "")
    return str(names.workspace.name)


def write_description(
    folder: RunFolder,
    settings: RunSettings,
    script: Path,
    output: str,
    workspace: str | None = None,
    *,
    step_run: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> str:
    """Write ``settings.json``, which says what is to be run and from where; returns the name of the run."""
    name = settings.name or script.stem
    description = {
        "id": folder.id,
        "name": name,
        "output": output,
        "script": str(script),
        "folder": os.getcwd(),
        "workspace": workspace,
        "step_run": None if step_run is None else dict(step_run),
        "identity": None if identity is None else dict(identity),
        "cluster": None if cluster is None else dict(cluster),
        "settings": settings.model_dump(mode="json"),
    }
    atomic_write(folder.settings, json.dumps(description, indent=1))
    return name


def start_coordinator(folder: RunFolder, *, life: int | None = None) -> int:
    """Start the coordinator of a run as a process of its own; returns its pid when the plan is made and the work begins.

    ``life`` is the read end of a pipe: the coordinator ends, as interrupted, when nobody holds the write end any more.

    Raises:
        BatchmillError: what the coordinator refused, as the class it was.
    """
    read, write = os.pipe()
    more = [] if life is None else ["--life", str(life)]
    with (folder.logs / "coordinator.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", COORDINATOR, folder.id, "--report", str(write), *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write,) if life is None else (write, life),
            start_new_session=True,
        )
    os.close(write)
    _CHILDREN.append(process)
    with os.fdopen(read) as pipe:
        answer = pipe.readline()
    if not answer:
        process.wait()
        tail = (folder.logs / "coordinator.txt").read_text(errors="replace")[-2000:] if folder.logs.exists() else ""
        raise BatchmillError(f"The coordinator of run {folder.id} ended before it began, with exit code {process.returncode}. {tail}")
    told = json.loads(answer)
    if "error" in told:
        process.wait()
        raise error_of(told)
    return process.pid


def error_of(told: Mapping[str, Any]) -> BatchmillError:
    """The error that a coordinator elsewhere raised, from what it told of it."""
    from batchmill.workspace import exceptions, ray_cluster

    rooms = (errors, exceptions, ray_cluster)
    kind: type[BatchmillError] = next((getattr(room, told["class"]) for room in rooms if hasattr(room, told["class"])), BatchmillError)
    return kind(told["error"], cure=told["cure"])


_CHILDREN: list[subprocess.Popen[bytes]] = []


class Run:
    """One run: its status, counts, output and errors; a handle that any process may hold.

    Example:
        >>> batchmill.Run.find("last").counts.items.failed  # doctest: +SKIP
        0
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._description: Mapping[str, Any] = json.loads(folder.settings.read_text())
        self._refreshed = -REFRESH_EVERY

    @classmethod
    def find(cls, text: str) -> Run:
        """By id, unique prefix of one, name (the newest) or ``last``."""
        return cls(find_run(text))

    @property
    def id(self) -> str:
        return self._folder.id

    @property
    def name(self) -> str:
        return str(self._description["name"])

    @property
    def folder(self) -> Path:
        """The run folder: ledger, plan, logs, dead letters."""
        return self._folder.path

    @property
    def settings(self) -> RunSettings:
        return RunSettings(**self._description["settings"])

    @property
    def output(self) -> str:
        """The output folder or URL."""
        return str(self._description["output"])

    @property
    def output_path(self) -> str | None:
        """The append_row file (None for summary_only)."""
        settings = self.settings
        return None if settings.output_action != "append_row" else f"{self.output.rstrip('/')}/{settings.append_row_file_name}"

    def _ledger(self) -> Ledger:
        self.refresh(logs=False)
        return Ledger(self._folder.ledger)

    @property
    def status(self) -> RunStatus:
        """The status word; a run whose coordinator is gone is Interrupted, never Running for ever."""
        for process in list(_CHILDREN):
            if process.poll() is not None:
                with suppress(ValueError):  # another thread has seen it too
                    _CHILDREN.remove(process)
        if self._settled():
            return RunStatus.COMPLETED
        alive, looked = self.alive, self._refreshed
        status = self._stored_status()
        if not status.ended and not alive and self._refreshed == looked:
            self._refreshed = -REFRESH_EVERY  # its coordinator may have said how it ended since the last look
            status = self._stored_status()
        return status if status.ended or alive else RunStatus.INTERRUPTED

    def _stored_status(self) -> RunStatus:
        ledger = self._ledger()
        try:
            return ledger.status
        finally:
            ledger.close()

    @property
    def alive(self) -> bool:
        """Whether anybody works at it: a process of this machine, or a coordinator on a cluster."""
        if self._folder.alive():
            return True
        cluster = self._cluster
        return cluster is not None and not cluster.silent and cluster.alive()

    def refresh(self, *, logs: bool = True) -> None:
        """Bring what the run folder says of a run on a cluster up to date, where no other process of this machine does; what cannot be
        reached is left as it was last seen."""
        now = time.monotonic()
        if now - self._refreshed < REFRESH_EVERY or (cluster := self._cluster) is None or self._folder.alive():
            return
        if not cluster.silent and (logs or not self._settled()):
            cluster.bring_up_to_date(logs=logs)
        self._refreshed = time.monotonic()

    def _settled(self) -> bool:
        """Whether the store of a run on a cluster has nothing new to say of it: it is completed, and replayed from here if at all."""
        if not self._description.get("cluster"):
            return False
        ledger = Ledger(self._folder.ledger)
        try:
            return ledger.status is RunStatus.COMPLETED
        finally:
            ledger.close()

    @property
    def _cluster(self) -> ClusterRun | None:
        """The same run as a cluster carries it out, if one does."""
        if not self._description.get("cluster"):
            return None
        from batchmill.parallel_run.cluster_run import ClusterRun

        run = ClusterRun(self._folder, self._description)
        return run if run.begun else None

    @property
    def counts(self) -> Counts:
        """Counts as of the last commit."""
        return self.record().counts

    @property
    def error(self) -> str | None:
        return self.record().error

    def record(self) -> RunRecord:
        """Everything ``runs show --json`` prints."""
        status = self.status
        ledger = self._ledger()
        try:
            return RunRecord(
                self.id,
                self.name,
                status,
                self.output,
                ledger.counts(),
                _iso(ledger.meta("created")),
                _iso(ledger.meta("ended")) if status.ended else None,
                ledger.meta("error") if status.ended else None,
            )
        finally:
            ledger.close()

    def errors(self, *, open_only: bool = False) -> list[DeadLetter]:
        """The dead letters: every item that failed for good, with the reason and the traceback."""
        ledger = self._ledger()
        try:
            return list(ledger.letters(open_only=open_only))
        finally:
            ledger.close()

    def names(self) -> list[tuple[str, str]]:
        """What the run took from its workspace, and which version: ``("dataset", "digits:3")``."""
        ledger = self._ledger()
        try:
            return bound_names(ledger)
        finally:
            ledger.close()

    def reuse(self) -> tuple[str, ...]:
        """What it reused of an earlier run, and why not more, in words; empty where it was not asked to."""
        ledger = self._ledger()
        try:
            return reuse_lines(ledger)
        finally:
            ledger.close()

    def failed_tries(self) -> Iterator[dict[str, Any]]:
        """Every failed try, retried ones included."""
        ledger = self._ledger()
        try:
            yield from ledger.tries()
        finally:
            ledger.close()

    def wait(self, timeout: float | None = None, *, raise_on_error: bool = False) -> Run:
        """Wait for the end of the run.

        Raises:
            TimeoutError: it had not ended after ``timeout`` seconds.
            RunFailedError: it did not complete, and ``raise_on_error`` is set.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            status = self.status
            if status.ended and not self._folder.alive():
                break
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Run {self.id} is {status} after {timeout:g} seconds.")
            time.sleep(POLL)
        if raise_on_error and status is not RunStatus.COMPLETED:
            raise RunFailedError(f"Run {self.id} ended as {status}: {self.error}", cure=f"See batchmill runs errors {self.id}")
        return self

    def cancel(self) -> None:
        """Ask the run to end as Canceled; it may be resumed. A run that has completed or failed stays as it is."""
        if self.status in (RunStatus.COMPLETED, RunStatus.FAILED):
            return
        self._folder.cancel_request.touch()
        if self._folder.alive():
            return
        if (cluster := self._cluster) is not None:
            cluster.cancel()
            self._folder.cancel_request.unlink(missing_ok=True)
            if cluster.alive():
                return
        try:
            self._folder.lock()
        except RunBusyError:
            return
        try:
            ledger = Ledger(self._folder.ledger, write=True) if cluster is None else cluster.open_ledger()
            ledger.claim()
            ledger.end(RunStatus.CANCELED, None, ledger.counts())
            ledger.close()
            self._folder.cancel_request.unlink(missing_ok=True)
        finally:
            self._folder.unlock()

    def resume(self) -> Run:
        """Go on from the last commit, in a process of its own; a living or completed run is left as it is."""
        if self.status is not RunStatus.COMPLETED and not self._folder.alive():
            start_coordinator(self._folder)
        return self

    def remove(self) -> None:
        """Delete the run folder, also what a run on a cluster keeps beside its output (not an output that lies elsewhere).

        Raises:
            RunBusyError: the run is alive.
        """
        import shutil

        self._folder.lock()
        try:
            if (cluster := self._cluster) is not None:
                if cluster.alive():
                    raise RunBusyError(f"Run {self.id} is running on a cluster.", cure=f"Cancel it first: batchmill runs cancel {self.id}")
                with suppress(BatchmillError):  # a store that is gone keeps nothing
                    cluster.remove()
            shutil.rmtree(self._folder.path)
        finally:
            self._folder.unlock()

    def __repr__(self) -> str:
        record = self.record()
        batches = record.counts.mini_batches
        return f"<Run {self.id} ({self.name}): {record.status}, {batches.succeeded + batches.failed} of {batches.total} mini-batches>"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        record = self.record()
        items, batches = record.counts.items, record.counts.mini_batches
        rows = {
            "Run": f"{self.id} ({self.name})",
            "Status": str(record.status),
            "Items": _adds_up(items.total, items.succeeded, items.failed, items.not_run),
            "Mini-batches": _adds_up(batches.total, batches.succeeded, batches.failed, batches.not_run),
            "Output": self.output_path or self.output,
            "Error": record.error,
        }
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items() if text)
        return f"<table>{cells}</table>"


def _adds_up(total: int | None, succeeded: int, failed: int, not_run: int | None) -> str:
    shown = ("?" if number is None else f"{number:,}" for number in (total, succeeded, failed, not_run))
    return "{} = {} succeeded + {} failed + {} not run".format(*shown)


def _iso(text: str | None) -> str | None:
    return None if text is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(text)))
