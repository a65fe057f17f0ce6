"""The run of one script (Azure ML: ``ScriptRun``): a pipeline of one step, whose run is that of the step as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.experiment_run import ExperimentRun
from batchmill.pipeline.run_kinds import wrapped
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.registered_run import SCRIPT_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.graph import Graph
    from batchmill.workspace.run_configuration import ScriptRunConfig


class ScriptRun(ExperimentRun):
    """The run of a script, or one that a process carries out itself (`Experiment.start_logging`)."""


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
    given: dict[str, Any] = {
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
