"""One step of a run, carried out in a thread of the runner: from NotStarted to its end, with its outputs and logs where they belong."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError, line_of
from batchmill.pipeline.graph import PARALLEL_RUN, Graph, Node, Reference
from batchmill.pipeline.graph_schedule import StepState
from batchmill.pipeline.step_cancel import StepCanceled, unless_canceled
from batchmill.pipeline.step_inputs import bound_inputs, found_inputs
from batchmill.pipeline.step_outputs import bound_outputs, places_of_outputs, publish, publish_inputs
from batchmill.pipeline.step_place import INPUTS, LOGS, SNAPSHOT, StepPlace, empty
from batchmill.pipeline.step_work import BoundInput, StepOutcome, StepWork
from batchmill.records import RunStatus
from batchmill.storage.files import atomic_write
from batchmill.workspace.registered_run import STEP_RUN

if TYPE_CHECKING:
    from batchmill.pipeline.runner_record import RunnerLog, RunnerRecord
    from batchmill.pipeline.script_guardian import ScriptGuardian
    from batchmill.pipeline.step_slots import StepSlots
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

ENDED = "ended.json"
"""How the work of an attempt ended, in the folder of the step run: who takes the run up only has to bring it to its places."""
LOCAL = (None, "local")
OUTPUTS = "outputs"
COPIES = (INPUTS, OUTPUTS, "asked")
"""In the folder of the step run: what was brought here for its script, and what has been brought away from here."""
STATES = {RunStatus.COMPLETED: StepState.COMPLETED, RunStatus.FAILED: StepState.FAILED, RunStatus.CANCELED: StepState.CANCELED}


@dataclass(frozen=True, slots=True)
class RunPlace:
    """What the steps of one run share. ``guardian`` makes the guardian of scripts when it is first asked for."""

    workspace: Workspace
    run: RegisteredRun
    graph: Graph
    parameters: Mapping[str, Any]
    record: RunnerRecord
    log: RunnerLog
    slots: StepSlots
    guardian: Callable[[], ScriptGuardian]


class StepExecution:
    """One step. ``row`` is what the registry knows of it; ``made`` as `StepPlace.made`."""

    def __init__(
        self,
        place: RunPlace,
        node: Node,
        row: RegisteredRun,
        made: Mapping[str, Mapping[str, Mapping[str, Any]]],
        canceled: Callable[[], bool],
    ) -> None:
        self._run, self._node, self._row, self._canceled = place, node, row, canceled
        folder = Path(row.folder)
        self._step = StepPlace(place.workspace, node, row.id, folder, place.parameters, made)
        self._attempt = int(row.details.get("attempt") or 0) + 1
        self.state = StepState.FAILED  # until it is known better
        self.outputs: Mapping[str, Mapping[str, Any]] = places_of_outputs(self._step)

    def carry_out(self) -> None:
        """Body of the thread; `state` and `outputs` say afterwards how it ended."""
        self._say("begins" if self._attempt == 1 else f"begins again, attempt {self._attempt}")
        try:
            outcome = self._outcome()
        except StepCanceled:
            outcome = StepOutcome(RunStatus.CANCELED)
        except BatchmillError as error:
            outcome = StepOutcome(RunStatus.FAILED, line_of(error))
        except Exception as error:
            self._run.log.say(traceback.format_exc())
            outcome = StepOutcome(RunStatus.FAILED, line_of(error))
        try:
            self._end(outcome)
        except Exception:
            self._run.log.say(traceback.format_exc())
            outcome = StepOutcome(RunStatus.FAILED)
        self.state = STATES.get(outcome.status, StepState.FAILED)

    # --- work -----------------------------------------------------------------------------------------------------------------------

    def _outcome(self) -> StepOutcome:
        self._step.folder.mkdir(parents=True, exist_ok=True)
        known = self._known_end()
        if known is not None:
            ports = self._node.inputs
            filled = {port.name: str(self._step.on_compute(port.path_on_compute, INPUTS, port.name)) for port in ports}
            return self._published(known, bound_outputs(self._step), filled)
        patiently = self._run.record.patiently
        found = patiently(lambda: found_inputs(self._step))
        if self._row.kind == STEP_RUN and self._attempt == 1 and patiently(lambda: self._reused(found)):
            return StepOutcome(RunStatus.COMPLETED, details={OUTPUTS: self.outputs})
        self._run.record.change(self._row.id, status=RunStatus.QUEUED, folder=str(self._step.folder), details={"attempt": self._attempt})
        with self._slot() as mine:
            if not mine:
                return StepOutcome(RunStatus.CANCELED)
            self._note_start()
            self._copy_snapshot()
            with ExitStack() as bound:
                inputs = self._inputs(found, bound)
                outputs = patiently(lambda: bound_outputs(self._step, again=self._attempt > 1))
                outcome = patiently(lambda: self._carried(self._work(inputs, outputs)))
                self._note_end(outcome)
                return self._published(outcome, outputs, {name: one.path for name, one in inputs.items()})

    def _inputs(self, found: dict[str, BoundInput], bound: ExitStack) -> dict[str, BoundInput]:
        """The inputs, which are there until ``bound`` ends."""

        def bind() -> dict[str, BoundInput]:
            return self._run.record.patiently(lambda: bound.enter_context(bound_inputs(self._step, found)))

        return unless_canceled(bind, self._canceled) if found else bind()

    def _reused(self, inputs: Mapping[str, Any]) -> bool:
        """Whether an earlier run stands for this one; what is found out is recorded, and why the step runs if it does."""
        from batchmill.pipeline.reuse import decide

        decision = decide(self._work(inputs, {}), regenerate=bool(self._run.run.details.get("regenerate_outputs")))
        self._say(decision.text)
        labels = dict(decision.reused.labels) if decision.reused is not None else {}
        self._run.record.change(
            self._row.id,
            reuse_key=decision.key,
            details=dict(decision.details),
            tags=labels,
            properties=labels,
            folder=str(self._step.folder),
        )
        if decision.reused is not None:
            self.outputs = dict(decision.reused.outputs)
        return decision.reused is not None

    def _work(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> StepWork:
        run = self._run
        return StepWork(
            workspace=run.workspace,
            pipeline_run_id=run.run.id,
            step_run_id=self._row.id,
            experiment=run.run.experiment or "",
            graph=run.graph,
            node=self._node,
            parameters=run.parameters,
            folder=self._step.folder,
            attempt=self._attempt,
            inputs=inputs,
            outputs=outputs,
            canceled=self._canceled,
            announce=self._say,
        )

    def _carried(self, work: StepWork) -> StepOutcome:
        if self._node.kind == PARALLEL_RUN:
            from batchmill.pipeline.carry_parallel import carry_parallel

            return carry_parallel(work)
        from batchmill.pipeline.carry_script import carry_script

        return carry_script(work, self._run.guardian())

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        """A place to work at; parallel runs take the nodes of a compute target themselves."""
        slots, compute = self._run.slots, self._node.compute
        if compute is None or compute in LOCAL or self._stays_here(compute):
            with slots.here(self._canceled) as mine:
                yield mine
        elif self._node.kind == PARALLEL_RUN:
            yield True
        else:
            with slots.on(compute, self._node_count(), self._canceled, self._wait_for) as mine:
                yield mine

    def _stays_here(self, compute: str) -> bool:
        """Whether a script step names a compute target on a cluster: those carry out parallel runs only."""
        from batchmill.workspace.compute_provider import cluster_of

        if self._node.kind == PARALLEL_RUN or cluster_of(self._run.workspace, compute) is None:
            return False
        self._say(f"runs on this machine: compute target {compute} is a Ray cluster, which takes parallel runs only")
        return True

    def _node_count(self) -> int:
        wanted = self._node.node_count
        return int(self._run.parameters[wanted.name] if isinstance(wanted, Reference) else wanted or 1)

    def _copy_snapshot(self) -> None:
        """A new working copy of the source; a parallel run that goes on has its own."""
        if self._node.snapshot is None:
            self._step.cwd.mkdir(parents=True, exist_ok=True)
            return
        if self._node.kind == PARALLEL_RUN and self._step.cwd.exists() and self._attempt > 1:
            return
        from batchmill.pipeline.source_snapshot import copy_snapshot

        empty(self._step.cwd)
        copy_snapshot(self._run.workspace, self._node.snapshot, self._step.folder / SNAPSHOT)

    # --- the record -----------------------------------------------------------------------------------------------------------------

    def _note_start(self) -> None:
        details = {"outputs": self.outputs, "waiting_for": None}
        if self._node.kind == PARALLEL_RUN:
            self._run.record.change(self._row.id, details=details)  # its carrier says when it has nodes
        else:
            self._run.record.change(self._row.id, status=RunStatus.RUNNING, details=details)

    def _known_end(self) -> StepOutcome | None:
        """How the work ended, where an earlier runner died after that."""
        path = self._step.folder / ENDED
        if not path.exists():
            return None
        told = json.loads(path.read_text())
        return StepOutcome(RunStatus(told["status"]), told["error"], told["details"])

    def _note_end(self, outcome: StepOutcome) -> None:
        told = {"status": outcome.status, "error": outcome.error, "details": dict(outcome.details or {})}
        try:
            atomic_write(self._step.folder / ENDED, json.dumps(told))
        except OSError as error:  # a full disk: what was done counts, and would only be done again if this process died now
            self._say(f"its end could not be noted: {line_of(error)}")

    def _published(self, outcome: StepOutcome, outputs: Mapping[str, Any], inputs: Mapping[str, str | None]) -> StepOutcome:
        """The outcome with where the outputs are; what they are brought to may refuse them."""
        if outcome.status is not RunStatus.COMPLETED:
            return outcome
        publish_inputs(self._step, inputs)
        self.outputs = publish(self._step, outputs)
        return replace(outcome, details={**(outcome.details or {}), OUTPUTS: self.outputs, **self._made()})

    def _made(self) -> dict[str, Any]:
        """What a later run that would reuse the outputs compares them with."""
        if self._row.kind != STEP_RUN or not self._node.allow_reuse:
            return {}
        from batchmill.pipeline.reuse import MADE, made_by

        return {MADE: self._run.record.patiently(lambda: made_by(self._run.workspace, self.outputs))}

    def _end(self, outcome: StepOutcome) -> None:
        try:
            self._keep_files()
        except Exception as error:  # whatever it is, the step ended as it ended
            self._say(f"its logs could not be copied to the datastore: {line_of(error)}")
        details = {**(outcome.details or {}), "waiting_for": None}
        self._run.record.change(self._row.id, status=outcome.status, error=outcome.error, details=details)
        with suppress(OSError):
            (self._step.folder / ENDED).unlink(missing_ok=True)
            if outcome.status is RunStatus.COMPLETED and self._node.kind != PARALLEL_RUN:
                for name in COPIES:  # of a step that failed they are kept, to be looked at
                    empty(self._step.folder / name)
        self._say(f"{outcome.status}{': ' + outcome.error if outcome.error else ''}")

    def _keep_files(self) -> None:
        from batchmill.pipeline.source_snapshot import snapshot_folder
        from batchmill.pipeline.step_logs import keep_logs, keep_own_files

        workspace, run_id, logs = self._run.workspace, self._row.id, self._step.folder / LOGS
        if self._node.kind == PARALLEL_RUN:
            keep_logs(workspace, run_id, logs, LOGS)  # its folder is that of the parallel run
            return
        keep_logs(workspace, run_id, logs, "")
        source = snapshot_folder(workspace, self._node.snapshot) if self._node.snapshot else None
        keep_own_files(workspace, run_id, self._step.cwd, source)

    def _wait_for(self, text: str) -> None:
        self._run.record.change(self._row.id, details={"waiting_for": text})
        self._say(text)

    def _say(self, text: str) -> None:
        self._run.log.say(f"step {self._node.name}: {text}")


def start(execution: StepExecution, ended: Callable[[StepExecution], None]) -> threading.Thread:
    """Carry a step out in a thread of its own; ``ended`` is called there at the end."""

    def body() -> None:
        try:
            execution.carry_out()
        finally:
            ended(execution)

    thread = threading.Thread(target=body, name="batchmill-step", daemon=True)
    thread.start()
    return thread
