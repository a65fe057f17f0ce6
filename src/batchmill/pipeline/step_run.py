"""The run of one step of a pipeline (Azure ML: ``azureml.pipeline.core.StepRun``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchmill.pipeline.experiment_run import ExperimentRun
from batchmill.pipeline.run_artifacts import RunArtifacts
from batchmill.pipeline.run_facts import NODE_ID, PIPELINE_ID, error_of, label_of, places_of
from batchmill.pipeline.run_status_words import WAITING, has_ended, step_word
from batchmill.pipeline.run_wait import (
    FOREVER,
    LogStream,
    Patience,
    raise_failed,
    say,
    say_title,
    timed_out,
    told_error,
    unless_interrupted,
    wait_silently,
)
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.registered_run import STEP_RUN

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.port import PortDataReference, StepRunOutput

PORTAL = "Link to Azure Machine Learning Portal:"
TOLD = ("reused", "runs again")
"""How the reasons begin that are printed: not those of a first run."""
STDOUT = ("user_logs/std_log.txt", "azureml-logs/70_driver_log.txt")
STDERR = ("user_logs/std_err.txt", "logs/user/error.txt")


class StepRun(ExperimentRun):
    """The run of a step, below the run of its pipeline.

    >>> (step,) = pipeline_run.find_step_run("score")                     # doctest: +SKIP
    >>> step.get_output_data("scores").download("results")                # doctest: +SKIP

    Raises:
        UserErrorException: the workspace has no run of that id, or it is no run of a step.
    """

    def __init__(
        self, experiment: Experiment, step_run_id: str, pipeline_run_id: str | None = None, node_id: str | None = None, **azure: Any
    ) -> None:
        super().__init__(experiment, step_run_id)
        if self._kind != STEP_RUN:
            raise UserErrorException(f"Run {step_run_id} is no run of a step: its type is {self._kind}. Run.get gives it as what it is.")

    @property
    def pipeline_run_id(self) -> str:
        """The id of the run of its pipeline."""
        row = self.row
        return label_of(row, PIPELINE_ID) or row.parent or ""

    @property
    def node_id(self) -> str | None:
        """The id of its node in the graph of the pipeline."""
        return label_of(self.row, NODE_ID)

    def get_status(self) -> str:
        """NotStarted, Queued, Running, Finished, Failed, Canceled, or NotResponding: its process has died (``batchmill resume``)."""
        return step_word(self.row.live_status)

    # --- outputs -------------------------------------------------------------------------------------------------------------------

    def get_outputs(self) -> dict[str, StepRunOutput]:
        """Its outputs: name -> output."""
        from batchmill.pipeline.port import StepRunOutput

        places = places_of(self.workspace, self.row)
        return {name: StepRunOutput(self.workspace, name, place["datastore"], place["path"]) for name, place in places.items()}

    def get_output(self, name: str) -> StepRunOutput:
        """The output of that name.

        Raises:
            ValueError: it has none.
        """
        outputs = self.get_outputs()
        if name not in outputs:
            raise ValueError(f"Step {self.name} has no output {name}; its outputs are {', '.join(sorted(outputs)) or 'none'}.")
        return outputs[name]

    def get_output_data(self, name: str) -> PortDataReference:
        """Where the output of that name lies.

        Raises:
            ValueError: it has none.
        """
        return self.get_output(name).get_port_data_reference()

    # --- logs ----------------------------------------------------------------------------------------------------------------------

    def get_stdout_log(self) -> str | None:
        """What its script has printed; None where there is no log."""
        return self._log(STDOUT)

    def get_stderr_log(self) -> str | None:
        """What it has written to stderr, where that is kept apart from stdout (of script steps it is in `get_stdout_log`), else None."""
        return self._log(STDERR)

    def get_job_log(self) -> str | None:
        """What is known of how it was carried out: the progress of a parallel run, else what its script has printed."""
        names = [name for name in self.get_file_names() if name.startswith("logs/job_progress_overview.")]
        return self._log(names) or self._log(STDOUT)

    def _log(self, names: Any) -> str | None:
        artifacts = self.artifacts
        found = [data for data in map(artifacts.read, names) if data is not None]
        return b"".join(found).decode("utf-8", "replace") if found else None

    # --- waiting -------------------------------------------------------------------------------------------------------------------

    def wait_for_completion(  # type: ignore[override] # Azure ML: it returns the status, where Run returns the details
        self, show_output: bool = True, timeout_seconds: float = FOREVER, raise_on_error: bool = True
    ) -> str:
        """Wait until it has ended, and return its status; with ``show_output`` its log is printed while it grows.

        Raises:
            ActivityFailedException: it failed, or its process has died, and ``raise_on_error`` is set.
            ExperimentExecutionException: Ctrl-C; the run goes on.
        """
        patience = Patience(timeout_seconds)
        with unless_interrupted("step run", self.id):
            ended = self.show_until_end(patience) if show_output else wait_silently(lambda: self.row, patience)
        row = self.row
        if not ended:
            timed_out(patience)
            return step_word(row.live_status)
        error = error_of(row)
        if error is not None and raise_on_error:
            raise_failed(error)
        if error is not None:
            say(f"Error:\n{told_error(error)}")
        return step_word(row.live_status)

    def show_until_end(self, patience: Patience) -> bool:
        """Print how it goes until it has ended; False where the patience ended first."""
        row = self.row
        say(f"StepRunId: {self.id}")
        say(f"{PORTAL} {self.get_portal_url()}")
        told: str | None = None
        log = LogStream(RunArtifacts(self.workspace, self.id, row.folder))  # of a reused step nothing is printed again
        while not has_ended(row) and not patience.over():
            status = step_word(row.live_status)
            if status != told and status in WAITING:
                say(f"StepRun( {row.name} ) Status: {status}")
                told = status
            log.copy()
            patience.pause()
            row = self.row
        if not has_ended(row):
            return False
        log.copy(ended=True)
        reuse = str(row.details.get("reuse") or "")
        if reuse.startswith(TOLD):
            say(f"StepRun( {row.name} ) {reuse}")
        say_title(f"StepRun({row.name}) Execution Summary")
        say(f"StepRun( {row.name} ) Status: {step_word(row.live_status)}")
        say(self.get_details())
        say()
        return True
