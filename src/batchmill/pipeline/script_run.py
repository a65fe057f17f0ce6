"""The run of one script (Azure ML: ``ScriptRun``), carried out as a pipeline of one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.experiment_run import ExperimentRun
from batchmill.pipeline.run_artifacts import RunArtifacts
from batchmill.pipeline.run_kinds import wrapped
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.registered_run import SCRIPT_RUN, STEP_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.graph import Graph
    from batchmill.workspace.run_configuration import ScriptRunConfig


class ScriptRun(ExperimentRun):
    """The run of a script. What the script logs and leaves is that of the step below it, and shown here."""

    @property
    def step(self) -> ExperimentRun | None:
        """The step that carries out the script; None before it begins, and for a run that a process carries out itself."""
        rows = self.workspace.registry.runs(parent=self.id, kind=STEP_RUN, limit=1)
        return wrapped(self.experiment, rows[0]) if rows else None

    @property
    def artifacts(self) -> RunArtifacts:
        step = self.step
        return super().artifacts if step is None else step.artifacts

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged, by the script as well."""
        step = self.step
        inner = {} if step is None or recursive else step.get_metrics(name)
        return inner | super().get_metrics(name, recursive, run_type, populate)


def submit_script(config: ScriptRunConfig, experiment: Experiment, *, tags: Mapping[str, Any] | None = None, **azure: Any) -> ScriptRun:
    """Start a script in a process of its own; returns at once.

    Raises:
        UserErrorException: there is no script or command.
        ValueError: the script is not there, or an argument cannot be used.
        ComputeTargetException: there is no such compute target.
    """
    from batchmill.pipeline.submission import submit_graph, with_snapshots

    workspace = experiment.workspace
    row: RegisteredRun = submit_graph(
        workspace, with_snapshots(workspace, _graph(config, experiment)), experiment.name, tags=tags, kind=SCRIPT_RUN
    )
    run = wrapped(experiment, row)
    assert isinstance(run, ScriptRun)
    return run


def _graph(config: ScriptRunConfig, experiment: Experiment) -> Graph:
    from batchmill.pipeline.pipeline import Pipeline

    return Pipeline(experiment.workspace, [_step(config)]).graph


def _step(config: ScriptRunConfig) -> Any:
    """The script, or the command, as a step that is never reused."""
    given = {
        "compute_target": config.run_config.target,
        "runconfig": config.run_config,
        "source_directory": config.source_directory,
        "allow_reuse": False,
    }
    if config.command is not None:
        from batchmill.pipeline.command_step import CommandStep

        return CommandStep(command=config.command, **given)
    if not config.script:
        raise UserErrorException("A ScriptRunConfig needs script or command, and has neither.")
    from batchmill.pipeline.python_script_step import PythonScriptStep

    return PythonScriptStep(script_name=config.script, arguments=list(config.arguments), **given)
