"""Where and in what a script step runs: compute target, environment, number of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchmill.pipeline.graph import Value
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.workspace.environment import Environment
from batchmill.workspace.run_configuration import DEFAULT_NAME, LOCAL, RunConfiguration, ScriptRunConfig

NODE_COUNT = "NodeCount"
RUNCONFIG_PARAMETERS = (NODE_COUNT, "MpiProcessCountPerNode", "TensorflowWorkerCount", "TensorflowParameterServerCount")
"""What ``runconfig_pipeline_params`` may set; only the first means something for one script."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a script step is started; the fields are those of `batchmill.pipeline.graph.Node`, and the parameters among them."""

    compute: str | None = None
    environment: dict[str, Any] | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    node_count: Value = 1
    timeout: float | None = None
    parameters: tuple[PipelineParameter, ...] = ()


def launch_of(compute_target: Any, runconfig: Any, runconfig_pipeline_params: Any) -> Launch:
    """From the arguments of a step of these names; ``compute_target`` goes before the target of ``runconfig``.

    Raises:
        ValueError: there is no compute target, or an argument is not what it may be.
    """
    configuration = runconfig.run_config if isinstance(runconfig, ScriptRunConfig) else runconfig
    if configuration is not None and not isinstance(configuration, RunConfiguration):
        raise ValueError(f"runconfig is a RunConfiguration, not {type(configuration).__name__}.")
    if compute_target is None and configuration is None:
        raise ValueError("compute target is required")
    configuration = configuration or RunConfiguration()
    compute = compute_name(compute_target if compute_target is not None else configuration.target)
    parameters = _parameters(runconfig_pipeline_params)
    counted = parameters.get(NODE_COUNT)
    return Launch(
        compute,
        _environment(configuration.environment),
        dict(configuration.environment_variables),
        configuration.node_count if counted is None else counted.reference,
        configuration.max_run_duration_seconds,
        tuple(parameters.values()),
    )


def compute_name(compute_target: Any) -> str | None:
    """The name of a compute target given as an object, a name or a tuple of name and type; None for this machine.

    Raises:
        ValueError: it is none of these.
    """
    found = compute_target[0] if isinstance(compute_target, tuple) and len(compute_target) == 2 else compute_target
    name = found if isinstance(found, str) else getattr(found, "name", None)
    if not isinstance(name, str):
        raise ValueError(f"The compute target of a step is a compute target, its name or a tuple of name and type, not {compute_target!r}.")
    if not name:
        raise ValueError("compute target is required")
    return None if name == LOCAL else name


def _environment(environment: Environment) -> dict[str, Any] | None:
    """None for one that nobody has described: the step runs in this interpreter."""
    found = environment.to_dict()
    return None if found == Environment(DEFAULT_NAME).to_dict() else found


def _parameters(given: Any) -> dict[str, PipelineParameter]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(value, PipelineParameter) for value in given.values()):
        raise ValueError("runconfig_pipeline_params is a mapping of names to PipelineParameter.")
    for name in given:
        if name not in RUNCONFIG_PARAMETERS:
            raise ValueError(f"runconfig_pipeline_params cannot set {name!r}, only {', '.join(RUNCONFIG_PARAMETERS)}.")
    return dict(given)
