"""`PipelineParameter`: a value that is chosen anew with each submission of a pipeline."""

from __future__ import annotations

from typing import Any, Literal

from batchmill.pipeline.graph import DatasetSource, Parameter, Reference
from batchmill.workspace.abstract_dataset import AbstractDataset
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataPath, relative_path

SCALARS: dict[type, Literal["string", "int", "float", "bool"]] = {str: "string", int: "int", bool: "bool", float: "float"}
UNSUPPORTED = "Default value is of unsupported type: {}"
OTHER_DEFAULT = "Graph already has pipeline parameter with same name {0} but different default values {1}, {2}"


class PipelineParameter:
    """A parameter with its default (Azure ML: ``azureml.pipeline.core.PipelineParameter``).

    ``default_value`` is a text, a number, a truth value, a `DataPath` or a dataset. A scalar stands in arguments, ``params`` and settings
    as it is; a path together with a `DataPathComputeBinding` as a tuple; a dataset in a `DatasetConsumptionConfig`.

    >>> PipelineParameter("size", 5)
    PipelineParameter_Name:size_Default:5

    Raises:
        ValueError: the default is of another type, or the name is empty.
    """

    def __init__(self, name: str, default_value: Any) -> None:
        from batchmill.pipeline.pipeline_dataset import PipelineDataset

        if not isinstance(name, str) or not name:
            raise ValueError(f"The name of a pipeline parameter is a text that is not empty, not {name!r}.")
        known = (*SCALARS, DataPath, AbstractDataset, DatasetConsumptionConfig, PipelineDataset)
        if not isinstance(default_value, known):
            raise ValueError(UNSUPPORTED.format(type(default_value).__name__))
        if isinstance(default_value, DataPath) and default_value.datastore is None:
            raise ValueError(f"The default of pipeline parameter {name} is a DataPath without a datastore: DataPath(datastore, path).")
        self.name = name
        self.default_value = default_value

    @property
    def reference(self) -> Reference:
        """What stands for its value in a graph."""
        return Reference("parameter", self.name)

    @property
    def default_dataset(self) -> AbstractDataset | None:
        """The dataset that is its default; None where that is something else."""
        from batchmill.pipeline.pipeline_dataset import PipelineDataset

        found = self.default_value
        while isinstance(found, (DatasetConsumptionConfig, PipelineDataset)):
            found = found.default_dataset if isinstance(found, DatasetConsumptionConfig) else found.dataset
        return found if isinstance(found, AbstractDataset) else None

    @property
    def declared(self) -> Parameter:
        """The parameter of the graph."""
        dataset = self.default_dataset
        if dataset is not None:
            return Parameter(self.name, "dataset", dataset_values(dataset))
        if isinstance(self.default_value, DataPath):
            path = relative_path(self.default_value.path_on_datastore)
            return Parameter(self.name, "datapath", {"datastore": self.default_value.datastore_name, "path": path})
        kind = next(SCALARS[one] for one in type(self.default_value).__mro__ if one in SCALARS)
        return Parameter(self.name, kind, self.default_value)

    def __repr__(self) -> str:
        return f"PipelineParameter_Name:{self.name}_Default:{self.default_value}"


def dataset_source(dataset: AbstractDataset) -> DatasetSource:
    """A dataset as an input of a graph; it stands there by its definition."""
    kind: Literal["file", "tabular"] = "tabular" if dataset.kind == "tabular" else "file"
    return DatasetSource(kind, dataset.definition.to_dict(), dataset.id, dataset.name, dataset.version)


def dataset_values(dataset: AbstractDataset) -> dict[str, Any]:
    """The fields of `dataset_source`, as the default or the value of a parameter holds them."""
    from dataclasses import asdict

    return asdict(dataset_source(dataset))


def declared_parameters(parameters: list[PipelineParameter]) -> dict[str, Parameter]:
    """The parameters of a pipeline by name, each once.

    Raises:
        ValueError: two of one name have different defaults.
    """
    found: dict[str, PipelineParameter] = {}
    for one in parameters:
        first = found.setdefault(one.name, one)
        if not same_default(first, one):
            raise ValueError(OTHER_DEFAULT.format(one.name, first.default_value, one.default_value))
    return {name: one.declared for name, one in found.items()}


def same_default(first: PipelineParameter, second: PipelineParameter) -> bool:
    """Whether the two of one name may stand in one pipeline; datasets are the same by definition, 1 and True are not the same."""
    if first is second:
        return True
    one, other = first.declared, second.declared
    if one.kind == "dataset" == other.kind:
        return bool(one.default["definition"] == other.default["definition"])
    return one.kind == other.kind and bool(one.default == other.default)
