"""Carries out the graph of one run: begins steps as others end, in threads, and keeps what it does in the registry."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph_schedule import CANCELED_RUN, StepState, decide
from batchmill.records import RunStatus
from batchmill.workspace.registered_run import NOT_STARTED, SCRIPT_RUN, STEP_RUN, NewRun

if TYPE_CHECKING:
    from batchmill.pipeline.graph import Graph
    from batchmill.pipeline.runner_record import RunnerLog
    from batchmill.pipeline.script_guardian import ScriptGuardian
    from batchmill.pipeline.step_execution import StepExecution
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

PROGRESS = "progress"
"""In the details of a run: the number of the attempt in which a step ended last."""
NODE_ID, PIPELINE_ID = "azureml.nodeid", "azureml.pipeline"
STATES = {
    RunStatus.COMPLETED: StepState.COMPLETED,
    RunStatus.FAILED: StepState.FAILED,
    RunStatus.CANCELED: StepState.CANCELED,
}
MOST_AT_ONCE = 256
"""Steps that work or wait for their turn, each in a thread; the others are begun as these end."""
NEVER_BEGUN = "not started, because "


class GraphRunner:
    """Carries out one run that this process holds."""

    def __init__(self, workspace: Workspace, run: RegisteredRun, folder: Path, log: RunnerLog) -> None:
        from batchmill.parallel_run.cores import usable_cores
        from batchmill.pipeline.runner_record import RunnerRecord
        from batchmill.pipeline.step_execution import RunPlace
        from batchmill.pipeline.step_slots import StepSlots

        self._workspace, self._run, self._folder, self._log = workspace, run, folder, log
        self._record = RunnerRecord(workspace.registry, log)
        self._graph = graph_of(workspace, run)
        self._needs = {node.id: node.needs for node in self._graph.nodes}
        self._changed = threading.Condition()
        self._canceled: set[str] = set()
        self._guardian: ScriptGuardian | None = None
        defaults = {name: one.default for name, one in self._graph.parameters.items()}
        parameters = defaults | (run.details.get("parameters") or {})
        slots = StepSlots(workspace, run.id, usable_cores(), self._changed)
        self._place = RunPlace(workspace, run, self._graph, parameters, self._record, log, slots, self._one_guardian)

    def carry_out(self) -> RunStatus:
        """Begin steps as others end, until all have ended; returns how the run ended.

        Raises:
            RegistryError: the database was out of reach for too long; the run can be taken up again.
        """
        rows = self._step_rows()
        states = {node: _state_of(row) for node, row in rows.items()}
        made = {node: row.details.get("outputs") or {} for node, row in rows.items() if states[node] is StepState.COMPLETED}
        if self._run.kind != SCRIPT_RUN:
            self._record.change(self._run.id, status=RunStatus.RUNNING)
        ended: list[tuple[str, StepExecution]] = []
        go_on = bool(self._run.details.get("continue_on_step_failure"))
        while True:
            decision = decide(self._needs, states, go_on=go_on, canceled=self._run.id in self._canceled)
            for node, fault in decision.skip.items():
                self._skip(rows[node], fault)
                states[node] = StepState.SKIPPED
            for node in decision.start[: MOST_AT_ONCE - list(states.values()).count(StepState.RUNNING)]:
                states[node] = StepState.RUNNING
                self._start(node, rows[node], dict(made), ended)
            if decision.end is not None:
                return decision.end
            for node, execution in self._wait(ended, states):
                states[node], made[node] = execution.state, execution.outputs

    def cancel(self, ids: set[str]) -> None:
        """End the whole run, or steps of it: whatever has one of the ids."""
        with self._changed:
            if not ids <= self._canceled:
                self._canceled |= ids
                self._changed.notify_all()

    def close(self) -> None:
        """Nothing is started any more."""
        if self._guardian is not None:
            self._guardian.close()

    def _wait(self, ended: list[tuple[str, StepExecution]], states: Mapping[str, StepState]) -> list[tuple[str, StepExecution]]:
        """The steps that have ended since, at least one; none where a cancel has to be looked at."""
        with self._changed:
            known = self._run.id in self._canceled or StepState.WAITING not in states.values()
            self._changed.wait_for(lambda: bool(ended) or (not known and self._run.id in self._canceled))
            taken = list(ended)
            ended.clear()
        if taken and self._run.details.get(PROGRESS) != self._run.attempts and self._run.kind != SCRIPT_RUN:
            self._record.change(self._run.id, details={PROGRESS: self._run.attempts})
            self._run.details[PROGRESS] = self._run.attempts
        return taken

    def _start(self, node: str, row: RegisteredRun, made: dict[str, Any], ended: list[tuple[str, StepExecution]]) -> None:
        from batchmill.pipeline.step_execution import StepExecution, start

        def at_end(execution: StepExecution) -> None:
            with self._changed:
                ended.append((node, execution))
                self._changed.notify_all()

        stopped = {self._run.id, row.id}
        start(StepExecution(self._place, self._graph.node(node), row, made, lambda: not stopped.isdisjoint(self._canceled)), at_end)

    def _skip(self, row: RegisteredRun, fault: str) -> None:
        if fault == CANCELED_RUN:
            why = "the run was canceled"
        else:
            node = self._graph.node(fault)
            known = self._record.run(self._rows[fault].id)
            word = "was canceled" if known is not None and known.status == RunStatus.CANCELED else "failed"
            why = f"step {node.name} {word}" if known is None or known.id != row.id else "it waits for itself"
        self._record.change(row.id, status=RunStatus.CANCELED, error=NEVER_BEGUN + why)

    def _step_rows(self) -> dict[str, RegisteredRun]:
        """The runs of the steps by node, added where this is the first runner."""
        if self._run.kind == SCRIPT_RUN:
            self._rows = {self._graph.nodes[0].id: self._run}
            return self._rows
        found = self._record.steps(self._run.id)
        rows = {row.properties[NODE_ID]: row for row in found if NODE_ID in row.properties}
        new = [self._new_step(node) for node in self._graph.nodes if node.id not in rows]
        rows |= {row.properties[NODE_ID]: row for row in (self._record.add(new) if new else [])}
        self._rows = {node.id: rows[node.id] for node in self._graph.nodes}
        return self._rows

    def _new_step(self, node: Any) -> NewRun:
        run_id = str(uuid.uuid4())
        labels = {NODE_ID: node.id, PIPELINE_ID: self._run.id}
        return NewRun(
            id=run_id,
            kind=STEP_RUN,
            name=node.name,
            status=NOT_STARTED,
            experiment=self._run.experiment,
            parent=self._run.id,
            compute=node.compute,
            folder=str(self._folder / "steps" / run_id),
            details={"node": node.id, "module": node.module},
            tags=labels,
            properties={**labels, "azureml.pipelinerunid": self._run.id, "azureml.moduleid": node.module, "azureml.runsource": STEP_RUN},
        )

    def _one_guardian(self) -> ScriptGuardian:
        with self._changed:
            if self._guardian is None:
                from batchmill.pipeline.script_guardian import ScriptGuardian

                self._guardian = ScriptGuardian()
            return self._guardian


def _state_of(row: RegisteredRun) -> StepState:
    """How a step stands for whoever takes the run up: what was interrupted waits to begin again."""
    if row.status == RunStatus.CANCELED and (row.error or "").startswith(NEVER_BEGUN):
        return StepState.SKIPPED
    return STATES[RunStatus(row.status)] if row.status in list(STATES) else StepState.WAITING


def graph_of(workspace: Workspace, run: RegisteredRun) -> Graph:
    """The graph that a run carries out.

    Raises:
        UserErrorException: the workspace does not have it.
    """
    from batchmill.pipeline.graph import Graph
    from batchmill.workspace.exceptions import UserErrorException

    kept = run.details.get("graph")
    asset = workspace.registry.by_id("graph", str(kept))
    if asset is None:
        raise UserErrorException(f"Run {run.id} carries out graph {kept}, which workspace {workspace.name} does not have.")
    return Graph.from_dict(asset.definition)
