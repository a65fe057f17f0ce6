"""One run of an experiment as SDK v1 sees it (Azure ML: ``azureml.core.Run``); runs of pipelines and steps have classes of their own."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from batchmill.pipeline.run_artifacts import RunArtifacts
from batchmill.pipeline.run_facts import artifacts_of, details_of, error_of, folder_url
from batchmill.pipeline.run_files import RunFiles
from batchmill.pipeline.run_kinds import NO_RUN, Labels, labels, run_of, started_here, with_status_of_folder, wrapped
from batchmill.pipeline.run_status_words import has_ended, run_word
from batchmill.pipeline.run_wait import LogStream, Patience, raise_failed, say, say_title, told_error, unless_interrupted, wait_silently
from batchmill.records import RunStatus
from batchmill.worker.metric_log import IMAGE, MetricLog, metrics_of
from batchmill.worker.offline_run import OfflineRun
from batchmill.worker.step_questions import socket_path
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.registered_run import PARALLEL_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.workspace.workspace import Workspace

RUN_ID, WORKSPACE_NAME = "AZUREML_RUN_ID", "AZUREML_ARM_WORKSPACE_NAME"
DOCS = "docs/how-to/pipelines.md"
OPEN = ("NotStarted", RunStatus.QUEUED, RunStatus.RUNNING)


class ExperimentRun(MetricLog, RunFiles):
    """A run, by its id: a handle that any process may hold; what it says is what the registry holds now.

    >>> run = ExperimentRun.get(ws, run_id)           # doctest: +SKIP
    >>> run.get_status()                              # doctest: +SKIP
    'Completed'

    Raises:
        UserErrorException: the workspace of the experiment has no run of that id.
    """

    def __init__(self, experiment: Experiment, run_id: str, outputs: Any = None, **azure: Any) -> None:
        self._experiment = experiment
        self._id = str(run_id)
        self._kind = self.row.kind

    # --- what it is ----------------------------------------------------------------------------------------------------------------

    @property
    def row(self) -> RegisteredRun:
        """What the registry knows of it now."""
        found = self.workspace.registry.run(self._id)
        if found is None:
            raise UserErrorException(NO_RUN.format(self._id, self.workspace.name))
        return found if found.kind != PARALLEL_RUN else with_status_of_folder(found)

    @property
    def experiment(self) -> Experiment:
        return self._experiment

    @property
    def workspace(self) -> Workspace:
        return self._experiment.workspace

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        """Its name for people: of a step run that of the step."""
        return self.row.name

    @property
    def display_name(self) -> str:
        return self.row.name

    @property
    def description(self) -> str | None:
        return self.row.details.get("description")

    @property
    def type(self) -> str:
        """``azureml.PipelineRun``, ``azureml.StepRun``, ``azureml.scriptrun``, or ``parallel_run`` for one that ``batchmill run`` made."""
        return self._kind

    @property
    def number(self) -> int:
        """Its place among the runs of the experiment, from 1; runs with a parent are not counted."""
        row = self.row
        others = self.workspace.registry.runs(experiment=row.experiment, limit=None)
        return sum(one.parent is None and (one.created, one.id) <= (row.created, row.id) for one in others)

    @property
    def parent(self) -> ExperimentRun | None:
        """The run that it belongs to; None for others than step runs and child runs."""
        above = self.row.parent
        return None if above is None else run_of(self.workspace, above)

    @property
    def status(self) -> str:
        """As `get_status`."""
        return run_word(self.row)

    @property
    def artifacts(self) -> RunArtifacts:
        """Its files; of a step that was reused those of the run that stands for it."""
        return artifacts_of(self.workspace, self.row)

    def get_status(self) -> str:
        """Queued, NotStarted, Running, CancelRequested, Canceled, Completed, Failed or NotResponding (its process has died)."""
        return run_word(self.row)

    def get_detailed_status(self) -> dict[str, Any]:
        """Status and, where it waits, why."""
        row = self.row
        return {"status": run_word(row), "details": str(row.details.get("waiting_for") or ""), "error": row.error}

    def get_details(self) -> dict[str, Any]:
        """runId, target, status, times, properties, datasets, definition, log files (name -> URL), and ``error`` where there is one."""
        return details_of(self.workspace, self.row)

    def get_details_with_logs(self) -> dict[str, Any]:
        """As `get_details`, with the text of each log file in place of its URL."""
        told = self.get_details()
        artifacts = self.artifacts
        return told | {"logFiles": {name: (artifacts.read(name) or b"").decode("utf-8", "replace") for name in told["logFiles"]}}

    def get_portal_url(self) -> str:
        """Where to look: the folder of the run."""
        return folder_url(self.row)

    @classmethod
    def get_docs_url(cls) -> str:
        """Where it is described."""
        return DOCS

    # --- labels --------------------------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.row.tags)

    @property
    def properties(self) -> dict[str, str]:
        return dict(self.row.properties)

    def get_tags(self) -> dict[str, str]:
        return self.tags

    def get_properties(self) -> dict[str, str]:
        return self.properties

    def tag(self, key: str, value: str | None = None) -> None:
        """Give it a tag, or change the one of that name."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Add tags, or change those of the same names; the others stay."""
        self._change(tags={key: "" if value is None else value for key, value in tags.items()})

    def remove_tags(self, tags: str | Iterable[str]) -> dict[str, str]:
        """Take tags away; returns those that are left."""
        return dict(self._change(drop_tags=[tags] if isinstance(tags, str) else list(tags)).tags)

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties, which nobody can change afterwards.

        Raises:
            UserErrorException: it has one of them with another value.
        """
        there = self.row.properties
        for key, value in properties.items():
            if there.get(str(key), str(value)) != str(value):
                raise UserErrorException(f"Property {key} of run {self._id} is '{there[str(key)]}': properties cannot be changed.")
        self._change(properties=properties)

    def _change(self, **values: Any) -> RegisteredRun:
        return self.workspace.registry.change_run(self._id, **values) or self.row

    # --- metrics -------------------------------------------------------------------------------------------------------------------

    def _keep(self, name: str, kind: str, value: Any) -> None:
        self.workspace.registry.log_metric(self._id, name, kind, value)

    def log_image(self, name: str, path: str | os.PathLike[str] | None = None, plot: Any = None, description: str = "") -> None:
        """Upload an image file, or a plot of matplotlib as PNG, and log where it lies."""
        import io

        if (path is None) == (plot is None):
            raise UserErrorException("Give path or plot, one of them.")
        data: Any = path
        if plot is not None:
            data = io.BytesIO()
            plot.savefig(data, format="png")
            data.seek(0)
        (stored,) = self.upload_file(name if path is None or "." in name else f"{name}{os.path.splitext(path)[1]}", data)
        self._keep(name, IMAGE, f"aml://artifactId/ExperimentRun/dcid.{self._id}/{stored}")

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged: name -> value, list of values or table; with ``recursive`` run id -> that, for its children too."""
        found = metrics_of(self.workspace.registry.metrics(self._id), name)
        if not recursive:
            return found
        below = {child.id: child.get_metrics(name) for child in self.get_children(recursive=True, type=run_type)}
        return {self._id: found} | below

    def flush(self, timeout_seconds: int = 300) -> None:
        """What is logged is kept at once: nothing waits."""

    # --- its life ------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Say that it runs."""
        self._change(status=RunStatus.RUNNING)

    def complete(self, _set_status: bool = True) -> None:
        """Say that it has ended well; one that has ended already stays as it is."""
        self._change(status=RunStatus.COMPLETED, if_status=OPEN)

    def fail(self, error_details: Any = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """Say that it has failed, and why; one that has ended already stays as it is."""
        why = str(error_details) if error_details is not None else "The run was marked as failed."
        self._change(status=RunStatus.FAILED, error=f"{error_code}: {why}" if error_code else why, if_status=OPEN)

    def cancel(self) -> None:
        """Ask it to end as Canceled; one that has ended stays as it is."""
        row = self.row
        if row.kind == PARALLEL_RUN:
            from batchmill.parallel_run.run import Run

            Run.find(self._id).cancel()
        else:
            self.workspace.registry.request_cancel(self._id)

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: Any = None) -> ExperimentRun:
        """A run below this one, carried out by this process: end it with `complete` or `fail`."""
        return started_here(self.experiment, name or self.name, id=run_id, parent=self._id)

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until it has ended; returns `get_details`. With ``show_output`` its log is printed while it grows.

        Raises:
            ActivityFailedException: it failed, or its process has died, and ``raise_on_error`` is set.
            ExperimentExecutionException: Ctrl-C.
        """
        with unless_interrupted("run", self._id):
            if show_output:
                self._stream()
            else:
                wait_silently(lambda: self.row, Patience())
        told, error = self.get_details(), error_of(self.row)
        if error is not None and raise_on_error:
            raise_failed(error)
        if error is not None and show_output:
            say(f"Error:\n{told_error(error)}")
        return told

    def _stream(self) -> None:
        where = [f"RunId: {self._id}", f"Web View: {self.get_portal_url()}"]
        for line in where:
            say(line)
        patience, log = Patience(), LogStream(self.artifacts)
        while not has_ended(self.row):
            log.copy()
            patience.pause()
        log.copy(ended=True)
        say_title("Execution Summary")
        for line in where:
            say(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.complete() if error is None else self.fail(f"{type(error).__name__}: {error}")

    # --- finding -------------------------------------------------------------------------------------------------------------------

    def get_children(
        self, recursive: bool = False, tags: Labels = None, properties: Labels = None, type: str | None = None, status: str | None = None
    ) -> Iterator[ExperimentRun]:
        """The runs below it, newest first, each as the class of its kind."""
        found = self.workspace.registry.runs(parent=self._id, tags=labels(tags), properties=labels(properties), kind=type, limit=None)
        for row in found:
            if status in (None, run_word(row)):
                yield wrapped(self.experiment, row)
        if recursive:
            for row in self.workspace.registry.runs(parent=self._id, limit=None):
                yield from wrapped(self.experiment, row).get_children(True, tags, properties, type, status)

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> ExperimentRun:
        """The run of that id, as the class of its kind.

        Raises:
            UserErrorException: there is none.
        """
        return run_of(workspace, run_id)

    @staticmethod
    def list(
        experiment: Experiment,
        type: str | None = None,
        tags: Labels = None,
        properties: Labels = None,
        status: str | None = None,
        include_children: bool = False,
        _rest_results: bool = False,
    ) -> Iterator[ExperimentRun]:
        """The runs of an experiment, newest first, each as the class of its kind; ``status`` is a word of `get_status`."""
        rows = experiment.workspace.registry.runs(
            experiment=experiment.name, kind=type, tags=labels(tags), properties=labels(properties), limit=None
        )
        for row in rows:
            if (include_children or row.parent is None) and status in (None, run_word(row)):
                yield wrapped(experiment, row)

    @classmethod
    def get_context(cls, allow_offline: bool = True, used_for_context_manager: bool = False, **azure: Any) -> Any:
        """The run that this process works for; outside of one a run that prints what is logged.

        In a process that the script of a step has started, it asks the runner as the script itself does.

        Raises:
            UserErrorException: ``allow_offline`` is False and this process belongs to no run.
        """
        if socket_path() is not None:
            from batchmill.worker.script_run import run_of_script

            return run_of_script(allow_offline)
        mine, workspace = os.environ.get(RUN_ID), os.environ.get(WORKSPACE_NAME)
        if mine and workspace:
            from batchmill.workspace.workspace import Workspace

            with suppress(UserErrorException):  # a run of `batchmill run`, which the workspace need not know
                return run_of(Workspace.get(workspace), mine)
        if not allow_offline:
            raise UserErrorException(
                "This process belongs to no run: Run.get_context(allow_offline=False) works in the script of a step only."
            )
        return OfflineRun()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperimentRun) and other.id == self.id and other.workspace == self.workspace

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        row = self.row
        return f"Run(Experiment: {self.experiment.name},\nId: {self._id},\nType: {row.kind},\nStatus: {run_word(row)})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        row, url = self.row, html.escape(self.get_portal_url(), quote=True)
        cells = [*map(html.escape, (self.experiment.name, self._id, row.kind, run_word(row)))]
        cells += [f'<a href="{url}" target="_blank">Folder of the run</a>', html.escape(self.get_docs_url())]
        head = "".join(f"<th>{name}</th>" for name in ("Experiment", "Id", "Type", "Status", "Details Page", "Docs Page"))
        return f"<table><tr>{head}</tr><tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr></table>"


Run = ExperimentRun
"""Its name in SDK v1."""
