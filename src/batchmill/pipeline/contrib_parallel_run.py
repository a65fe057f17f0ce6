"""`ParallelRunConfig` and `ParallelRunStep` as they were in Azure ML's contrib package until 2020 (``azureml.contrib.pipeline.steps``)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

from batchmill.pipeline import parallel_run_config, parallel_run_step
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.workspace.compute import AmlCompute
from batchmill.workspace.model import Model

if TYPE_CHECKING:
    from batchmill.workspace.environment import Environment

NAME = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
SHORTEST, LONGEST = 3, 32
PREFIX = "aml_"
OVERRIDABLE = (
    "node_count",
    "process_count_per_node",
    "mini_batch_size",
    "error_threshold",
    "logging_level",
    "run_invocation_timeout",
)
"""What that version made a parameter of the pipeline of, by itself: ``aml_node_count`` and so on."""

FILES_PER_MINI_BATCH, BYTES_PER_MINI_BATCH = 10, 1 << 20


class ParallelRunConfig(parallel_run_config.ParallelRunConfig):
    """The settings of a parallel run; ``mini_batch_size`` is a text here. What later versions added may be given by keyword.

    Raises:
        ValueError: a value cannot be meant; with the texts of the contrib package.
        Exception: the compute target is none that parallel runs take.
    """

    def __init__(
        self,
        environment: Environment,
        entry_script: str,
        error_threshold: int,
        output_action: str,
        compute_target: Any,
        node_count: int,
        process_count_per_node: int | None = None,
        mini_batch_size: str | None = None,
        source_directory: str | os.PathLike[str] | None = None,
        description: str | None = None,
        logging_level: str = "INFO",
        run_invocation_timeout: int = 60,
        input_format: str | None = None,
        append_row_file_name: str | None = None,
        **later: Any,
    ) -> None:
        if not isinstance(error_threshold, int) or error_threshold < -1:
            raise ValueError("Parameter error_threshold must be an int value greater than or equal to -1")
        if mini_batch_size is not None and not isinstance(mini_batch_size, str):
            raise ValueError("Parameter mini_batch_size must be of type str.")
        _check_compute(compute_target, node_count)
        super().__init__(
            environment,
            entry_script,
            error_threshold,
            output_action,
            compute_target,
            node_count,
            process_count_per_node=process_count_per_node,
            mini_batch_size=mini_batch_size,
            source_directory=None if source_directory is None else os.fspath(source_directory),
            description=description,
            logging_level=logging_level,
            run_invocation_timeout=run_invocation_timeout,
            append_row_file_name=append_row_file_name,
            **later,
        )
        self.input_format = input_format


def _check_compute(compute_target: Any, node_count: Any) -> None:
    if compute_target is None or isinstance(compute_target, str):
        return
    if not isinstance(compute_target, AmlCompute):
        kind = getattr(compute_target, "type", type(compute_target).__name__)
        raise Exception(
            f"Compute compute_target {kind} is not supported in ParallelRunStep. AmlCompute is the only supported compute_target."
        )
    most = compute_target.scale_settings.maximum_node_count
    if isinstance(node_count, int) and not 1 <= node_count <= most:
        raise ValueError(f"Parameter node_count must be between 1 and max_nodes {most}")


class ParallelRunStep(parallel_run_step.ParallelRunStep):
    """Runs an entry script over its inputs. ``models`` are objects or names, and only said to be used.

    Numbers of the configuration become parameters of the pipeline by themselves (``aml_node_count``, ``aml_process_count_per_node``,
    ``aml_mini_batch_size``, ``aml_error_threshold``, ``aml_logging_level``, ``aml_run_invocation_timeout``).

    Raises:
        Exception: the name may not be used, or as of `batchmill.pipeline.parallel_run_step.ParallelRunStep`.
    """

    def __init__(
        self,
        name: str,
        parallel_run_config: parallel_run_config.ParallelRunConfig,
        inputs: list[Any] | None = None,
        output: Any = None,
        side_inputs: list[Any] | None = None,
        models: list[Any] | None = None,
        arguments: list[Any] | None = None,
        allow_reuse: bool = True,
        tags: dict[str, str] | None = None,
        properties: dict[str, str] | None = None,
        *,
        reuse: Literal["step", "mini_batch"] = "step",
    ) -> None:
        if not isinstance(name, str) or not SHORTEST <= len(name) <= LONGEST:
            raise Exception(f"Step name must have {SHORTEST}-{LONGEST} characters")
        if NAME.fullmatch(name) is None:
            raise Exception(f"Step name must follow regex rule {NAME.pattern}")
        self._models = tuple(_model_text(model) for model in models or ())
        self.tags, self.properties = dict(tags or {}), dict(properties or {})
        super().__init__(
            name,
            parallel_run_config,
            inputs if inputs is not None else [],
            output,
            side_inputs,
            arguments,
            allow_reuse,
            reuse=reuse,
        )

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, with their versions where they have one."""
        return self._models

    def _settings(self, config: parallel_run_config.ParallelRunConfig) -> dict[str, Any]:
        values = super()._settings(config)
        if values["mini_batch_size"] is None and values["partition_keys"] is None:
            values["mini_batch_size"] = BYTES_PER_MINI_BATCH if self.of_tables else FILES_PER_MINI_BATCH
        for name in OVERRIDABLE:
            if values[name] is not None and not isinstance(values[name], PipelineParameter):
                values[name] = PipelineParameter(f"{PREFIX}{name}", values[name])
        return values


def _model_text(model: Any) -> str:
    if isinstance(model, str):
        return model
    if not isinstance(model, Model):
        raise ValueError(f"models are models or names of models, not {type(model).__name__}.")
    return f"{model.name}:{model.version}"
