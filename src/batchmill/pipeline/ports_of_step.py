"""From the objects that a user gives a step (inputs, outputs, arguments) to the ports and words of its node."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchmill.pipeline.graph import InputPort, OutputPort, OutputSource, ParameterSource, PathSource, Reference, Value
from batchmill.pipeline.output_dataset import OutputDatasetConfig, OutputDatasetInput
from batchmill.pipeline.parameter import PipelineParameter, dataset_source
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.pipeline_dataset import PipelineDataset, PipelineOutputAbstractDataset
from batchmill.pipeline.port import InputPortBinding, PortDataReference
from batchmill.pipeline.port_name import check_port_names
from batchmill.pipeline.step import StepPorts
from batchmill.workspace.abstract_dataset import AbstractDataset
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataPath, DataPathComputeBinding, DataReference

BARE_INPUT = (
    "{0} cannot be directly used as a step's input. Please call the as_named_input method on the dataset object, and give what it returns."
)
BARE_ARGUMENT = (
    "Datasets cannot be used directly as arguments. Please make sure you've called the as_named_input method on the dataset object."
)
NO_INPUT = "Input %s appears in arguments list but is not in the input list"
NO_PORT = "Input/Output %s appears in arguments list but is not in the input/output lists"
NO_DATAPATH = "Parameterized datapath {0} is not in input list"
NO_ARGUMENT = "%s is not a valid type for argument"
MODES = {"hdfs": "mount", "link": "mount"}
"""Ways to see a dataset that are not ours, and what they come down to."""


@dataclass(frozen=True, slots=True)
class StepInput:
    """An input: its port, the key of the pipeline data behind it (None where no step makes it), the user's dataset and parameter."""

    port: InputPort
    key: str | None = None
    dataset: AbstractDataset | None = None
    parameter: PipelineParameter | None = None


def ports_of_step(
    inputs: Any = None, outputs: Any = None, arguments: Any = None, *, params: Any = None, side_inputs: Any = None
) -> StepPorts:
    """All that a step reads, makes and is told.

    Data that stands in ``arguments`` becomes a reference to an input or output; consumption configurations and `OutputFileDatasetConfig`
    may stand there alone and are inputs and outputs then.

    Raises:
        ValueError: something is not what it may be, a name is no name or stands there twice, or data in ``arguments`` is neither input
            nor output; with Azure ML's words.
    """
    return PortCollector(inputs, outputs, side_inputs).ports(arguments, params)


class PortCollector:
    """Collects the ports of one step, and says what stands for data among its arguments."""

    def __init__(self, inputs: Any = None, outputs: Any = None, side_inputs: Any = None) -> None:
        self._inputs: list[StepInput] = []
        self._outputs: list[tuple[OutputPort, str]] = []
        self._parameters: list[PipelineParameter] = []
        self._references: dict[tuple[str, str], Reference] = {}
        for data in listed(outputs, "outputs"):
            self._add_output(data)
        for data in listed(inputs, "inputs"):
            self._add_input(input_of(data), data)
        for data in listed(side_inputs, "side_inputs"):
            self._add_input(side_input_of(data), data)

    def ports(self, arguments: Any = None, params: Any = None) -> StepPorts:
        """All of it, with the words of ``arguments`` and ``params``.

        Raises:
            ValueError: as of `ports_of_step`.
        """
        words = tuple(self.word(argument) for argument in listed(arguments, "arguments"))
        settings = self._params(params)
        check_port_names((one.port.name for one in self._inputs), "input")
        check_port_names((port.name for port, _ in self._outputs), "output")
        of_inputs = [one.parameter for one in self._inputs if one.parameter is not None]
        return StepPorts(
            tuple(one.port for one in self._inputs),
            tuple(port for port, _ in self._outputs),
            words,
            settings,
            {one.port.name: one.key for one in self._inputs if one.key is not None},
            {port.name: key for port, key in self._outputs},
            _each_once(one.dataset for one in self._inputs if one.dataset is not None),
            _each_once([*of_inputs, *self._parameters]),
        )

    def word(self, argument: Any) -> Value:
        """What stands for an argument in the graph.

        Raises:
            ValueError: as of `ports_of_step`.
        """
        if isinstance(argument, (str, bool, int, float)):
            return argument
        if isinstance(argument, numbers.Real):  # a number of numpy
            return int(argument) if isinstance(argument, numbers.Integral) else float(argument)
        if isinstance(argument, PipelineParameter):
            return self._parameter(argument)
        if isinstance(argument, tuple):
            return self._data_path(argument)
        if isinstance(argument, AbstractDataset):
            raise ValueError(BARE_ARGUMENT)
        if isinstance(argument, (DatasetConsumptionConfig, OutputDatasetConfig)):
            return self._implicit(argument)
        if isinstance(argument, (PipelineData, PipelineOutputAbstractDataset)):
            named = argument.input_name if isinstance(argument, PipelineOutputAbstractDataset) else None
            return self._found(NO_PORT % argument.name, ("input", f"{argument.key}/{named}"), ("data", argument.key))
        if isinstance(argument, (DataReference, PortDataReference)):
            name = argument.data_reference_name
            return self._found(NO_INPUT % name, ("reference", name))
        if isinstance(argument, (InputPortBinding, PipelineDataset)):
            return self._found(NO_INPUT % argument.name, ("name", argument.name))
        raise ValueError(NO_ARGUMENT % type(argument).__name__)

    def _params(self, params: Any) -> dict[str, Value]:
        if params is not None and not isinstance(params, Mapping):
            raise ValueError(f"params is a mapping of names to values, not {params!r}.")
        for name, value in (params or {}).items():
            if not isinstance(name, str) or not isinstance(value, (str, bool, int, float, PipelineParameter)):
                raise ValueError(
                    f"params gives {name!r} the value {value!r}: a text, a number, a truth value or a PipelineParameter is needed."
                )
        return {name: self.word(value) for name, value in (params or {}).items()}

    def _parameter(self, parameter: PipelineParameter) -> Value:
        if parameter.default_dataset is not None:
            raise ValueError(BARE_ARGUMENT)
        if isinstance(parameter.default_value, DataPath):
            return self._found(NO_DATAPATH.format(parameter.name), ("parameter", parameter.name))
        self._parameters.append(parameter)
        return parameter.reference

    def _data_path(self, argument: tuple[Any, ...]) -> Value:
        if not _is_data_path(argument):
            raise ValueError(NO_ARGUMENT % "tuple")
        return self._found(NO_DATAPATH.format(argument[0].name), ("parameter", argument[0].name))

    def _implicit(self, argument: DatasetConsumptionConfig | OutputDatasetConfig) -> Value:
        """Data that is an input or output by standing among the arguments."""
        if isinstance(argument, OutputDatasetConfig):
            found = self._references.get(("data", argument.key))
            return found or self._add_output(argument)
        one = input_of(argument)
        ports = (one.port, side_input_of(argument).port)
        same = any(one.key == other.key and other.port in ports for other in self._inputs)
        return Reference("input", one.port.name) if same else self._add_input(one, argument)

    def _found(self, missing: str, *tokens: tuple[str, str]) -> Reference:
        for token in tokens:
            if token in self._references:
                return self._references[token]
        raise ValueError(missing)

    def _add_input(self, one: StepInput, data: Any) -> Reference:
        self._inputs.append(one)
        reference = Reference("input", one.port.name)
        bound = data.bind_object if isinstance(data, InputPortBinding) else data
        tokens = [("name", one.port.name)]
        if one.key is not None:
            tokens += [("input", f"{one.key}/{one.port.name}"), ("data", one.key)]
        if isinstance(bound, (DataReference, PortDataReference)):
            tokens.append(("reference", bound.data_reference_name))
        if one.parameter is not None:
            tokens.append(("parameter", one.parameter.name))
        for token in tokens:
            self._references.setdefault(token, reference)
        return reference

    def _add_output(self, data: Any) -> Reference:
        port, key = output_of(data)
        self._outputs.append((port, key))
        return self._references.setdefault(("data", key), Reference("output", port.name))


# --- one input, one output ------------------------------------------------------------------------------------------------------------


def input_of(data: Any) -> StepInput:
    """One of the ``inputs`` of a step.

    Raises:
        ValueError: it is nothing that a step can read.
    """
    if isinstance(data, AbstractDataset):
        raise ValueError(BARE_INPUT.format(type(data).__name__))
    if isinstance(data, OutputDatasetConfig):
        data = data.as_input(data.name)
    if isinstance(data, OutputDatasetInput):
        return StepInput(data.input_port, data.key)
    if isinstance(data, DatasetConsumptionConfig):
        return _of_dataset(data.name, data.dataset, MODES.get(data.mode, data.mode), data.path_on_compute)
    if isinstance(data, PipelineDataset):
        return _of_dataset(data.name, data.parameter or data.dataset, data.bind_mode, data.path_on_compute)
    if isinstance(data, PipelineOutputAbstractDataset):
        return StepInput(data.input_port, data.key)
    if isinstance(data, PipelineData):
        return StepInput(InputPort(data.name, OutputSource("", data.output_name)), data.key)
    if isinstance(data, DataReference):
        source = PathSource(data.datastore.name, (data.path_on_datastore or "").rstrip("/"))
        return StepInput(_port(data.data_reference_name, source, data.mode, data.path_on_compute, data.overwrite))
    if isinstance(data, PortDataReference):
        return StepInput(InputPort(data.name, data.source))
    if isinstance(data, InputPortBinding):
        return _bound(data)
    if _is_data_path(data):
        parameter, binding = data
        return StepInput(
            _port(parameter.name, ParameterSource(parameter.name), binding.mode, binding.path_on_compute, binding.overwrite),
            None,
            None,
            parameter,
        )
    raise ValueError(f"A step cannot read {type(data).__name__}: {data!r}. Give data of a pipeline, a DataReference or a named dataset.")


def side_input_of(data: Any) -> StepInput:
    """One of the ``side_inputs`` of a parallel run: not cut into mini-batches; files are mounted, tables given as they are.

    Raises:
        ValueError: it is nothing that a step can read.
    """
    found = input_of(data)
    port = replace(found.port, side=True)
    files = found.dataset is not None and found.dataset.kind == "file"
    return replace(found, port=replace(port, mode="mount") if files and port.mode == "direct" else port)


def output_of(data: Any) -> tuple[OutputPort, str]:
    """One of the ``outputs`` of a step, and the key of the data.

    Raises:
        ValueError: it is nothing that a step can make.
    """
    if isinstance(data, (PipelineData, PipelineOutputAbstractDataset, OutputDatasetConfig)):
        return data.port, data.key
    if isinstance(data, OutputDatasetInput):
        return output_of(data.dataset)
    raise ValueError(f"A step cannot make {type(data).__name__}: {data!r}. Give a PipelineData or an OutputFileDatasetConfig.")


def _of_dataset(name: str, given: Any, mode: str, path_on_compute: str | None) -> StepInput:
    if isinstance(given, PipelineParameter):
        return StepInput(_port(name, ParameterSource(given.name), mode, path_on_compute), None, given.default_dataset, given)
    return StepInput(_port(name, dataset_source(given), mode, path_on_compute), None, given)


def _bound(binding: InputPortBinding) -> StepInput:
    """What a binding binds, under its name and in its way; a table stays what it is."""
    found = input_of(binding.bind_object)
    table = isinstance(found.port.source, OutputSource) and found.port.source.type == "tabular"
    table = table or (found.dataset is not None and found.dataset.kind == "tabular")
    path = binding.path_on_compute if binding.path_on_compute is not None else found.port.path_on_compute
    overwrite = found.port.overwrite if binding.overwrite is None else bool(binding.overwrite)
    return replace(found, port=_port(binding.name, found.port.source, "direct" if table else binding.bind_mode, path, overwrite))


def _port(name: str, source: Any, mode: str, path_on_compute: str | None, overwrite: bool = False) -> InputPort:
    return InputPort(name, source, mode, path_on_compute, bool(overwrite))  # type: ignore[arg-type]  # checked where it was made


def _is_data_path(data: Any) -> bool:
    """Whether it is a parameter whose value is a path, with the way to it."""
    if not (isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], PipelineParameter)):
        return False
    return isinstance(data[1], DataPathComputeBinding) and isinstance(data[0].default_value, DataPath)


def listed(values: Any, what: str) -> list[Any]:
    """An argument of a step that is a list; None is an empty one.

    Raises:
        ValueError: it is no list.
    """
    if values is None:
        return []
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"The {what} of a step are a list, not {values!r}.")
    return list(values)


def _each_once(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple({id(value): value for value in values}.values())
