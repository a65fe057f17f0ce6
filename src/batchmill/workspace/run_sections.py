"""The sections of a run configuration: container, history, data references (Azure ML: ``azureml.core.runconfig``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchmill.workspace.exceptions import UserErrorException

MODES = ("mount", "download", "upload")


class DockerConfiguration:
    """Whether a run takes place in a container, and how that is started."""

    def __init__(
        self, use_docker: bool = False, shared_volumes: bool = True, arguments: Sequence[str] | None = None, shm_size: str | None = None
    ) -> None:
        self.use_docker = use_docker
        self.shared_volumes = shared_volumes
        self.arguments = list(arguments or [])
        self.shm_size = shm_size

    def to_dict(self) -> dict[str, Any]:
        """The camelCase form."""
        return {
            "useDocker": self.use_docker,
            "sharedVolumes": self.shared_volumes,
            "arguments": list(self.arguments),
            "shmSize": self.shm_size,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> DockerConfiguration:
        values = values or {}
        return cls(
            bool(values.get("useDocker", False)), bool(values.get("sharedVolumes", True)), values.get("arguments"), values.get("shmSize")
        )


class HistoryConfiguration:
    """What of a run is kept."""

    def __init__(self, output_collection: bool = True) -> None:
        self.output_collection = output_collection
        self.snapshot_project = True
        self.directories_to_watch: list[str] = ["logs"]

    def to_dict(self) -> dict[str, Any]:
        """The camelCase form."""
        return {
            "outputCollection": self.output_collection,
            "snapshotProject": self.snapshot_project,
            "directoriesToWatch": list(self.directories_to_watch),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> HistoryConfiguration:
        values = values or {}
        history = cls(bool(values.get("outputCollection", True)))
        history.snapshot_project = bool(values.get("snapshotProject", True))
        history.directories_to_watch = list(values.get("directoriesToWatch") or ["logs"])
        return history


class DataReferenceConfiguration:
    """A path on a datastore that a run reads or writes.

    Raises:
        UserErrorException: ``mode`` is none of mount, download, upload.
    """

    def __init__(
        self,
        datastore_name: str | None = None,
        mode: str = "mount",
        path_on_datastore: str | None = None,
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        if str(mode).lower() not in MODES:
            raise UserErrorException(f"Invalid mode '{mode}'. Mode can only be {', '.join(MODES)}")
        self.datastore_name = datastore_name
        self.mode = str(mode).lower()
        self.path_on_datastore = path_on_datastore
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    def to_dict(self) -> dict[str, Any]:
        """The camelCase form."""
        return {
            "dataStoreName": self.datastore_name,
            "mode": self.mode,
            "pathOnDataStore": self.path_on_datastore,
            "pathOnCompute": self.path_on_compute,
            "overwrite": self.overwrite,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataReferenceConfiguration:
        return cls(
            values.get("dataStoreName"),
            values.get("mode") or "mount",
            values.get("pathOnDataStore"),
            values.get("pathOnCompute"),
            bool(values.get("overwrite", False)),
        )
