"""`ParallelRunConfig`: how a parallel run works: script, environment, nodes, sizes, thresholds (Azure ML: ``azureml.pipeline.steps``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.parallel_run_rules import (
    APPEND_ROW,
    EXCLUSIVE,
    check_environment,
    check_file_name,
    check_output_action,
    check_partition_keys,
    check_percent,
    check_threshold,
    checked_gpu_share,
    checked_node_count,
    checked_size,
    positive,
)

if TYPE_CHECKING:
    from batchmill.pipeline.parameter import PipelineParameter
    from batchmill.workspace.compute import AmlCompute
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.workspace import Workspace

RUN_INVOCATION_TIMEOUT, RUN_MAX_TRY = 60, 3


class ParallelRunConfig:
    """The settings of a `ParallelRunStep`; every argument can be read as an attribute.

    ``mini_batch_size``: files, or bytes of table text (``"1MB"``), or rows of a table (``"500rows"``); kept as a number.
    ``isolate_failures`` (not in Azure ML): whether a mini-batch that failed all its tries is bisected until only its bad items fail.
    ``gpus_per_process`` (not in Azure ML): how much of a GPU each process gets, 0.5 puts two on each; None is Azure ML's rule, one each
    while there are any.
    A `PipelineParameter` may stand for mini_batch_size, partition_keys (JSON text), node_count, process_count_per_node,
    run_invocation_timeout, run_max_try and logging_level. Numbers may come as digits, as ``os.environ`` has them.

    Raises:
        ValueError: a value cannot be meant (texts: specification B1).
        TypeError: a number is none.
    """

    def __init__(
        self,
        environment: Environment,
        entry_script: str,
        error_threshold: int,
        output_action: str,
        compute_target: AmlCompute | str | None,
        node_count: int | PipelineParameter,
        process_count_per_node: int | PipelineParameter | None = None,
        mini_batch_size: int | str | PipelineParameter | None = None,
        source_directory: str | None = None,
        description: str | None = None,
        logging_level: str | PipelineParameter | None = "INFO",
        run_invocation_timeout: int | PipelineParameter | None = 60,
        run_max_try: int | PipelineParameter | None = 3,
        append_row_file_name: str | None = None,
        allowed_failed_count: int | None = None,
        allowed_failed_percent: float | None = None,
        partition_keys: list[str] | PipelineParameter | None = None,
        environment_variables: dict[str, str] | None = None,
        *,
        isolate_failures: bool = True,
        gpus_per_process: float | None = None,
    ) -> None:
        self.environment = check_environment(environment)
        self.output_action = check_output_action(output_action)
        self._take_thresholds(error_threshold, allowed_failed_count, allowed_failed_percent)
        if mini_batch_size is not None and partition_keys is not None:
            raise ValueError(EXCLUSIVE)
        self.mini_batch_size = checked_size(mini_batch_size)
        check_partition_keys(partition_keys)
        self.partition_keys = partition_keys
        self.process_count_per_node = positive("process_count_per_node", process_count_per_node)
        self.node_count = checked_node_count(node_count, compute_target)
        self.run_invocation_timeout = positive("run_invocation_timeout", run_invocation_timeout, RUN_INVOCATION_TIMEOUT)
        self.run_max_try = positive("run_max_try", run_max_try, RUN_MAX_TRY)
        if output_action.lower() == APPEND_ROW:
            check_file_name(append_row_file_name)
        self.append_row_file_name = append_row_file_name
        self.entry_script = os.fspath(entry_script).strip()
        self.source_directory = None if source_directory is None else os.fspath(source_directory).strip()
        self.compute_target = compute_target
        self.logging_level = "INFO" if logging_level is None else logging_level
        self.description = description
        self.environment_variables = environment_variables
        self.isolate_failures = bool(isolate_failures)
        self.gpus_per_process = checked_gpu_share(gpus_per_process)

    def _take_thresholds(self, error_threshold: Any, allowed_failed_count: Any, allowed_failed_percent: Any) -> None:
        check_threshold("error_threshold", error_threshold)
        if allowed_failed_count is not None:
            check_threshold("allowed_failed_count", allowed_failed_count)
        if allowed_failed_percent is not None:
            check_percent(allowed_failed_percent)
        self.error_threshold: int = error_threshold
        self.allowed_failed_count: int | None = allowed_failed_count
        self.allowed_failed_percent: float | None = allowed_failed_percent

    @property
    def compute_name(self) -> str | None:
        """The name of the compute target; None for this machine."""
        target = self.compute_target
        return target if target is None or isinstance(target, str) else target.name

    def save_to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration to a file; of pipeline parameters their defaults.

        Raises:
            OSError: the file cannot be written.
        """
        from batchmill.pipeline.parallel_run_yaml import save

        save(self, path)

    @staticmethod
    def load_yaml(workspace: Workspace, path: str | os.PathLike[str]) -> ParallelRunConfig:
        """Read what `save_to_yaml` wrote, also that of Azure ML and of its contrib package; the compute target is looked up by its name.

        Raises:
            ValueError: the file holds no configuration, or no environment.
            ComputeTargetException: there is no such compute target.
        """
        from batchmill.pipeline.parallel_run_yaml import load

        return load(workspace, path)

    def __repr__(self) -> str:
        shown = ("entry_script", "mini_batch_size", "partition_keys", "error_threshold", "output_action", "node_count")
        said = [f"{name}={getattr(self, name)!r}" for name in shown if getattr(self, name) is not None]
        return f"{type(self).__name__}(environment={self.environment.name!r}, {', '.join(said)}, compute_target={self.compute_name!r})"
