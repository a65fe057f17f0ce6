"""What is said of a model when it is registered, beside its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from batchmill.workspace.exceptions import WebserviceException


@dataclass(slots=True)
class Resources:
    """What a model needs where it is used (Azure ML: ``azureml.core.resource_configuration.ResourceConfiguration``); kept, and told."""

    cpu: float | None = None
    memory_in_gb: float | None = None
    gpu: int | None = None

    @staticmethod
    def of(given: Any) -> dict[str, Any] | None:
        """An object with ``cpu``, ``memory_in_gb`` and ``gpu`` as JSON values; None for None.

        Raises:
            WebserviceException: it has none of these.
        """
        if given is None:
            return None
        names = ("cpu", "memory_in_gb", "gpu")
        if not any(hasattr(given, name) for name in names):
            raise WebserviceException(f"resource_configuration must be a ResourceConfiguration, and {given!r} is none.")
        return {name: getattr(given, name, None) for name in names}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Resources | None:
        """The opposite of `of`."""
        return None if values is None else cls(**values)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """JSON values, kept in the definition of the model. ``datasets`` are pairs of a purpose and the id of a dataset."""

    model_framework: str | None = None
    model_framework_version: str | None = None
    resource_configuration: dict[str, Any] | None = None
    datasets: list[list[str | None]] = field(default_factory=list)
    sample_input_dataset_id: str | None = None
    sample_output_dataset_id: str | None = None
    run_id: str | None = None
    experiment_name: str | None = None
    created_by: dict[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As part of a definition."""
        return asdict(self)

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> ModelFacts:
        """What a definition holds of them."""
        return cls(**{name: definition[name] for name in cls.__dataclass_fields__ if name in definition})
