"""The run of a pipeline (Azure ML: ``azureml.pipeline.core.PipelineRun``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.experiment_run import ExperimentRun
from batchmill.pipeline.run_facts import REUSED_RUN_ID, error_of, graph_of, label_of
from batchmill.pipeline.run_kinds import Labels, labels, run_of, wrapped
from batchmill.pipeline.run_status_words import has_ended, pipeline_word
from batchmill.pipeline.run_wait import (
    FOREVER,
    Patience,
    raise_failed,
    say,
    say_title,
    timed_out,
    told_error,
    unless_interrupted,
    wait_silently,
)
from batchmill.records import RunStatus
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.registered_run import NOT_STARTED, PIPELINE_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.graph import Graph
    from batchmill.pipeline.port import PortDataReference
    from batchmill.pipeline.published_pipeline import PublishedPipeline
    from batchmill.pipeline.step_run import StepRun
    from batchmill.workspace.workspace import Workspace

PORTAL = "Link to Azure Machine Learning Portal:"


class PipelineRun(ExperimentRun):
    """The run of a pipeline: its steps are runs of their own, below it.

    >>> run = PipelineRun(Experiment(ws, "digits"), run_id)               # doctest: +SKIP
    >>> run.wait_for_completion(show_output=False)                        # doctest: +SKIP
    'Finished'

    Raises:
        UserErrorException: the workspace has no run of that id, or it is no run of a pipeline.
    """

    def __init__(self, experiment: Experiment, run_id: str, **azure: Any) -> None:
        super().__init__(experiment, run_id)
        if self._kind != PIPELINE_RUN:
            raise UserErrorException(f"Run {run_id} is no run of a pipeline: its type is {self._kind}. Run.get gives it as what it is.")

    def get_status(self) -> str:
        """NotStarted, Running, Finished, Failed, Canceled, or NotResponding: its process has died (``batchmill resume``)."""
        return pipeline_word(self.row.live_status)

    # --- steps ---------------------------------------------------------------------------------------------------------------------

    def get_steps(self) -> Iterator[StepRun]:
        """Its step runs, newest first."""
        for row in self._steps():
            yield wrapped(self.experiment, row)  # type: ignore[misc]

    def _steps(self) -> list[RegisteredRun]:
        return self.workspace.registry.runs(parent=self.id, limit=None)

    def get_children(
        self, recursive: bool = False, tags: Labels = None, properties: Labels = None, type: str | None = None, status: str | None = None
    ) -> Iterator[ExperimentRun]:
        """Its step runs, newest first; ``status`` is a word of theirs."""
        rows = self.workspace.registry.runs(parent=self.id, tags=labels(tags), properties=labels(properties), kind=type, limit=None)
        for row in rows:
            run = wrapped(self.experiment, row)
            if status in (None, run.get_status(), run.status):
                yield run
            if recursive:
                yield from run.get_children(True, tags, properties, type, status)

    def find_step_run(self, name: str) -> list[StepRun]:
        """The step runs of that name, newest first; none where there is none."""
        return [step for step in self.get_steps() if step.name == name]

    def get_pipeline_output(self, pipeline_output_name: str) -> PortDataReference:
        """Where an output lies that was declared with ``pipeline_output_name``.

        Raises:
            ValueError: there is no such output.
        """
        graph = self.get_graph()
        known = {port.pipeline_output: (node, port.name) for node in graph.nodes for port in node.outputs if port.pipeline_output}
        if pipeline_output_name not in known:
            raise ValueError(f"Pipeline output with name {pipeline_output_name} does not exist; its outputs are {sorted(map(str, known))}.")
        node, port = known[pipeline_output_name]
        for step in self.get_steps():
            if step.node_id == node.id:
                return step.get_output_data(port)
        raise ValueError(f"Step {node.name}, which makes pipeline output {pipeline_output_name}, has not begun yet.")

    # --- the pipeline --------------------------------------------------------------------------------------------------------------

    def get_graph(self) -> Graph:
        """What it carries out.

        Raises:
            UserErrorException: the graph has been removed.
        """
        graph = graph_of(self.workspace, self.row)
        if graph is None:
            raise UserErrorException(f"The graph of run {self.id} is not in workspace {self.workspace.name} any more.")
        return graph

    def save(self, path: str | None = None) -> None:
        """Write the graph to ``<path or current folder>/<run id>.json``."""
        import json

        folder = Path(path or ".")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.id}.json").write_text(json.dumps(self.get_graph().to_dict(), indent=1), encoding="utf-8")

    def publish_pipeline(
        self, name: str, description: str, version: str | None, continue_on_step_failure: bool | None = None, **azure: Any
    ) -> PublishedPipeline:
        """Publish the pipeline as it ran."""
        from batchmill.pipeline.published_pipeline import publish_graph

        return publish_graph(
            self.workspace,
            self.get_graph(),
            name=name,
            description=description,
            version=version,
            continue_on_step_failure=continue_on_step_failure,
        )

    def say_submitted(self) -> None:
        """Print what Azure ML prints of a run that was submitted."""
        say(f"Submitted PipelineRun {self.id}")
        say(f"{PORTAL} {self.get_portal_url()}")

    # --- waiting -------------------------------------------------------------------------------------------------------------------

    def wait_for_completion(  # type: ignore[override] # Azure ML: it returns the status, where Run returns the details
        self, show_output: bool = True, timeout_seconds: float = FOREVER, raise_on_error: bool = True
    ) -> str:
        """Wait until it has ended, and return its status; with ``show_output`` its steps and their logs are printed, one after the other.

        Raises:
            ActivityFailedException: it failed, or its process has died, and ``raise_on_error`` is set.
            ExperimentExecutionException: Ctrl-C; the run goes on.
        """
        patience = Patience(timeout_seconds)
        with unless_interrupted("pipeline run", self.id):
            ended = self._show(patience) if show_output else wait_silently(lambda: self.row, patience)
        row = self.row
        status = pipeline_word(row.live_status)
        if not ended:
            timed_out(patience)
            return status
        if show_output:
            say_title("PipelineRun Execution Summary")
            say(f"PipelineRun Status: {status}")
            say(self.get_details())
            say()
        error = error_of(row)
        if error is not None and raise_on_error:
            raise_failed(error)
        if error is not None:
            say(f"Error:\n{told_error(error)}")
        return status

    def _show(self, patience: Patience) -> bool:
        """Print how it goes until it has ended; False where the patience ended first."""
        say(f"PipelineRunId: {self.id}")
        say(f"{PORTAL} {self.get_portal_url()}")
        told: str | None = None
        shown: set[str] = set()
        while True:
            row = self.row
            status, ended = pipeline_word(row.live_status), has_ended(row)
            if status != told and not ended:
                say(f"PipelineRun Status: {status}")
                told = status
            step = next((one for one in self._begun() if one.id not in shown), None)
            if step is not None:
                shown.add(step.id)
                say("\n")
                wrapped(self.experiment, step).show_until_end(patience)  # type: ignore[attr-defined]
            elif ended or patience.over():
                return ended
            else:
                patience.pause()

    def _begun(self) -> list[RegisteredRun]:
        """The step runs that have begun, in that order; those that were reused have no beginning of their own."""
        begun = [row for row in self._steps() if row.status != NOT_STARTED and not _never_began(row)]
        return sorted(begun, key=lambda row: (row.started or row.modified, row.created))

    # --- finding -------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> PipelineRun:
        """The pipeline run of that id.

        Raises:
            UserErrorException: there is none.
        """
        run = run_of(workspace, run_id)
        if not isinstance(run, PipelineRun):
            raise UserErrorException(f"Run {run_id} is no run of a pipeline: its type is {run.type}. Run.get gives it as what it is.")
        return run

    @staticmethod
    def get_pipeline_runs(workspace: Workspace, pipeline_id: str, _service_endpoint: Any = None) -> list[PipelineRun]:
        """The runs of a published pipeline, newest first."""
        from batchmill.pipeline.experiment import Experiment

        rows = workspace.registry.runs(kind=PIPELINE_RUN, limit=None)
        own = [row for row in rows if row.details.get("pipeline") == pipeline_id]
        return [wrapped(Experiment.named(workspace, row.experiment or Experiment.DEFAULT), row) for row in own]  # type: ignore[misc]


def _never_began(row: RegisteredRun) -> bool:
    ended = row.status in (RunStatus.CANCELED, RunStatus.FAILED)
    return row.started is None and ended and label_of(row, REUSED_RUN_ID) is None
