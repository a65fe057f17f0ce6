"""`CommandStep`: a command as a step of a pipeline."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import Any

from batchmill.pipeline.graph import COMMAND, Node, Reference, Value
from batchmill.pipeline.launch import launch_of
from batchmill.pipeline.ports_of_step import ports_of_step
from batchmill.pipeline.step import PipelineStep, module_id
from batchmill.workspace.run_configuration import ScriptRunConfig

OPERATORS = frozenset({"&&", "||", "|", ";", ">", ">>", "<", "2>", "2>&1", "&"})


class CommandStep(PipelineStep):
    """Runs a command in a copy of ``source_directory`` (Azure ML: ``azureml.pipeline.steps.CommandStep``).

    ``command`` is a text for the shell, or a list of words and data. A list is run as its words are, unless its first one is several
    (``"python train.py"``) or one is an operator of the shell (``"&&"``): then its texts are one for the shell, and data in it stays
    one word each. All other arguments are as of `PythonScriptStep`; ``name`` is by default the first word.

    Raises:
        ValueError: an argument is not what it may be, or there is no command.
    """

    def __init__(
        self,
        command: str | list[Any] | None = None,
        name: str | None = None,
        compute_target: Any = None,
        runconfig: Any = None,
        runconfig_pipeline_params: Any = None,
        inputs: list[Any] | None = None,
        outputs: list[Any] | None = None,
        params: dict[str, Any] | None = None,
        source_directory: str | os.PathLike[str] | None = None,
        allow_reuse: bool = True,
        version: str | None = None,
    ) -> None:
        command = command or getattr(runconfig, "command", None)
        if not command:
            raise ValueError("command is required")
        if not isinstance(command, (str, list, tuple)):
            raise ValueError(f"command must be a string or a list, not {command!r}")
        if source_directory is None and isinstance(runconfig, ScriptRunConfig):
            source_directory = runconfig.source_directory
        self._launch = launch_of(compute_target, runconfig, runconfig_pipeline_params)
        ports = ports_of_step(inputs, outputs, [command] if isinstance(command, str) else command, params=params)
        first = str(ports.arguments[0]).split()[:1] or [""]
        super().__init__(
            name or os.path.basename(first[0]) or "command", replace(ports, parameters=(*ports.parameters, *self._launch.parameters))
        )
        self.command = command
        self.source_directory = None if source_directory is None else os.path.abspath(source_directory)
        self.allow_reuse = bool(allow_reuse)
        self.version = version
        self._words = command_words(ports.arguments, shell=isinstance(command, str))
        if self.source_directory is not None and not os.path.isdir(self.source_directory):
            raise ValueError(f"The source_directory {self.source_directory} of step {self.name} does not exist, or is no folder.")

    def node(self, id: str, *, default_source: str | None = None) -> Node:
        return Node(
            id,
            self.name,
            COMMAND,
            module_id(COMMAND, self.name, None),
            self.source_directory or os.path.abspath(default_source or "."),
            command=self._words,
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


def command_words(words: tuple[Value, ...], *, shell: bool = False) -> tuple[Value, ...]:
    """The words of a process. What the shell is to read goes to ``bash -c`` (or ``sh``), with the data as its numbered arguments.

    >>> command_words(("python", "train.py", "--text", "two words"))
    ('python', 'train.py', '--text', 'two words')
    >>> command_words(("python train.py --data", Reference("input", "data")))[1:]
    ('-c', 'python train.py --data "${1}"', 'sh', Reference(to='input', name='data'))
    """
    texts = [word for word in words if not isinstance(word, Reference)]
    if not (shell or len(str(words[0]).split()) > 1 or OPERATORS.intersection(map(str, texts))):
        return words
    data = [word for word in words if isinstance(word, Reference)]
    numbers = iter(range(1, len(data) + 1))
    line = " ".join(f'"${{{next(numbers)}}}"' if isinstance(word, Reference) else str(word) for word in words)
    return (shutil.which("bash") or "sh", "-c", line, "sh", *data)
