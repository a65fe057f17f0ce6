"""The run as its script sees it (Azure ML: ``Run.get_context()``): it asks the coordinator or the runner, never a database."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

from batchmill.worker.metric_log import IMAGE, MetricLog, metrics_of
from batchmill.worker.offline_run import OfflineRun
from batchmill.worker.questions import in_run
from batchmill.worker.script_dataset import dataset_of
from batchmill.worker.script_workspace import ScriptExperiment, workspace_of
from batchmill.worker.sdk_errors import asked, sdk_error

RUN_ID = "AZUREML_RUN_ID"
IN_TEST = "test"
"""The id of the run that `batchmill.testing` makes of a script: what is logged is printed, as outside a run."""


def run_of_script(allow_offline: bool = True) -> Union[ScriptRun, OfflineRun]:
    """The run of this process; outside a run one that prints what is logged.

    Raises:
        AzureMLException: ``allow_offline`` is False, and this process belongs to no run.
    """
    mine = os.environ.get(RUN_ID)
    if in_run() and mine != IN_TEST:
        return ScriptRun()
    if mine is None and not allow_offline:
        raise sdk_error(
            "AzureMLException",
            "This process belongs to no run: Run.get_context(allow_offline=False) works in the script of a step or an entry script only.",
        )
    return OfflineRun(mine)


def told(kind: str, **facts: Any) -> dict[str, Any]:
    """Tell the run something that changes it; never taken for the same thing that another process tells at that moment."""
    return asked(kind, telling=uuid.uuid4().hex, **facts)


class ScriptRun(MetricLog):
    """The run that this process works for.

    ``input_datasets``: of an input that is mounted or downloaded the path, of one that is given directly the dataset. ``output_datasets``:
    the paths of the outputs. ``parent``: the run of the pipeline. What is logged is kept at once.
    """

    def __init__(self) -> None:
        self._facts_told: Optional[dict[str, Any]] = None
        self._inputs: Optional[dict[str, Any]] = None

    @property
    def _facts(self) -> dict[str, Any]:
        if self._facts_told is None:
            self._facts_told = asked("run")
        return self._facts_told

    @property
    def id(self) -> str:
        return str(self._facts["id"])

    @property
    def name(self) -> str:
        """The name of the step."""
        return str(self._facts["name"])

    display_name = name

    @property
    def type(self) -> str:
        return str(self._facts["type"])

    @property
    def status(self) -> str:
        """The status as it is now."""
        return str(asked("run")["status"])

    def get_status(self) -> str:
        return self.status

    @property
    def experiment(self) -> ScriptExperiment:
        return ScriptExperiment(self._facts)

    @property
    def workspace(self) -> Any:
        return workspace_of(self._facts)

    @property
    def parent(self) -> Optional[ParentRun]:
        """The run of the pipeline; None for a run that belongs to none."""
        parent = self._facts["parent"]
        return None if parent is None else ParentRun(str(parent), self.experiment)

    @property
    def input_datasets(self) -> dict[str, Any]:
        """Name -> path, or dataset of an input that is given directly."""
        if self._inputs is None:
            self._inputs = {name: self._input(one) for name, one in self._facts["inputs"].items()}
        return self._inputs

    @staticmethod
    def _input(one: dict[str, Any]) -> Any:
        if one.get("path") is not None or one.get("dataset") is None:
            return one.get("path")
        return dataset_of(asked("dataset", id=one["dataset"]))

    @property
    def output_datasets(self) -> dict[str, str]:
        """Name -> path."""
        return dict(self._facts["outputs"])

    # --- metrics --------------------------------------------------------------------------------------------------------------------

    def _keep(self, name: str, kind: str, value: Any) -> None:
        told("metric", name=name, **{"as": kind}, value=value)

    def get_metrics(self, name: Optional[str] = None, **azure: Any) -> dict[str, Any]:
        """What was logged: name -> value, list of values or table."""
        return metrics_of(asked("metrics")["metrics"], name)

    def log_image(self, name: str, path: Any = None, plot: Any = None, description: str = "") -> None:
        """Upload an image file, or a plot of matplotlib as PNG, and log where it lies."""
        if (path is None) == (plot is None):
            raise sdk_error("UserErrorException", "Give path or plot, one of them.")
        if plot is not None:
            import io

            path = io.BytesIO()
            plot.savefig(path, format="png")
            path.seek(0)
            (stored,) = self.upload_file(name, path)
        else:
            (stored,) = self.upload_file(name if "." in name else name + os.path.splitext(path)[1], path)
        self._keep(name, IMAGE, f"aml://artifactId/ExperimentRun/dcid.{self.id}/{stored}")

    def flush(self, timeout_seconds: int = 300) -> None:
        """What is logged is kept at once: nothing waits."""

    # --- tags and properties --------------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> dict[str, str]:
        return dict(asked("run")["tags"])

    @property
    def properties(self) -> dict[str, str]:
        return dict(asked("run")["properties"])

    def get_tags(self) -> dict[str, str]:
        return self.tags

    def get_properties(self) -> dict[str, str]:
        return self.properties

    def tag(self, key: str, value: Optional[str] = None) -> None:
        """Give it a tag, or change the one of that name."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Add tags, or change those of the same names; the others stay."""
        told("tag", values=_texts(tags))

    def remove_tags(self, tags: Union[str, Iterable[str]]) -> dict[str, str]:
        """Take tags away; returns those that are left."""
        return dict(told("tag", values={}, drop=[tags] if isinstance(tags, str) else list(tags))["tags"])

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties, which nobody can change afterwards.

        Raises:
            UserErrorException: it has one of them with another value.
        """
        told("property", values=_texts(properties))

    # --- files and models -----------------------------------------------------------------------------------------------------------

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: Optional[str] = None) -> list[str]:
        """Upload a file, or what a stream holds, as ``name``.

        Raises:
            UserErrorException: it is no file, or the run has a file of that name.
        """
        read = getattr(path_or_stream, "read", None)
        if read is None:
            return self.upload_files([name], [path_or_stream])
        import tempfile

        data = read()
        with tempfile.NamedTemporaryFile() as file:
            file.write(data if isinstance(data, bytes) else str(data).encode("utf-8"))
            file.flush()
            return self.upload_files([name], [file.name])

    def upload_files(self, names: Sequence[str], paths: Sequence[Any], **azure: Any) -> list[str]:
        """Upload several files, each under its name.

        Raises:
            UserErrorException: one is no file or is there already, or there are not as many names as paths.
        """
        if len(names) != len(paths):
            raise sdk_error("UserErrorException", f"There are {len(names)} names for {len(paths)} paths.")
        files = [[str(name), os.path.abspath(os.fspath(path))] for name, path in zip(names, paths)]
        return list(told("upload", files=files)["names"])

    def upload_folder(self, name: str, path: Any, datastore_name: Optional[str] = None) -> list[str]:
        """Upload all files below a folder, under ``name/`` and their paths in it."""
        top = os.fspath(path)
        found = sorted(os.path.join(folder, file) for folder, _, files in os.walk(top) for file in files)
        if not found:
            raise sdk_error("UserErrorException", f"Folder {top} was not found, or holds no file: there is nothing to upload as {name}.")
        lead = f"{name.strip('/')}/" if name.strip("/") else ""
        return self.upload_files([lead + os.path.relpath(file, top).replace(os.sep, "/") for file in found], found)

    def register_model(
        self,
        model_name: str,
        model_path: Optional[str] = None,
        tags: Optional[Mapping[str, Any]] = None,
        properties: Optional[Mapping[str, Any]] = None,
        model_framework: Optional[str] = None,
        model_framework_version: Optional[str] = None,
        description: Optional[str] = None,
        datasets: Optional[Sequence[tuple[str, Any]]] = None,
        **azure: Any,
    ) -> RegisteredModel:
        """Register a file or folder, of this machine or uploaded to the run, as the next version of a model.

        Raises:
            UserErrorException: there is no such file.
        """
        path = model_path or model_name
        here = os.path.abspath(path) if os.path.exists(path) else None
        answer = told(
            "register_model",
            name=model_name,
            path=here,
            uploaded=path,
            tags=_texts(tags or {}),
            properties=_texts(properties or {}),
            model_framework=model_framework,
            model_framework_version=model_framework_version,
            description=description,
            datasets=[[purpose, dataset.id] for purpose, dataset in datasets or ()],
        )
        return RegisteredModel(answer)

    # --- its life -------------------------------------------------------------------------------------------------------------------

    def get_details(self) -> dict[str, Any]:
        """What is known of it: runId, status, tags, properties."""
        now = asked("run")
        return {"runId": now["id"], "status": now["status"], "tags": now["tags"], "properties": now["properties"]}

    def start(self) -> None:
        """It runs already."""

    def complete(self, _set_status: bool = True) -> None:
        """Say that it has ended well; the status is set when the process has ended."""
        told("status", status="Completed")

    def fail(self, error_details: Any = None, error_code: Optional[str] = None, _set_status: bool = True) -> None:
        """Say that it has failed, and why; the status is set when the process has ended."""
        why = "The script marked its run as failed." if error_details is None else str(error_details)
        told("status", status="Failed", error=f"{error_code}: {why}" if error_code else why)

    def child_run(self, name: Optional[str] = None, run_id: Optional[str] = None, outputs: Any = None) -> ScriptRun:
        """A part of this run: what it logs is kept with this run."""
        return PartOfRun(run_id or f"{self.id}_{uuid.uuid4().hex[:8]}", name)

    def __enter__(self) -> ScriptRun:
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        if error is not None:
            self.fail(f"{type(error).__name__}: {error}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"A script cannot use {name} of its run; outside, experiment.submit(...) and Run.get(workspace, id) give all of it."
        )

    def __repr__(self) -> str:
        return f"Run(Experiment: {self.experiment.name},\nId: {self.id},\nType: {self.type},\nStatus: {self.status})"


class PartOfRun(ScriptRun):
    """A part of a run with a name and an id of its own; ending it does not end the run."""

    def __init__(self, id: str, name: Optional[str]) -> None:
        super().__init__()
        self._id, self._name = id, name

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        return self._name or str(self._facts["name"])

    def complete(self, _set_status: bool = True) -> None:
        """Say that this part has ended well."""

    def fail(self, error_details: Any = None, error_code: Optional[str] = None, _set_status: bool = True) -> None:
        """Say that this part has failed; the run has not."""


class ParentRun(MetricLog):
    """The run of the pipeline that a step belongs to: its id, metrics and tags."""

    type = "azureml.PipelineRun"
    parent = None

    def __init__(self, id: str, experiment: ScriptExperiment) -> None:
        self.id = id
        self.experiment = experiment

    def _keep(self, name: str, kind: str, value: Any) -> None:
        told("metric", name=name, **{"as": kind}, value=value, of_parent=True)

    def get_metrics(self, name: Optional[str] = None, **azure: Any) -> dict[str, Any]:
        """What was logged by it."""
        return metrics_of(asked("metrics", of_parent=True)["metrics"], name)

    def tag(self, key: str, value: Optional[str] = None) -> None:
        """Give it a tag, or change the one of that name."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Add tags, or change those of the same names."""
        told("tag", values=_texts(tags), of_parent=True)

    def flush(self, timeout_seconds: int = 300) -> None:
        """What is logged is kept at once: nothing waits."""

    def __repr__(self) -> str:
        return f"Run(Experiment: {self.experiment.name},\nId: {self.id},\nType: {self.type})"


class RegisteredModel:
    """A model that the script has registered: ``name``, ``version``, ``id``, ``tags``."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.id = f"{facts['name']}:{facts['version']}"
        self.name = str(facts["name"])
        self.version = int(facts["version"])
        self.tags = dict(facts["tags"])

    def __repr__(self) -> str:
        return f"Model(name={self.name!r}, version={self.version}, id={self.id!r})"


def _texts(labels: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): "" if value is None else str(value) for key, value in labels.items()}
