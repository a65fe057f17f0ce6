"""What scripts are told of the run of the step that they belong to, and what they tell it (Azure ML: ``Run.get_context()``).

Used by the runner of a pipeline for script steps, and by the coordinator of a parallel run that carries out a step. No answer holds a key,
a URL with credentials or the definition of a dataset.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from batchmill.errors import UsageError
from batchmill.workspace.dataset_answers import DatasetAnswers
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

Question = Mapping[str, Any]
Answer = dict[str, Any]

BOUND = "bound"
"""The key in the details of a step run: what the names stood for that its script asked for, ``{"models": {LABEL: {"id", "version"}},
"datasets": {LABEL: {"id", "name", "version"}}}``; a label is ``NAME`` or ``NAME:VERSION``. The first answer binds all tries of the step."""

ARTIFACTS = "azureml/ExperimentRun/dcid."


class RunAnswers:
    """The answers for one run of the registry; a context manager that ends what they began (mounts, files of rows).

    Args:
        inputs: name -> ``{"mode": "mount" | "download" | "direct" | ..., "path": path on this machine or None, "dataset": id or None}``.
        outputs: name -> path on this machine.
        folder: where files for the script are made; those of one run go with it.
    """

    def __init__(
        self,
        workspace: Workspace,
        run_id: str,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        outputs: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self.workspace = workspace
        self.run_id = run_id
        self._inputs = {name: dict(one) for name, one in (inputs or {}).items()}
        self._outputs = dict(outputs or {})
        self.folder = folder if folder is not None else workspace.folder / "asked" / run_id
        self.datasets = DatasetAnswers(lambda: workspace, self.folder / "tables")
        self.failure: str | None = None
        """What the script said when it called ``run.fail()``: the step has failed then, whatever its exit code."""
        self._lock = threading.Lock()
        run = workspace.registry.run(run_id)
        self._bound: dict[str, dict[str, Any]] = {"models": {}, "datasets": {}} | (run.details.get(BOUND) or {} if run else {})
        self._kinds: dict[str, Callable[[Question], Answer]] = {
            "run": self._run,
            "metric": self._metric,
            "metrics": self._metrics,
            "tag": self._tag,
            "property": self._property,
            "status": self._status,
            "upload": self._upload,
            "register_model": self._register_model,
            "model": self._model,
            "dataset": self._dataset,
            "datasets": self._datasets,
            "table": self.datasets.table,
            "files": self.datasets.files,
        }

    @property
    def bound(self) -> dict[str, dict[str, Any]]:
        """What the names stood for that were asked so far, as under `BOUND`."""
        with self._lock:
            return {kind: dict(labels) for kind, labels in self._bound.items()}

    def answer(self, question: Question) -> Answer:
        """The answer to a question of a script (`batchmill.worker.questions`); from any thread.

        Raises:
            BatchmillError: what the script is to see.
        """
        find = self._kinds.get(question["kind"])
        if find is None:
            raise UsageError(f"A run knows nothing of the kind '{question['kind']}'.")
        return find(question)

    def knows(self, kind: str) -> bool:
        """Whether questions of that kind are answered."""
        return kind in self._kinds

    def close(self) -> None:
        """End what was begun for the script."""
        self.datasets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the run --------------------------------------------------------------------------------------------------------------------

    def _row(self) -> RegisteredRun:
        run = self.workspace.registry.run(self.run_id)
        if run is None:
            raise UserErrorException(f"Run {self.run_id} is not known in workspace {self.workspace.name}: it has been removed.")
        return run

    def _run(self, question: Question) -> Answer:
        run, workspace = self._row(), self.workspace
        return {
            "id": run.id,
            "name": run.name,
            "type": run.kind,
            "status": run.status,
            "experiment": run.experiment,
            "parent": run.parent,
            "tags": dict(run.tags),
            "properties": dict(run.properties),
            "workspace": facts_of(workspace),
            "alone": self._alone(),
            "inputs": self._inputs,
            "outputs": self._outputs,
        }

    @staticmethod
    def _alone() -> bool:
        from batchmill.workspace.dataset_answers import SECRET_KEY

        return SECRET_KEY not in os.environ

    def _metric(self, question: Question) -> Answer:
        self.workspace.registry.log_metric(self._target(question), str(question["name"]), str(question["as"]), question["value"])
        return {}

    def _target(self, question: Question) -> str:
        """The run that is meant: this one, or its parent."""
        if not question.get("of_parent"):
            return self.run_id
        parent = self._row().parent
        if parent is None:
            raise UserErrorException(f"Run {self.run_id} has no parent.")
        return parent

    def _metrics(self, question: Question) -> Answer:
        found = self.workspace.registry.metrics(self._target(question))
        return {"metrics": [[metric.name, metric.kind, metric.value] for metric in found]}

    def _tag(self, question: Question) -> Answer:
        run = self.workspace.registry.change_run(self._target(question), tags=question["values"], drop_tags=question.get("drop") or ())
        return {"tags": {} if run is None else dict(run.tags)}

    def _property(self, question: Question) -> Answer:
        there = self._row().properties
        for key, value in question["values"].items():
            if there.get(str(key), str(value)) != str(value):
                raise UserErrorException(f"Property {key} of run {self.run_id} is '{there[str(key)]}': properties cannot be changed.")
        run = self.workspace.registry.change_run(self.run_id, properties=question["values"])
        return {"properties": {} if run is None else dict(run.properties)}

    def _status(self, question: Question) -> Answer:
        """The script says how it ended; the status of the run is set when its process has ended."""
        if question["status"] == "Failed":
            self.failure = str(question.get("error") or "The script marked its run as failed.")
        return {}

    # --- files and models -----------------------------------------------------------------------------------------------------------

    def _upload(self, question: Question) -> Answer:
        """``files``: pairs of the name in the run and the path on this machine."""
        from batchmill.storage.transfer import StoreFile

        place, datastore = f"{ARTIFACTS}{self.run_id}", self._store()
        files = [StoreFile(_artifact(name), str(path), os.path.getsize(path)) for name, path in question["files"] if _there(path, name)]
        taken = {file.name.removeprefix(f"{place}/") for file in datastore.files(f"{place}/")}
        for file in files:
            if file.name in taken:
                raise UserErrorException(
                    f"UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.{self.run_id}/{file.name} already exists."
                )
        datastore.send(files, place, False, False)
        return {"names": [file.name for file in files]}

    def _store(self) -> Any:
        """The datastore that the files of runs lie in."""
        return self.workspace.get_default_datastore()

    def _register_model(self, question: Question) -> Answer:
        """``path`` on this machine, or what was uploaded as ``uploaded``."""
        from batchmill.workspace.model_facts import ModelFacts
        from batchmill.workspace.model_registration import register_model

        facts = ModelFacts(
            model_framework=question.get("model_framework"),
            model_framework_version=question.get("model_framework_version"),
            datasets=[[str(purpose), str(dataset)] for purpose, dataset in question.get("datasets") or ()],
            run_id=self.run_id,
            experiment_name=self._row().experiment,
        )
        given = {key: question.get(key) for key in ("tags", "properties", "description")}
        asset = register_model(self.workspace, self._model_files(question), question["name"], facts=facts, **given)
        return {"id": asset.id, "name": asset.name, "version": asset.version, "tags": dict(asset.tags)}

    def _model_files(self, question: Question) -> str:
        if question.get("path") is not None:
            return str(question["path"])
        name = _artifact(question["uploaded"])
        prefix = f"{ARTIFACTS}{self.run_id}/{name}"
        folder = self.folder / "models"
        self._store().download(str(folder), prefix, overwrite=True, show_progress=False)
        if not (folder / prefix).exists():
            raise UserErrorException(f"Run {self.run_id} has no file {name}, and there is none on this machine: nothing can be registered.")
        return str(folder / prefix)

    def _model(self, question: Question) -> Answer:
        from batchmill.workspace.model_cache import fetch_model
        from batchmill.workspace.model_lookup import model_of_id, resolve_model

        label = _label(question["name"], question["version"])
        entry = self.bound["models"].get(label)
        if entry is None:
            asset = resolve_model(self.workspace, question["name"], question["version"])
            entry = self._bind("models", label, {"id": asset.id, "version": asset.version})
        asset = model_of_id(self.workspace, entry["id"], question["name"], entry["version"])
        return {"name": asset.name, "version": asset.version, "id": asset.id, "folder": str(fetch_model(self.workspace, asset))}

    def _dataset(self, question: Question) -> Answer:
        """By ``id``, or by ``name`` and ``version``, a number or None."""
        if question.get("id") is not None:
            return self.datasets.told(self.datasets.by_id(question["id"]))
        label = _label(question["name"], question.get("version"))
        entry = self.bound["datasets"].get(label)
        if entry is None:
            from batchmill.workspace.input_listing import hash_when_asked

            asset = named_dataset(self.workspace, question)
            held = hash_when_asked(self.workspace, asset.definition)
            entry = self._bind("datasets", label, {"id": asset.id, "name": asset.name, "version": asset.version, "files": held})
        return self.datasets.told(self.datasets.by_id(entry["id"]))

    def _datasets(self, question: Question) -> Answer:
        return {"names": list(self.workspace.registry.names("dataset"))}

    def _bind(self, kind: str, label: str, entry: dict[str, Any]) -> dict[str, Any]:
        """What a name stands for from now on; in the registry before the script knows it."""
        with self._lock:
            there: dict[str, Any] | None = self._bound[kind].get(label)
            if there is not None:
                return there
            self._bound = {**self._bound, kind: {**self._bound[kind], label: entry}}
            self.workspace.registry.change_run(self.run_id, details={BOUND: self._bound})
        return entry


def facts_of(workspace: Workspace) -> dict[str, Any]:
    """What a script is told of the workspace of its run."""
    return {name: getattr(workspace, name) for name in ("name", "subscription_id", "resource_group", "location")}


def named_dataset(workspace: Workspace, question: Question) -> Asset:
    """The dataset that a question names.

    Raises:
        UserErrorException: there is none.
    """
    from batchmill.workspace.dataset import asset_by_name

    return asset_by_name(workspace, question["name"], question.get("version"))


def _label(name: str, version: Any) -> str:
    return str(name) if version is None else f"{name}:{version}"


def _artifact(name: Any) -> str:
    text = str(name).replace(os.sep, "/").removeprefix("./").strip("/")
    if not text or ".." in text.split("/"):
        raise UserErrorException(f"'{name}' is no name of a file of a run: it is relative, and does not lead out of it.")
    return text


def _there(path: Any, name: str) -> bool:
    if not os.path.isfile(path):
        raise UserErrorException(f"File {path} was not found: there is nothing to upload as {name}.")
    return True
