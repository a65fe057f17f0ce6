"""`RunDetails`: a run and its steps, shown while they go on (Azure ML: ``azureml.widgets``)."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.run_report import RunReport, report_of
from batchmill.pipeline.run_status_words import has_ended
from batchmill.pipeline.run_table import html_table, terminal_table, title_of
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.pipeline.experiment_run import ExperimentRun

EVERY = 0.5  # seconds


class RunDetails:
    """Shows a run: a table that follows it in a notebook and on a terminal, one line elsewhere.

    >>> RunDetails(run).show()      # doctest: +SKIP

    Raises:
        UserErrorException: ``run_instance`` is no run.
    """

    def __init__(self, run_instance: ExperimentRun) -> None:
        from batchmill.pipeline.experiment_run import ExperimentRun

        if not isinstance(run_instance, ExperimentRun):
            raise UserErrorException(f"RunDetails shows a run of an experiment, not an object of type {type(run_instance).__name__}.")
        self.run_instance = run_instance

    def show(self, render_lib: Any = None, widget_settings: dict[str, Any] | None = None) -> None:
        """Show the run: in a notebook and return at once; on a terminal until it has ended (Ctrl-C: until then); elsewhere one line."""
        if _notebook():
            self._show_in_notebook()
        elif sys.stdout.isatty():
            self._show_on_terminal()
        else:
            report = self._report()
            print(f"{title_of(report)}. Look at it: batchmill runs show {report.id}", flush=True)  # noqa: T201 - what it is for

    def get_widget_data(self, widget_settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is shown, as a dict: ``status``, ``run_id``, ``run_properties``, ``child_runs``, ``run_metrics`` and more."""
        run, report = self.run_instance, self._report()
        children: list[dict[str, Any]] = [
            {
                "run_id": step.id,
                "name": step.name,
                "status": step.status,
                "start_time": _iso(step.started),
                "end_time": _iso(step.ended),
                "duration": step.seconds,
                "error": step.error,
                "remark": step.remark,
                "is_reused": step.reused_run is not None,
            }
            for step in report.steps
        ]
        facts = {"run_id": report.id, "name": report.name, "type": report.kind, "start_utc": _iso(report.started)}
        return {
            "status": run.get_status(),
            "run_id": report.id,
            "run_name": report.name,
            "run_properties": facts | {"end_utc": _iso(report.ended), "duration": report.seconds, "properties": report.properties},
            "child_runs": children,
            "run_metrics": run.get_metrics(),
            "error": report.error,
            "workbench_run_url": run.get_portal_url(),
        }

    def _report(self) -> RunReport:
        return report_of(self.run_instance.workspace, self.run_instance.row)

    def _show_on_terminal(self) -> None:
        from rich.console import Console
        from rich.live import Live

        try:
            with Live(terminal_table(self._report()), console=Console(), auto_refresh=False) as live:
                while True:
                    ended = has_ended(self.run_instance.row)
                    live.update(terminal_table(self._report()), refresh=True)
                    if ended:
                        return
                    time.sleep(EVERY)
        except KeyboardInterrupt:
            print(f"Run {self.run_instance.id} goes on.", flush=True)  # noqa: T201

    def _show_in_notebook(self) -> None:
        import IPython.display as shown  # type: ignore[import-not-found] # there in every kernel

        handle = shown.display(shown.HTML(html_table(self._report())), display_id=True)

        def follow() -> None:
            while handle is not None and not has_ended(self.run_instance.row):
                time.sleep(EVERY)
                handle.update(shown.HTML(html_table(self._report())))

        threading.Thread(target=follow, name=f"run-details-{self.run_instance.id}", daemon=True).start()


class ParallelRunStepDetails(RunDetails):
    """Shows the run of a parallel step (Azure ML: ``azureml.widgets.ParallelRunStepDetails``): by the object, or by ids and names.

    Raises:
        UserErrorException: neither a run is given nor what it is found by.
    """

    def __init__(
        self,
        run_instance: ExperimentRun | None = None,
        step_name: str | None = None,
        workspace: Any = None,
        run_id: str | None = None,
        step_run_id: str | None = None,
    ) -> None:
        from batchmill.pipeline.run_kinds import run_of

        run: Any = run_instance
        if run is None and workspace is not None and (step_run_id or run_id):
            run = run_of(workspace, str(step_run_id or run_id))
        if run is None:
            raise UserErrorException("Give run_instance, or workspace with run_id or step_run_id.")
        if step_name is not None:
            steps = [step for step in run.get_children() if step.name == step_name]
            if not steps:
                raise UserErrorException(f"Run {run.id} has no step called {step_name}.")
            run = steps[0]
        super().__init__(run)


def _notebook() -> bool:
    """Whether this is a kernel of Jupyter; IPython on a terminal is a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()
