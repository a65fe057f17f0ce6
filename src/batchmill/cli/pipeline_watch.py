"""A run of a pipeline followed to its end by a command: a table of its steps on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from batchmill.cli.found_run import WorkspaceRun
from batchmill.cli.pipeline_report import next_steps, report
from batchmill.cli.tables import print_json
from batchmill.cli.terminal import is_terminal, show_error, table, tell
from batchmill.pipeline.run_report import RunReport
from batchmill.pipeline.run_status_words import has_ended
from batchmill.pipeline.run_table import clock, status_text, terminal_table
from batchmill.records import RunStatus

LOOK_EVERY = 0.3
INTERRUPTED = 130


class Shown(Protocol):
    """What a person sees meanwhile."""

    def see(self, told: RunReport) -> None:
        """It stands like this now."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Nothing:
    """``--quiet``."""

    def see(self, told: RunReport) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line for each step whose status has changed."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def see(self, told: RunReport) -> None:
        for step in told.steps:
            text = status_text(step)
            if text != self._told.get(step.id) and text != "NotStarted":
                tell(f"step {step.name}: {text}{f' ({step.remark})' if step.remark else ''}")
            self._told[step.id] = text

    def close(self) -> None:
        pass


class Table:
    """The steps, drawn anew a few times a second."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live: Any = Live(console=Console(stderr=True), auto_refresh=False)
        self._live.start()

    def see(self, told: RunReport) -> None:
        self._live.update(terminal_table(told), refresh=True)

    def close(self) -> None:
        self._live.stop()


def follow(run: WorkspaceRun, *, quiet: bool, as_json: bool) -> int:
    """Watch it to its end; returns the exit code."""
    shown: Shown = Nothing() if quiet else Table() if is_terminal(sys.stderr) else Lines()
    try:
        while True:
            ended = has_ended(run.row)
            told = report(run)
            shown.see(told)
            if ended:
                break
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        shown.close()
        tell(f"Run {run.id} goes on. Stop it: batchmill runs cancel {run.id}")
        return INTERRUPTED
    finally:
        shown.close()
    return end(told, quiet=quiet, as_json=as_json)


def end(told: RunReport, *, quiet: bool = False, as_json: bool = False) -> int:
    """Say how it ended; returns the exit code."""
    who = f"Run {told.id} ({told.name})"
    if told.status == RunStatus.FAILED:
        show_error(f"{who} failed: {told.error or 'no reason was recorded'}")
    elif told.status != RunStatus.COMPLETED or not quiet:
        tell(f"{who}: {told.status}{f' in {clock(told.seconds)}' if told.seconds is not None else ''}.")
    if not quiet:
        steps = next_steps(told)
        for line in table(steps) if steps else ():
            tell("  " + line)
    if as_json:
        print_json(told.as_dict())
    return {RunStatus.COMPLETED.value: 0, RunStatus.INTERRUPTED.value: INTERRUPTED}.get(told.status, 1)
