"""`ParallelRunStep`: an entry script over many mini-batches, as a step of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from batchmill.pipeline.graph import PARALLEL_RUN, InputPort, Node, Value
from batchmill.pipeline.output_dataset import OutputDatasetConfig
from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.parallel_run_inputs import check_inputs, checked_modes
from batchmill.pipeline.parallel_run_rules import APPEND_ROW
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.ports_of_step import PortCollector
from batchmill.pipeline.reserved_arguments import checked_arguments
from batchmill.pipeline.special_arguments import split_arguments
from batchmill.pipeline.step import PipelineStep, module_id
from batchmill.workspace.environment import Environment

SETTINGS = (
    "error_threshold",
    "allowed_failed_count",
    "allowed_failed_percent",
    "output_action",
    "mini_batch_size",
    "partition_keys",
    "run_invocation_timeout",
    "run_max_try",
    "append_row_file_name",
    "process_count_per_node",
    "logging_level",
    "isolate_failures",
    "gpus_per_process",
)
RANKS = "rank_mini_batch_count"
NO_INPUTS = "The parameter 'inputs' must be a list and have at least one element or rank_mini_batch_count must be greater than zero."
NO_OUTPUT = "Please specify output parameter."
NO_CONFIG = "Param parallel_run_config must be a azureml.pipeline.steps.ParallelRunConfig"


class ParallelRunStep(PipelineStep):
    """Runs the entry script of a `ParallelRunConfig` over its inputs, one mini-batch after the other, on several processes and nodes.

    Args:
        name: what the step is called.
        parallel_run_config: how it runs.
        inputs: named datasets, or datasets that other steps make; all of files or all tables.
        output: where the rows go, an `OutputFileDatasetConfig` or a `PipelineData`; may be left out with ``summary_only``.
        side_inputs: data that is not cut but given to every process as a path (a table: as the id of a dataset).
        arguments: words of the script, keywords only (specification B4); some are meant for the run itself (B5).
        allow_reuse: whether the output of an earlier run may stand for running it again.
        reuse: "mini_batch" runs again only those mini-batches that have changed since the last completed run (not in Azure ML).

    Azure ML: ``azureml.pipeline.steps.ParallelRunStep``.

    Raises:
        Exception: something is not what it may be; classes and texts are Azure ML's (specification B3).
    """

    def __init__(
        self,
        name: str,
        parallel_run_config: ParallelRunConfig,
        inputs: list[Any],
        output: Any = None,
        side_inputs: list[Any] | None = None,
        arguments: list[Any] | None = None,
        allow_reuse: bool = True,
        *,
        reuse: Literal["step", "mini_batch"] = "step",
    ) -> None:
        if not isinstance(parallel_run_config, ParallelRunConfig):
            raise AttributeError(NO_CONFIG)
        if reuse not in ("step", "mini_batch"):
            raise ValueError(f"reuse is 'step' or 'mini_batch', not {reuse!r}.")
        special, words = split_arguments(checked_arguments(arguments))
        if not isinstance(inputs, list) or (not inputs and not special.get(RANKS)):
            raise AssertionError(NO_INPUTS)
        self.of_tables = check_inputs(inputs)
        outputs = _outputs(output, parallel_run_config)
        self.source_directory, self.entry_script = located(parallel_run_config)
        self.parallel_run_config = parallel_run_config
        self.allow_reuse, self.reuse = bool(allow_reuse), reuse
        collector = PortCollector(inputs, outputs, side_inputs)
        self.settings = _values(collector, {**self._settings(parallel_run_config), **special})
        self.node_count: Value = self.settings.pop("node_count")
        ports = collector.ports(words)
        count, keys = len(inputs), parallel_run_config.partition_keys is not None
        ports = replace(ports, inputs=(*checked_modes(ports.inputs[:count], inputs, partitioned=keys), *_beside(ports.inputs[count:])))
        if outputs:
            self.settings["output"] = ports.outputs[0].name
        super().__init__(name, ports)

    def _settings(self, config: ParallelRunConfig) -> dict[str, Any]:
        """What the configuration says; `PipelineParameter` objects may be among the values."""
        return {name: getattr(config, name) for name in (*SETTINGS, "node_count")}

    @property
    def models(self) -> tuple[str, ...]:
        """Names of models that it is said to use."""
        return ()

    def node(self, id: str, *, default_source: str | None = None) -> Node:
        config = self.parallel_run_config
        variables = config.environment_variables or {}
        return Node(
            id,
            self.name,
            PARALLEL_RUN,
            module_id(PARALLEL_RUN, self.name, self.entry_script),
            self.source_directory,
            self.entry_script,
            arguments=self.ports.arguments,
            inputs=self.ports.inputs,
            outputs=self.ports.outputs,
            settings=dict(self.settings),
            environment=described(config.environment),
            environment_variables={str(key): str(value) for key, value in variables.items()},
            compute=None if config.compute_name == "local" else config.compute_name,
            node_count=self.node_count,
            models=self.models,
            allow_reuse=self.allow_reuse,
            reuse=self.reuse,
        )


def _outputs(output: Any, config: ParallelRunConfig) -> list[Any]:
    outputs = output if isinstance(output, list) else [] if output is None else [output]
    if not outputs and config.output_action.lower() == APPEND_ROW:
        raise Exception(NO_OUTPUT)
    for one in outputs:
        if not isinstance(one, (OutputDatasetConfig, PipelineData)):
            raise ValueError(f"The output of a ParallelRunStep is an OutputFileDatasetConfig or a PipelineData, not {type(one).__name__}.")
    return outputs


def _values(collector: PortCollector, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they stand in a graph: parameters as references, no setting that says nothing."""
    values = {name: value if isinstance(value, list) or value is None else collector.word(value) for name, value in given.items()}
    return {name: value for name, value in values.items() if value is not None or name == "node_count"}


def _beside(ports: tuple[InputPort, ...]) -> tuple[InputPort, ...]:
    """Side inputs, and data that is an input by standing among the arguments."""
    return tuple(replace(port, side=True) for port in ports)


def located(config: ParallelRunConfig) -> tuple[str, str]:
    """The folder that becomes the snapshot, absolute, and the entry script below it. Without a source directory: the script's folder.

    Raises:
        ValueError: one of them is not there; with Azure ML's words.
    """
    source, script = config.source_directory, config.entry_script
    if source:
        if not os.path.exists(source):
            raise ValueError(f"The value '{source}' specified in source_directory doesn't exist.")
        if not os.path.isdir(source):
            raise ValueError(f"The value '{source}' specified in source_directory is not a directory.")
    path = Path(source or ".", script)
    if not path.exists():
        raise ValueError(f"The value '{script}' specified in entry_script doesn't exist.")
    if not path.is_file():
        raise ValueError(f"The value '{script}' specified in entry_script is not a file.")
    folder = os.path.abspath(source or path.parent)
    below = os.path.relpath(os.path.abspath(path), folder)
    if below.split(os.sep)[0] == os.pardir:
        raise ValueError(f"The value '{script}' specified in entry_script does not lie below the source_directory '{source}'.")
    return folder, Path(below).as_posix()


def described(environment: Environment) -> dict[str, Any]:
    """An environment as a graph holds it, complete in itself: a file of packages that it names is read now."""
    values = environment.to_dict()
    if environment.python.conda_dependencies_file:
        from batchmill.workspace.environment import conda_file

        packages = conda_file(environment.python.conda_dependencies_file).as_dict()
        values["python"] |= {"condaDependencies": packages, "condaDependenciesFile": None}
    return values
