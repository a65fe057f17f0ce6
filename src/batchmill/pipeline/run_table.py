"""The steps of a run as a table that changes while the run goes on: for terminals (Rich) and for notebooks (HTML)."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from batchmill.records import RunStatus
from batchmill.workspace.registered_run import NOT_STARTED

if TYPE_CHECKING:
    from batchmill.pipeline.run_report import RunReport, StepReport

HEAD = ("STEP", "STATUS", "TIME", "")
COLOURS = {
    NOT_STARTED: "dim",
    RunStatus.QUEUED.value: "cyan",
    RunStatus.RUNNING.value: "cyan",
    RunStatus.COMPLETED.value: "green",
    RunStatus.FAILED.value: "red",
    RunStatus.CANCELED.value: "yellow",
    RunStatus.INTERRUPTED.value: "yellow",
}


def title_of(report: RunReport) -> str:
    """``Run ID (name): Running, 1 of 3 steps, 0:12``."""
    done = sum(step.status == RunStatus.COMPLETED for step in report.steps)
    steps = f", {done} of {len(report.steps)} steps" if report.steps else ""
    return f"Run {report.id} ({report.name}): {report.status}{steps}{', ' + clock(report.seconds) if report.seconds is not None else ''}"


def terminal_table(report: RunReport) -> Any:
    """For Rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in HEAD:
        table.add_column(name, justify="right" if name == "TIME" else "left", overflow="fold" if not name else "ellipsis")
    for step in report.steps:
        table.add_row(Text(step.name), Text(status_text(step), style=COLOURS.get(step.status, "")), _time(step), Text(step.remark))
    return Group(Text(title_of(report)), table)


def html_table(report: RunReport) -> str:
    """For notebooks."""
    head = "".join(f"<th style='text-align:left'>{name.title()}</th>" for name in HEAD)
    rows = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in ((step.name, status_text(step), _time(step), step.remark) for step in report.steps)
    )
    error = f"<p>{html.escape(report.error)}</p>" if report.error else ""
    return f"<div><p>{html.escape(title_of(report))}</p><table><tr>{head}</tr>{rows}</table>{error}</div>"


def status_text(step: StepReport) -> str:
    """The status; of a step that was not run again, that too."""
    return f"{step.status} (reused)" if step.reused_run else step.status


def clock(seconds: float | None) -> str:
    """``0:07``, ``1:02:03``.

    >>> clock(7.4), clock(3723)
    ('0:07', '1:02:03')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _time(step: StepReport) -> str:
    return "" if step.reused_run else clock(step.seconds)
