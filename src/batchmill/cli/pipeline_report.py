"""A run of a pipeline as commands print it: its facts, its steps, and what to do next."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from batchmill.cli.found_run import WorkspaceRun
from batchmill.cli.terminal import COLOURS, short_path, styled, table
from batchmill.pipeline.run_report import RunReport, StepReport, report_of, step_report
from batchmill.pipeline.run_table import clock, status_text
from batchmill.records import RunStatus
from batchmill.workspace.registered_run import STEP_RUN

KIND_WORDS = {"azureml.PipelineRun": "pipeline", "azureml.scriptrun": "script", "azureml.StepRun": "step", "parallel_run": "parallel"}


def report(run: WorkspaceRun) -> RunReport:
    """How it stands now; a step run stands as a run whose one step it is."""
    from dataclasses import replace

    row = run.row
    made = report_of(run.workspace, row)
    return replace(made, steps=(step_report(row, datetime.now(UTC)),)) if row.kind == STEP_RUN else made


def print_report(run: WorkspaceRun) -> None:
    """What ``runs show`` prints."""
    told = report(run)
    facts: list[list[str]] = [
        ["run", told.id],
        ["kind", KIND_WORDS.get(told.kind, told.kind)],
        ["name", told.name],
        ["experiment", told.experiment or ""],
        ["status", coloured(told.status)],
        ["error", styled(told.error, sys.stdout, fg="red") if told.error else ""],
        ["source", told.source if told.source and told.source != "SDK" else ""],
        ["pipeline", told.pipeline or ""],
        ["started", _local(told.started)],
        ["ended", _local(told.ended)],
        ["parameters", ", ".join(f"{name}={_shown(value)}" for name, value in told.parameters.items())],
        ["tags", ", ".join(f"{name}={value}" for name, value in told.tags.items())],
        ["folder", short_path(told.folder) if told.folder else ""],
    ]
    for line in table([row for row in facts if row[1]], left=len("mini-batches")):
        print(line)
    if told.kind != STEP_RUN and told.steps:
        print()
        print_steps(told)
    steps = next_steps(told)
    if steps:
        print()
        for line in table(steps, left=len("mini-batches")):
            print(line)


def print_steps(told: RunReport) -> None:
    """One line for each step: status, duration, id, and what there is to say of it."""
    head = [styled(word, sys.stdout, dim=True) for word in ("STEP", "STATUS", "TIME", "ID", "")]
    rows = [[step.name, coloured(step.status, status_text(step)), _time(step), step.id, step.remark] for step in told.steps]
    for line in table([head, *rows], right=(2,)):
        print(line)


def next_steps(told: RunReport) -> list[list[str]]:
    """Commands that help from here, each with what it is for."""
    steps = []
    if any(step.status == RunStatus.FAILED for step in told.steps):
        steps.append(["errors", f"batchmill runs errors {told.id}"])
        failed = next(step for step in told.steps if step.status == RunStatus.FAILED)
        steps.append(["logs", f"batchmill runs logs {told.id} --step {_quoted(failed.name)}" if told.kind != STEP_RUN else ""])
    if told.status in (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.INTERRUPTED) and told.kind != STEP_RUN:
        steps.append(["resume", f"batchmill resume {told.id}"])
    return [step for step in steps if step[1]]


def coloured(status: str, text: str | None = None) -> str:
    """The status, or a text about it, in the colour of the status."""
    colour = COLOURS[RunStatus(status)] if status in list(RunStatus) else None
    return styled(text or status, sys.stdout, **({"fg": colour} if colour else {"dim": True}))


def _time(step: StepReport) -> str:
    return "" if step.reused_run else clock(step.seconds)


def _local(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _shown(value: object) -> str:
    """A value of a parameter: a dataset by its name or id, a path with its datastore."""
    if isinstance(value, dict) and "definition" in value:
        return str(value.get("name") or value.get("id"))
    if isinstance(value, dict) and "datastore" in value:
        return f"{value['datastore']}/{value.get('path') or ''}"
    return str(value)


def _quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)
