"""The run of a script that belongs to none: it prints what is logged (Azure ML: ``Run.get_context()`` outside a run)."""

from __future__ import annotations

import uuid
from typing import Any

from batchmill.pipeline.metric_log import MetricLog, metrics_of

WORDS = {"value": "scalar metric", "list": "list metric", "row": "row metric", "table": "table metric", "image": "image metric"}


class OfflineRun(MetricLog):
    """A run that nobody knows of; uploads, tags and models go nowhere.

    >>> run = OfflineRun()
    >>> run.log("loss", 0.5)
    Attempted to log scalar metric loss:
    0.5
    >>> run.get_metrics()
    {'loss': 0.5}
    """

    type = "OfflineRun"
    status = "Running"
    parent = None

    def __init__(self) -> None:
        self.id = f"OfflineRun_{uuid.uuid4()}"
        self.name = self.display_name = self.id
        self.number = 0
        self.tags: dict[str, str] = {}
        self.properties: dict[str, str] = {}
        self.input_datasets: dict[str, Any] = {}
        self.output_datasets: dict[str, Any] = {}
        self._logged: list[Any] = []

    def _keep(self, name: str, kind: str, value: Any) -> None:
        from datetime import UTC, datetime

        from batchmill.workspace.registered_run import Metric

        print(f"Attempted to log {WORDS.get(kind, kind)} {name}:\n{value}", flush=True)  # noqa: T201 - what an offline run is for
        self._logged.append(Metric(name, kind, value, datetime.now(UTC)))

    def log_image(self, name: str, path: str | None = None, plot: Any = None, description: str = "") -> None:
        """Say which image would be logged."""
        self._keep(name, "image", path or repr(plot))

    def get_metrics(self, name: str | None = None, **azure: Any) -> dict[str, Any]:
        """What was logged, as `ExperimentRun.get_metrics` gives it."""
        return metrics_of(self._logged, name)

    def get_status(self) -> str:
        return self.status

    def get_tags(self) -> dict[str, str]:
        return dict(self.tags)

    def get_properties(self) -> dict[str, str]:
        return dict(self.properties)

    def tag(self, key: str, value: str | None = None) -> None:
        self.tags[str(key)] = str(value)

    def set_tags(self, tags: dict[str, Any]) -> None:
        self.tags |= {str(key): str(value) for key, value in tags.items()}

    def add_properties(self, properties: dict[str, Any]) -> None:
        self.properties |= {str(key): str(value) for key, value in properties.items()}

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: str | None = None) -> None:
        self._tell(f"upload file {path_or_stream} as {name}")

    def upload_folder(self, name: str, path: str, datastore_name: str | None = None) -> None:
        self._tell(f"upload folder {path} as {name}")

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing waits."""

    def complete(self, _set_status: bool = True) -> None:
        self.status = "Completed"

    def fail(self, error_details: Any = None, error_code: str | None = None, _set_status: bool = True) -> None:
        self.status = "Failed"

    def cancel(self) -> None:
        self.status = "Canceled"

    def _tell(self, what: str) -> None:
        print(f"Attempted to {what}", flush=True)  # noqa: T201

    def __enter__(self) -> OfflineRun:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.complete() if error is None else self.fail(error)

    def __repr__(self) -> str:
        return f"Run(Id: {self.id},\nType: {self.type},\nStatus: {self.status})"
