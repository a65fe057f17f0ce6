"""Which steps of a graph begin now, which never will, and whether all is over: pure, knows no clock, process or database.

States of the steps in, a decision out. What was decided is carried out elsewhere, and comes back as new states.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from batchmill.records import RunStatus

CANCELED_RUN = ""
"""Stands for the step at fault where nobody is: the whole run was canceled."""


class StepState(StrEnum):
    """How a step of the graph stands. SKIPPED: it was never begun, and will not be."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"

    @property
    def over(self) -> bool:
        return self not in (StepState.WAITING, StepState.RUNNING)

    @property
    def broken(self) -> bool:
        """Whether steps that need it cannot begin any more."""
        return self.over and self is not StepState.COMPLETED


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now. ``start``: steps in the order of the graph. ``skip``: steps that will not begin, and for each the step at
    fault, or `CANCELED_RUN`. ``end``: how the run ends, once nothing runs any more and nothing is left to do."""

    start: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    end: RunStatus | None = None


def decide(
    needs: Mapping[str, Collection[str]], states: Mapping[str, StepState], *, go_on: bool = False, canceled: bool = False
) -> Decision:
    """The next decision.

    ``needs``: for each step, in the order of the graph, those that must have completed before it begins. ``go_on``: a failed step holds up
    only those that need it (Azure ML: ``continue_on_step_failure``); else nothing begins after it. Steps that run are never told to
    end here. A step that needs itself, or one that is not there, is skipped.
    """
    skip = _skipped(needs, states, go_on=go_on, canceled=canceled)
    waiting = [step for step in needs if states[step] is StepState.WAITING and step not in skip]
    start = tuple(step for step in waiting if all(states.get(one) is StepState.COMPLETED for one in needs[step]))
    if waiting and not start and StepState.RUNNING not in states.values():
        skip |= {step: step for step in waiting}  # they wait for each other
        waiting = []
    over = not waiting and StepState.RUNNING not in states.values()
    return Decision(start, skip, _end(states, skip, canceled=canceled) if over else None)


def _skipped(needs: Mapping[str, Collection[str]], states: Mapping[str, StepState], *, go_on: bool, canceled: bool) -> dict[str, str]:
    waiting = [step for step in needs if states[step] is StepState.WAITING]
    if canceled:
        return dict.fromkeys(waiting, CANCELED_RUN)
    broken = [step for step in needs if states[step].broken]
    if broken and not go_on:
        return dict.fromkeys(waiting, _root(broken[0], needs, states))
    fault = {step: _root(step, needs, states) for step in broken}
    found: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for step in waiting:
            if step in found:
                continue
            culprit = next((one for one in needs[step] if one in fault or one not in needs), None)
            if culprit is not None:
                fault[step] = found[step] = fault.get(culprit, step)
                changed = True
    return found


def _root(step: str, needs: Mapping[str, Collection[str]], states: Mapping[str, StepState]) -> str:
    """The step that failed or was canceled, for whose sake ``step`` was skipped; of another step itself."""
    seen: set[str] = set()
    while states[step] is StepState.SKIPPED and step not in seen:
        seen.add(step)
        step = next((one for one in needs[step] if one in needs and states[one].broken), step)
    return step


def _end(states: Mapping[str, StepState], skip: Mapping[str, str], *, canceled: bool) -> RunStatus:
    if StepState.FAILED in states.values():
        return RunStatus.CANCELED if canceled else RunStatus.FAILED
    if canceled and (skip or any(state.broken for state in states.values())):
        return RunStatus.CANCELED
    if StepState.CANCELED in states.values():
        return RunStatus.CANCELED
    return RunStatus.FAILED if skip or StepState.SKIPPED in states.values() else RunStatus.COMPLETED
