"""The coordinator: takes a run up (new, interrupted, failed) and carries it to its end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.data.formats import FILES, first_impression
from batchmill.errors import BatchmillError, DiskFullError, InputError, RegistryError, RunFailedError, UsageError
from batchmill.nodes.cancel_watch import CancelRequested, CancelWatch, TimeIsUp
from batchmill.nodes.job_rules import limits_of, policy_of
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.node_setup import CACHE_BYTES, unplanned_config
from batchmill.nodes.reserve import Reserve
from batchmill.nodes.restoring import restore
from batchmill.nodes.suspects import suspect
from batchmill.nodes.worker_setup import worker_environment
from batchmill.parallel_run.answers import Answers
from batchmill.parallel_run.dead_letters import write_dead_letters
from batchmill.parallel_run.earlier_runs import note
from batchmill.parallel_run.events import Engine, NodeConfig
from batchmill.parallel_run.instructions import Instruction
from batchmill.parallel_run.item_names import item_name, items_of
from batchmill.parallel_run.job import Ending, Job, feed_output
from batchmill.parallel_run.job_logs import write_job_logs
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.names import Names
from batchmill.parallel_run.output import OrderedOutput, RunOutput
from batchmill.parallel_run.plan import check_output_outside, make_plan
from batchmill.parallel_run.progress import Progress, Silent
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_identity import COMPLETE, installed, installed_in
from batchmill.parallel_run.run_places import copy_script, input_places, script_in_source
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.target import OutputTarget, target_of
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.storage.files import disk_is_full
from batchmill.worker.plan_file import PlanFile

if TYPE_CHECKING:
    from batchmill.parallel_run.reuse import Reuse
    from batchmill.workspace.environment_preparation import Interpreter
    from batchmill.workspace.pool_lease import Lease

LEAST_CACHE = 1 << 20
BALLAST = 256 << 10


class Coordinator:
    """One incarnation of one run: holds the run folder and the output folder while it lives.

    The methods under "where the run is" say which ledger, engine and output it works with: for a run on this machine, here.
    """

    speculates = False
    """Whether what a straggler holds may be run a second time elsewhere."""
    submitted = False
    """Whether the run goes on when this process ends."""

    def __init__(self, folder: RunFolder, progress: Progress | None = None) -> None:
        self.folder = folder
        self.progress = progress or Silent()
        self.description: dict[str, Any] = json.loads(folder.settings.read_text())
        self.settings = RunSettings(**self.description["settings"])
        started_in, workspace = Path(self.description["folder"]), self.description.get("workspace")
        self.names = Names(self.settings, started_in, workspace, run=folder.path, step=self.description.get("step_run"))
        self.target = self._make_target()
        self.output = self.target.folder
        self._reserve: Reserve | None = None
        self._interpreter: Interpreter | None = None
        self._charged: list[Instruction] = []
        self._canceled: Ending | None = None
        self._lease: Lease | None = None

    def prepare(self) -> None:
        """Hold the run, claim its ledger, plan it and copy its script: everything that bad input can stop.

        A request to cancel it ends that too, as Canceled; `carry_out` says so.

        Raises:
            RunBusyError: another process carries the run out.
            UsageError: the run cannot begin (if it is new, nothing of it is left), or it is completed.
        """
        self.folder.lock()
        self.ledger = self._open_ledger()
        if self.ledger.status is RunStatus.COMPLETED:
            self.ledger.close()
            self.folder.unlock()
            raise UsageError(f"Run {self.folder.id} is completed; there is nothing left to do.")
        new = self.ledger.epoch == 0
        self._made_for_output = [path for path in (self.output, *self.output.parents) if not path.exists()]
        try:
            self._claim_output()
        except BatchmillError:
            self.ledger.close()
            if new:
                shutil.rmtree(self.folder.path, ignore_errors=True)
            self.folder.unlock()
            raise
        self._restored = self.ledger.epoch > 0
        self.epoch = self.ledger.claim()
        self._put_ballast()
        if not new:  # a request that came before a new run could begin still counts
            self.folder.cancel_request.unlink(missing_ok=True)
        try:
            with CancelWatch(self.folder.cancel_request):
                self.names.bind(self.ledger)
                self.names.connect()
            self._start_ahead()
            self._plan_in_time()
            with CancelWatch(self.folder.cancel_request):
                self.find_interpreter()
                self._reuse()
        except CancelRequested:
            self._canceled = self._cancel()
        except BaseException as error:
            self._end_reserve()
            if new and isinstance(error, (BatchmillError, OSError)):
                self.discard()
            if isinstance(error, OSError):
                where = f" ({error.filename})" if error.filename else ""
                raise UsageError(f"The run cannot begin: {error.strerror}{where}.", cure="Nothing was started.") from error
            raise

    def _cancel(self) -> Ending:
        """The run was canceled before its work began; a resume plans it."""
        return self._end_early(RunStatus.CANCELED)

    def _end_early(self, status: RunStatus, cause: str | None = None) -> Ending:
        """End the run before its work began; it can be resumed."""
        self._end_reserve()
        ending = Ending(status, cause, self.ledger.counts())
        (self.folder.path / "ballast").unlink(missing_ok=True)
        self.ledger.end(ending.status, ending.error, ending.counts)
        self.folder.cancel_request.unlink(missing_ok=True)
        self._let_go()
        self.progress.ended(ending.status, ending.counts, ending.error)
        return ending

    def _let_go(self) -> None:
        status = self.ledger.status
        self._record(status if status.ended else RunStatus.INTERRUPTED)
        self.give_nodes_back()
        self.names.scripts.close()
        self.ledger.close()
        self.target.release()
        self.folder.unlock()

    def _probably_tables(self) -> bool:
        """A guess before anything is listed: only what workers load ahead depends on it."""
        if self.settings.format is not None:
            return self.settings.format != FILES
        folder = Path(self.description["folder"])
        return any(first_impression(folder / text) != FILES for text in self.settings.inputs[:1])

    def _end_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def _put_ballast(self) -> None:
        """Bytes to give up when the disk is full, so that the ledger can still say how the run ended."""
        ballast = self.folder.path / "ballast"
        try:
            ballast.write_bytes(b"\0" * BALLAST)
        except OSError as error:
            ballast.unlink(missing_ok=True)
            full = DiskFullError(
                f"No space is left in {self.folder.path}.", cure=f"Free some space, then: batchmill resume {self.folder.id}"
            )
            self.ledger.end(RunStatus.FAILED, str(full), self.ledger.counts())
            self._let_go()
            raise full from error

    def _plan_in_time(self) -> None:
        limit = self.settings.first_task_creation_timeout
        try:
            with CancelWatch(self.folder.cancel_request, limit):
                self._plan_and_snapshot()
        except TimeIsUp:
            cure = "Raise --first-task-creation-timeout, or give the run less to list and to group."
            raise RunFailedError(f"Unable to create any task within {limit:g} seconds.", cure=cure) from None

    def _plan_and_snapshot(self) -> None:
        if not (self.folder.snapshot / COMPLETE).exists():
            shutil.rmtree(self.folder.snapshot, ignore_errors=True)
            self._take_snapshot()
        if not (self.folder.plan / "plan.json").exists():
            was_in = os.getcwd()
            os.chdir(self.description["folder"])
            try:
                self._make_plan()
            finally:
                os.chdir(was_in)
        self.plan = PlanFile(str(self.folder.plan))
        if self.plan.mini_batches == 0:
            raise InputError("The inputs hold no items.", cure="Check --input; nothing was started.")

    def _make_plan(self) -> None:
        settings, definitions = self.settings.model_copy(update={"inputs": self.names.inputs()}), self.names.definitions()
        check_output_outside(settings, self.names.place(self.description["output"]), definitions=definitions)
        make_plan(settings, self.folder.plan, definitions=definitions, progress=self.progress.planning, announce=self.progress.announce)

    def find_interpreter(self) -> None:
        """The environment that the run names, built if need be, and the models that it names, at hand."""
        tables = self.plan.header["kind"] == "table"
        found = self._interpreter = self.names.interpreter(needs_tables=tables, announce=self.progress.announce)
        self.names.fetch_models(self.progress.announce)
        warnings = found.warnings if found is not None and self.epoch == 1 else []
        for text in warnings:
            self.progress.announce(text)
        packages = {}
        if found is not None and found.description.get("policy") == "user_managed":
            packages = {"installed_there": installed_in(found.python)}
        with self.ledger.transaction():
            if found is not None:
                self.ledger.put(interpreter=found.python, **packages)
            for text in warnings:
                self.ledger.add_warning(text)

    def _reuse(self) -> None:
        """Take over what an earlier run has done already; once, however often the run is resumed."""
        if self.settings.reuse is not None and self.ledger.meta("reuse") is None:
            found = self._find_reusable().take()
            self._restored = self._restored or bool(found.mini_batches)
            for text in found.lines:
                self.progress.announce(text)

    def data_places(self) -> list[Path]:
        """Local inputs and the output: they may lie beside the script, but are no part of it."""
        return [*input_places(self.description, self.names), self.output]

    def discard(self) -> None:
        """A run that never began leaves nothing behind."""
        self.ledger.close()
        self.target.release()
        for path in self._made_for_output:
            with suppress(OSError):  # somebody else put something there
                path.rmdir()
        shutil.rmtree(self.folder.path, ignore_errors=True)
        self.folder.unlock()

    def carry_out(self) -> Ending:
        """Run the prepared job to its end; the ending is in the ledger and in the logs when this returns."""
        if self._canceled is not None:
            return self._canceled
        try:
            taken = self._take_nodes()
        except BatchmillError as error:  # the compute target was removed, or the registry is gone
            return self._end_early(RunStatus.FAILED, error.line)
        except BaseException:
            self._end_reserve()
            self._let_go()
            raise
        if not taken:
            return self._cancel()
        self._record(RunStatus.RUNNING)
        try:
            try:
                job = self._job()
            except OSError as error:
                return self._not_started(error)
            ending = job.run()
            return self._conclude(job, ending)
        finally:
            self._end_reserve()
            self._let_go()

    def _take_nodes(self) -> bool:
        """Wait for the first node of the compute target that the run names; False where the run was canceled meanwhile."""
        if self.settings.compute is None:
            return True
        self._put_status(RunStatus.QUEUED)
        self._record(RunStatus.QUEUED)
        lease = self.hold_nodes()
        self._put_status(RunStatus.RUNNING)
        return lease is not None

    @property
    def _holds_nodes(self) -> bool:
        """Whether what runs here takes nodes of a compute target; a replay of a run on a cluster does not go there."""
        return self.settings.compute is not None and not self.description.get("cluster")

    def hold_nodes(self) -> Lease | None:
        """At least one node of the compute target that the run names, held until `give_nodes_back`; None where the run names none, or was
        canceled while it waited.

        Raises:
            ComputeTargetException: it has been removed.
        """
        from batchmill.workspace.pool_lease import acquire

        if self._holds_nodes:
            stopped, announce = self.folder.cancel_request.exists, self.progress.announce
            target, nodes = str(self.settings.compute), self.settings.nodes
            self._lease = acquire(self.names.workspace, target, self.folder.id, nodes, stopped=stopped, announce=announce)
        return self._lease

    def give_nodes_back(self) -> None:
        if self._lease is not None:
            with suppress(RegistryError):  # its nodes are free when this process ends
                self._lease.release()

    def _put_status(self, status: RunStatus) -> None:
        with self.ledger.transaction():
            self.ledger.put(status=status)

    def _not_started(self, error: OSError) -> Ending:
        """The machine gives no process, descriptor or space for the workers."""
        cause = (
            f"The worker processes cannot be started: {error.strerror}. Give the run more of it, then: batchmill resume {self.folder.id}"
        )
        ending = Ending(RunStatus.FAILED, cause, self.ledger.counts())
        self.ledger.end(ending.status, ending.error, ending.counts)
        self.progress.ended(ending.status, ending.counts, ending.error)
        return ending

    def _conclude(self, job: Job, ending: Ending) -> Ending:
        (self.folder.path / "ballast").unlink(missing_ok=True)
        if ending.status is RunStatus.COMPLETED:
            try:
                self.target.publish()
            except BatchmillError as error:
                ending = Ending(RunStatus.FAILED, str(error), ending.counts)
        if ending.status is RunStatus.COMPLETED:
            ending = self._write_logs(job, ending)
        self.ledger.end(ending.status, ending.error, ending.counts)
        self.folder.cancel_request.unlink(missing_ok=True)
        if ending.status is not RunStatus.COMPLETED:
            self._write_logs(job, ending)
        if ending.status is RunStatus.COMPLETED:
            self._note_completed()
            self._remove_spent()
        self.progress.ended(ending.status, ending.counts, ending.error)
        return ending

    def _note_completed(self) -> None:
        """A later run may reuse the rows of this one, if they all come from the same packages."""
        if self.settings.output_action == "append_row" and self.ledger.meta("installed") == installed():
            note(self.description)

    def _write_logs(self, job: Job, ending: Ending) -> Ending:
        """What is known only at the end; a completed run has all of it before it is called completed."""
        try:
            job.log_last(ending.counts)
            write_dead_letters(self.ledger, self.folder)
            write_job_logs(self.ledger, self.folder, self.plan, self.settings, ending)
        except OSError as error:
            if not disk_is_full(error, self.folder.path):
                raise
            cure = f"Free some space, then: batchmill resume {self.folder.id}"
            return Ending(RunStatus.FAILED, f"No space is left for the logs in {self.folder.path}. {cure}", ending.counts)
        return ending

    def _job(self) -> Job:
        settings, folder = self.settings, self.folder
        header = self.plan.header
        scheduler = self._scheduler()
        folder.parts.mkdir(exist_ok=True)
        output = None
        if settings.output_action == "append_row":
            output = self._ordered_output()
            output.open(int(self.ledger.meta("output_front") or 0), int(self.ledger.meta("output_length") or 0))
            if self._restored:
                feed_output(self.ledger, output)
        config = self.node_config(folder.snapshot)
        limits, level = limits_of(settings, config), settings.logging_level
        engine, lease = self._engine(config), self._lease
        return Job(
            folder,
            self.ledger,
            scheduler,
            engine,
            output,
            header["items"],
            limits,
            self.progress,
            level=level,
            item_name=item_name(self.plan),
            charged=self._charged,
            answers=Answers(self._answer, self.names.keep_answer),
            more_nodes=None if lease is None else lease.take_news,
        )

    def _scheduler(self) -> Scheduler:
        splittable = not self.plan.header.get("partition_keys")
        policy = policy_of(self.settings, splittable=splittable, speculates=self.speculates)
        scheduler = Scheduler(self.plan.mini_batches, policy, items_of(self.plan))
        if self._restored:
            restore(self.ledger, scheduler)
            self._charged = suspect(self.folder.slots, self.ledger, scheduler)
        return scheduler

    def node_config(self, source: Path) -> NodeConfig:
        """How workers are started; ``source`` is the copy of the script's folder that they use."""
        remote = any(one["location"] != "local" for one in self.plan.header["inputs"])
        cache_bytes = min(CACHE_BYTES, max(LEAST_CACHE, self.plan.header["bytes"]))
        return replace(self._unplanned_config(source), mini_batches=self.plan.mini_batches, remote=remote, cache_bytes=cache_bytes)

    def _unplanned_config(self, source: Path) -> NodeConfig:
        size = self._lease.size if self._lease is not None else self.names.size  # a trial holds no nodes
        return unplanned_config(
            self.folder,
            self.settings,
            epoch=self.epoch,
            source=source,
            script=source / script_in_source(self.description),
            output=self.output,
            interpreter=self._interpreter,
            size=size,
        )

    # --- where the run is -------------------------------------------------------------------------------------------------------

    def _make_target(self) -> OutputTarget:
        return target_of(self.names.place(self.description["output"]), self.folder, self.settings.retry_timeout)

    def _open_ledger(self) -> Ledger:
        return Ledger(self.folder.ledger, write=True)

    def _claim_output(self) -> None:
        """Keep other runs out of the output. The ledger is open, and still that of the incarnation before."""
        self.target.claim(self.ledger.epoch + 1)

    def _record(self, status: RunStatus) -> None:
        """Tell the registry of the workspace, if the run uses one."""
        self.names.record(self.folder, status)

    def _start_ahead(self) -> None:
        """Worker processes load their modules while the plan is made; without space for their logs that is left to the nodes."""
        if self.settings.environment is None and self.settings.compute is None:
            config = self._unplanned_config(self.folder.snapshot)
            with suppress(OSError):
                self._reserve = Reserve(config, "node0", worker_environment(config), tables=self._probably_tables())

    def _take_snapshot(self) -> None:
        copy_script(self.description, self.folder, self.data_places())

    def _ordered_output(self) -> RunOutput:
        name, total = self.settings.append_row_file_name, self.plan.mini_batches
        return OrderedOutput(self.output, name, self.folder.parts, self.folder.id, self.epoch, total)

    def _engine(self, config: NodeConfig) -> Engine:
        return LocalEngine(config, self._reserve, None if self._lease is None else self._lease.take_news())

    def _find_reusable(self) -> Reuse:
        from batchmill.parallel_run.reuse import Reuse

        return Reuse(self.folder, self.description, self.ledger, self.names, self.plan, self.epoch)

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What a worker asks; the answer holds where the worker is."""
        return self.names.answer(question)

    def _remove_spent(self) -> None:
        for spent in (self.folder.parts, self.folder.path / "work", self.folder.path / "cache"):
            shutil.rmtree(spent, ignore_errors=True)
