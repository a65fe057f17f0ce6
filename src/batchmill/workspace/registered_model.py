"""What is known of a registered model, and how it is shown."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from batchmill.workspace.model_facts import ModelFacts, Resources
from batchmill.workspace.model_framework import Framework

if TYPE_CHECKING:
    from datetime import datetime

    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace


class RegisteredModel:
    """The facts of one version of a model."""

    workspace: Workspace
    _asset: Asset

    @property
    def asset(self) -> Asset:
        """What the registry holds."""
        return self._asset

    @property
    def name(self) -> str:
        return str(self._asset.name)

    @property
    def version(self) -> int:
        return self._asset.version

    @property
    def id(self) -> str:
        """``NAME:VERSION``."""
        return f"{self.name}:{self.version}"

    @property
    def url(self) -> str:
        """A name for the content, which never changes."""
        return f"aml://asset/{self._asset.id.replace('-', '')}"

    @property
    def description(self) -> str | None:
        return self._asset.description

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._asset.tags)

    @property
    def properties(self) -> dict[str, str]:
        return dict(self._asset.properties)

    @property
    def created_time(self) -> datetime:
        """UTC."""
        return self._asset.created

    @property
    def facts(self) -> ModelFacts:
        """What was said of it when it was registered."""
        return ModelFacts.from_definition(self._asset.definition)

    @property
    def model_framework(self) -> str:
        return self.facts.model_framework or Framework.CUSTOM

    @property
    def model_framework_version(self) -> str | None:
        return self.facts.model_framework_version

    @property
    def run_id(self) -> str | None:
        """The run that made it, where a run did."""
        return self.facts.run_id

    @property
    def experiment_name(self) -> str | None:
        return self.facts.experiment_name

    @property
    def resource_configuration(self) -> Resources | None:
        return Resources.from_dict(self.facts.resource_configuration)

    @property
    def datasets(self) -> dict[str, list[Any]]:
        """Purpose -> datasets that it was registered with."""
        from batchmill.workspace.dataset import Dataset

        found: dict[str, list[Any]] = {}
        for purpose, dataset_id in self.facts.datasets:
            found.setdefault(str(purpose), []).append(Dataset.get_by_id(self.workspace, str(dataset_id)))
        return found

    @property
    def files(self) -> list[str]:
        """The names of its files, relative."""
        return [values["path"] for values in self._asset.definition["files"]]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(int(values["size"]) for values in self._asset.definition["files"])

    # --- showing ----------------------------------------------------------------------------------------------------------------------

    def serialize(self) -> dict[str, Any]:
        """All that is known, as JSON values, by Azure ML's names."""
        facts = self.facts
        return {
            "name": self.name,
            "id": self.id,
            "version": self.version,
            "createdTime": self.created_time.isoformat(),
            "createdBy": facts.created_by,
            "description": self.description,
            "tags": self.tags,
            "properties": self.properties,
            "framework": self.model_framework,
            "frameworkVersion": self.model_framework_version,
            "url": self.url,
            "runId": self.run_id,
            "experimentName": self.experiment_name,
            "datasets": facts.datasets,
            "sampleInputDatasetId": facts.sample_input_dataset_id,
            "sampleOutputDatasetId": facts.sample_output_dataset_id,
            "resourceRequirements": facts.resource_configuration,
            "files": len(self.files),
            "size": self.size,
        }

    def __repr__(self) -> str:
        shown = f"name={self.name}, id={self.id}, version={self.version}, tags={self.tags}, properties={self.properties}"
        return f"Model(workspace={self.workspace!r}, {shown})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = {
            "Name": self.name,
            "Version": self.version,
            "Description": self.description,
            "Framework": " ".join(filter(None, (self.model_framework, self.model_framework_version))),
            "Files": f"{len(self.files):,} ({self.size:,} bytes)",
            "Created": f"{self.created_time:%Y-%m-%d %H:%M:%S} UTC",
            "Run": self.run_id,
            "Tags": _pairs(self.tags),
            "Properties": _pairs(self.properties),
        }
        return (
            "<table>"
            + "".join(f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items() if value)
            + "</table>"
        )


def _pairs(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())
