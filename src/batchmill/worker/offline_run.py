"""The run of a script that belongs to none: it prints what is logged (Azure ML: ``Run.get_context()`` outside a run)."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any, Optional

from batchmill.worker.metric_log import MetricLog, metrics_of

WORDS = {"value": "scalar metric", "list": "list metric", "row": "row metric", "table": "table metric", "image": "image metric"}


class OfflineExperiment:
    """What an offline run belongs to: nothing, but a name from the environment."""

    @property
    def name(self) -> str:
        return os.environ.get("AZUREML_ARM_PROJECT_NAME", "")

    @property
    def workspace(self) -> Any:
        """The workspace that the environment names, or the one of this folder.

        Raises:
            ImportError: this environment does not hold what a workspace needs.
        """
        from batchmill.worker.deferred import real

        return real("batchmill.workspace.current", "find_workspace")(os.environ.get("AZUREML_ARM_WORKSPACE_NAME"))


class OfflineRun(MetricLog):
    """A run that nobody knows of; uploads, tags and models go nowhere.

    >>> run = OfflineRun("me")
    >>> run.log("loss", 0.5)
    Attempted to log scalar metric loss:
    0.5
    >>> run.get_metrics(), run
    ({'loss': 0.5}, Run(Id: me,
    Type: OfflineRun,
    Status: Running))
    """

    type = "OfflineRun"
    parent = None

    def __init__(self, id: Optional[str] = None) -> None:
        self.id = id or f"OfflineRun_{uuid.uuid4()}"
        self.name = self.display_name = self.id
        self.number = 0
        self.status = "Running"
        self.experiment = OfflineExperiment()
        self.tags: dict[str, str] = {}
        self.properties: dict[str, str] = {}
        self.input_datasets: dict[str, Any] = {}
        self.output_datasets: dict[str, Any] = {}
        self._logged: list[tuple[str, str, Any]] = []

    def _keep(self, name: str, kind: str, value: Any) -> None:
        self._logged.append((name, kind, value))
        sys.stdout.write(f"Attempted to log {WORDS.get(kind, kind)} {name}:\n{value}\n")

    def log_image(self, name: str, path: Any = None, plot: Any = None, description: str = "") -> None:
        """Say which image would be logged."""
        self._keep(name, "image", repr(plot) if path is None else str(path))

    def get_metrics(self, name: Optional[str] = None, **azure: Any) -> dict[str, Any]:
        """What was logged."""
        return metrics_of(self._logged, name)

    def get_status(self) -> str:
        return self.status

    def get_details(self) -> dict[str, Any]:
        return {"runId": self.id, "status": self.status, "properties": dict(self.properties), "tags": dict(self.tags)}

    def get_tags(self) -> dict[str, str]:
        return dict(self.tags)

    def get_properties(self) -> dict[str, str]:
        return dict(self.properties)

    def tag(self, key: str, value: Optional[str] = None) -> None:
        """Give it a tag."""
        self.set_tags({key: value})

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Add tags, or change those of the same names."""
        self.tags.update({str(key): "" if value is None else str(value) for key, value in tags.items()})

    def remove_tags(self, tags: Any) -> dict[str, str]:
        """Take tags away; returns those that are left."""
        for key in [tags] if isinstance(tags, str) else list(tags):
            self.tags.pop(key, None)
        return dict(self.tags)

    def add_properties(self, properties: dict[str, Any]) -> None:
        """Add properties."""
        self.properties.update({str(key): str(value) for key, value in properties.items()})

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: Optional[str] = None) -> list[str]:
        """Say which file would be uploaded."""
        sys.stdout.write(f"Attempted to upload {name}\n")
        return [name]

    def upload_files(self, names: Any, paths: Any, **azure: Any) -> list[str]:
        """Say which files would be uploaded."""
        return [self.upload_file(name, path)[0] for name, path in zip(names, paths)]

    def upload_folder(self, name: str, path: Any, datastore_name: Optional[str] = None) -> list[str]:
        """Say which folder would be uploaded."""
        return self.upload_file(name, path)

    def child_run(self, name: Optional[str] = None, run_id: Optional[str] = None, outputs: Any = None) -> OfflineRun:
        """Another run that nobody knows of."""
        return OfflineRun(run_id)

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing waits."""

    def start(self) -> None:
        self.status = "Running"

    def complete(self, _set_status: bool = True) -> None:
        self.status = "Completed"

    def fail(self, error_details: Any = None, error_code: Optional[str] = None, _set_status: bool = True) -> None:
        self.status = "Failed"

    def cancel(self) -> None:
        self.status = "Canceled"

    def __enter__(self) -> OfflineRun:
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        self.complete() if error is None else self.fail(error)

    def __repr__(self) -> str:
        return f"Run(Id: {self.id},\nType: {self.type},\nStatus: {self.status})"
