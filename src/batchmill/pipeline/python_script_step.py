"""`PythonScriptStep`: a Python script as a step of a pipeline."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchmill.pipeline.graph import PYTHON, Node
from batchmill.pipeline.launch import launch_of
from batchmill.pipeline.ports_of_step import ports_of_step
from batchmill.pipeline.step import PipelineStep, module_id

NOT_FOUND = (
    "script not found at: {}. Make sure to specify an appropriate source_directory on the Step or default_source_directory on the Pipeline."
)


class PythonScriptStep(PipelineStep):
    """Runs ``python SCRIPT_NAME ARGUMENTS`` in a copy of ``source_directory`` (Azure ML: ``azureml.pipeline.steps.PythonScriptStep``).

    ``name``: by default that of the script. ``compute_target``: the object, its name or a tuple of name and type; by default the target of
    ``runconfig``, which gives environment, variables and number of nodes as well. ``params`` become the variables ``AML_PARAMETER_<name>``.
    ``allow_reuse``: whether the outputs of an earlier run may stand for running it again. ``version`` and ``hash_paths`` are kept.

    >>> PythonScriptStep("train.py", arguments=["--rate", 0.1], compute_target="local", source_directory="src")   # doctest: +SKIP

    Raises:
        ValueError: an argument is not what it may be, or the script is not there; with Azure ML's words.
    """

    def __init__(
        self,
        script_name: str,
        name: str | None = None,
        arguments: list[Any] | None = None,
        compute_target: Any = None,
        runconfig: Any = None,
        runconfig_pipeline_params: Any = None,
        inputs: list[Any] | None = None,
        outputs: list[Any] | None = None,
        params: dict[str, Any] | None = None,
        source_directory: str | os.PathLike[str] | None = None,
        allow_reuse: bool = True,
        version: str | None = None,
        hash_paths: list[str] | None = None,
    ) -> None:
        if not script_name:
            raise ValueError("script_name is required")
        if not isinstance(script_name, str):
            raise ValueError("script_name must be a string")
        self._launch = launch_of(compute_target, runconfig, runconfig_pipeline_params)
        ports = ports_of_step(inputs, outputs, arguments, params=params)
        super().__init__(name or script_name, replace(ports, parameters=(*ports.parameters, *self._launch.parameters)))
        self.script_name = script_name
        self.source_directory = None if source_directory is None else os.path.abspath(source_directory)
        self.allow_reuse = bool(allow_reuse)
        self.version = version
        self.hash_paths = hash_paths
        if self.source_directory is not None:
            script_below(self.source_directory, script_name)

    def node(self, id: str, *, default_source: str | None = None) -> Node:
        source = self.source_directory or os.path.abspath(default_source or ".")
        script = script_below(source, self.script_name)
        return Node(
            id,
            self.name,
            PYTHON,
            module_id(PYTHON, self.name, script),
            source,
            script,
            arguments=self.ports.arguments,
            params=dict(self.ports.params),
            inputs=self.ports.inputs,
            outputs=self.ports.outputs,
            environment=self._launch.environment,
            environment_variables=dict(self._launch.environment_variables),
            compute=self._launch.compute,
            node_count=self._launch.node_count,
            timeout=self._launch.timeout,
            allow_reuse=self.allow_reuse,
        )


def script_below(source: str, script: str) -> str:
    """The path of a script below its source folder, with slashes.

    Raises:
        ValueError: there is no such file, or it lies elsewhere and would not be copied with the folder.
    """
    path = Path(source, script)
    if not path.is_file():
        raise ValueError(NOT_FOUND.format(path))
    found = os.path.relpath(path, source)
    if found.split(os.sep)[0] == os.pardir:
        raise ValueError(f"The script {path} does not lie below the source_directory {source}, which is what a step is given a copy of.")
    return Path(found).as_posix()
