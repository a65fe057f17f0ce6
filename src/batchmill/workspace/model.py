"""Models: files that are registered under a name, in versions (Azure ML: ``azureml.core.Model``)."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import ModelNotFoundException, WebserviceException, by_name
from batchmill.workspace.model_cache import fetch_model as fetch_model
from batchmill.workspace.model_facts import ModelFacts, Resources
from batchmill.workspace.model_framework import Framework
from batchmill.workspace.model_lookup import KIND, Filter, labels_of, whole_number
from batchmill.workspace.model_lookup import resolve_model as resolve_model
from batchmill.workspace.model_services import ModelServices
from batchmill.workspace.registered_model import RegisteredModel

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace


def from_asset(workspace: Workspace, asset: Asset) -> Model:
    """The object of a registered model (what ``ws.models`` holds)."""
    return Model.__new__(Model)._bind(workspace, asset)


class Model(RegisteredModel, ModelServices):
    """One version of a registered model.

    >>> model = Model.register(ws, model_path="models/", model_name="mnist")       # doctest: +SKIP
    >>> Model(ws, "mnist").version                                                  # doctest: +SKIP
    1
    >>> Model.get_model_path("mnist")            # in an entry script               # doctest: +SKIP
    '/.../azureml-models/mnist/1/models'
    """

    Framework = Framework

    def __init__(
        self,
        workspace: Workspace,
        name: str | None = None,
        id: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        version: int | None = None,
        run_id: str | None = None,
        model_framework: str | None = None,
        expand: bool = True,
        **_azure: Any,
    ) -> None:
        """The newest version that fits; ``id`` is ``NAME:VERSION``. A filter is a list of keys and of pairs of key and value.

        Raises:
            WebserviceException: neither name nor id is given, or the version is no int.
            ModelNotFoundException: there is none that fits.
        """
        if id is not None:
            name, _, number = id.partition(":")
            version = whole_number(number)
        if not name:
            raise WebserviceException("A model is found by its name or by its id NAME:VERSION, and neither is given.")
        wanted = None if version is None else whole_number(version)
        for asset in _find(workspace, name, tags, properties, all_versions=True):
            facts = asset.definition
            if (
                wanted in (None, asset.version)
                and run_id in (None, facts["run_id"])
                and model_framework in (None, facts["model_framework"])
            ):
                self._bind(workspace, asset)
                return
        label = f"with id {id}" if id is not None else f"with name {name}" + (f" and version {version}" if version is not None else "")
        fitting = ", of those that fit the filters" if tags or properties or run_id or model_framework else ""
        raise ModelNotFoundException(f"ModelNotFound: Model {label} not found in provided workspace{fitting}.")

    def _bind(self, workspace: Workspace, asset: Asset) -> Model:
        self.workspace = workspace
        self._asset = asset
        return self

    # --- registering and finding ------------------------------------------------------------------------------------------------------

    @staticmethod
    def register(
        workspace: Workspace,
        model_path: str | os.PathLike[str],
        model_name: str,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
        datasets: Iterable[tuple[str, Any]] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        child_paths: Sequence[str | os.PathLike[str]] | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
    ) -> Model:
        """Copy a file or folder into the workspace and register it as the next version of ``model_name``.

        The copy is complete when this returns: what ``model_path`` names may be changed or removed. Links in it are followed.

        Args:
            model_path: a file or a folder, anywhere on this machine.
            datasets: pairs of a purpose, such as ``"training"``, and a dataset.
            child_paths: the files and folders below ``model_path`` that alone are taken.

        Raises:
            WebserviceException: the name cannot be used; there is nothing at ``model_path`` (also a FileNotFoundError), or no file in it.
        """
        from batchmill.workspace.model_registration import register_model

        print(f"Registering model {model_name}")  # noqa: T201 - Azure ML prints this line
        facts = ModelFacts(
            model_framework=model_framework,
            model_framework_version=model_framework_version,
            resource_configuration=Resources.of(resource_configuration),
            datasets=[[str(purpose), dataset.save(workspace)] for purpose, dataset in datasets or ()],
            sample_input_dataset_id=None if sample_input_dataset is None else sample_input_dataset.save(workspace),
            sample_output_dataset_id=None if sample_output_dataset is None else sample_output_dataset.save(workspace),
        )
        asset = register_model(
            workspace,
            model_path,
            model_name,
            tags=tags,
            properties=properties,
            description=description,
            child_paths=child_paths,
            facts=facts,
        )
        return from_asset(workspace, asset)

    @staticmethod
    def from_mlflow(
        uri: str | os.PathLike[str],
        model_name: str | None = None,
        workspace: Workspace | None = None,
        *,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
    ) -> Model:
        """Register a model of MLflow: ``models:/NAME/VERSION``, ``runs:/RUN_ID/PATH``, or the folder of a run or of a model.

        What MLflow knows of it goes into the properties, its tags into the tags. See `batchmill.workspace.mlflow_model`.

        Raises:
            UserErrorException: MLflow is not installed, or there is no such model.
        """
        from batchmill.workspace.current import find_workspace
        from batchmill.workspace.mlflow_model import register_mlflow

        ws = workspace or find_workspace()
        asset = register_mlflow(
            ws, os.fspath(uri), model_name, tracking_uri=tracking_uri, tags=tags, properties=properties, description=description
        )
        return from_asset(ws, asset)

    @staticmethod
    def list(
        workspace: Workspace,
        name: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        run_id: str | None = None,
        latest: bool = False,
        dataset_id: str | None = None,
        expand: bool = True,
        page_count: int = 255,
        model_framework: str | None = None,
    ) -> builtins.list[Model]:
        """All models that fit, by name and newest version first; with ``latest`` only the newest version of each name.

        A filter is a list of keys and of pairs of key and value: ``tags=["digits", ["team", "vision"]]``.
        """
        found = []
        for asset in _find(workspace, name, tags, properties, all_versions=not latest):
            facts = asset.definition
            used = {facts["sample_input_dataset_id"], facts["sample_output_dataset_id"], *(one[1] for one in facts["datasets"])}
            if _made_by(asset, run_id, model_framework) and (not dataset_id or dataset_id in used):
                found.append(from_asset(workspace, asset))
        return found

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Workspace | None = None) -> str:
        """The path of a model's file, or of the folder that holds its files.

        In a run the model comes from the run's workspace, and the first answer about a name without a version binds the whole run.
        Elsewhere it is looked for below ``$AML_APP_ROOT/azureml-models``, then as ``<current folder>/<name>``; with ``_workspace`` it is
        downloaded to ``azureml-models`` in the current folder.

        Raises:
            ModelNotFoundException: there is no such model, or no such version.
            WebserviceException: ``version`` is no int, or the model cannot be fetched.
        """
        from batchmill.worker.model_path import MODELS, model_path
        from batchmill.worker.questions import Refusal, in_run

        if _workspace is not None and not in_run():
            asset = resolve_model(_workspace, model_name, version)
            target = Path.cwd() / MODELS / model_name / str(asset.version)
            return from_asset(_workspace, asset).download(str(target), exist_ok=True)
        try:
            return model_path(model_name, version)
        except Refusal as refusal:
            raise by_name(refusal.kind)(refusal.message) from None

    # --- its content ------------------------------------------------------------------------------------------------------------------

    def download(self, target_dir: str | os.PathLike[str] = ".", exist_ok: bool = False, exists_ok: bool | None = None) -> str:
        """Copy its files into a folder; returns the path of its file there, or of the folder that holds its files.

        Raises:
            WebserviceException: a file of that name is there, and not ``exist_ok``; or the content is not what was registered.
        """
        from batchmill.workspace.model_download import download_model

        return download_model(
            self.workspace, self._asset, Path(target_dir).absolute(), exist_ok=exist_ok if exists_ok is None else exists_ok
        )

    def delete(self) -> None:
        """Take this version out of the workspace, its files with it. A run that has fetched them goes on with what it has."""
        from batchmill.workspace.model_registration import remove_model

        remove_model(self.workspace, self._asset)

    # --- changing what is said of it --------------------------------------------------------------------------------------------------

    def update(
        self,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
    ) -> None:
        """Change what is given; ``tags`` replace all tags that it had."""
        changes = {
            "sample_input_dataset_id": None if sample_input_dataset is None else sample_input_dataset.save(self.workspace),
            "sample_output_dataset_id": None if sample_output_dataset is None else sample_output_dataset.save(self.workspace),
            "resource_configuration": Resources.of(resource_configuration),
        }
        given = {key: value for key, value in changes.items() if value is not None}
        changed = (lambda there: {**there, **given}) if given else None
        self._asset = self.workspace.registry.update(self._asset, tags=tags, description=description, definition=changed)

    def add_tags(self, tags: Mapping[str, Any]) -> None:
        """Add tags; one that is there gets the new value."""
        self.update_tags_properties(add_tags=tags)

    def remove_tags(self, tags: Iterable[str]) -> None:
        """Remove tags by their keys."""
        self.update_tags_properties(remove_tags=[tags] if isinstance(tags, str) else tags)

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties; what is there stays as it is (Azure ML: a property cannot be changed).

        Raises:
            WebserviceException: one of them has another value.
        """
        self.update_tags_properties(add_properties=properties)

    def update_tags_properties(
        self,
        add_tags: Mapping[str, Any] | None = None,
        remove_tags: Iterable[str] | None = None,
        add_properties: Mapping[str, Any] | None = None,
    ) -> None:
        """`add_tags`, `remove_tags` and `add_properties` at once."""
        gone = set(remove_tags or ())
        added = {str(key): str(value) for key, value in (add_properties or {}).items()}

        def tags(there: dict[str, str]) -> dict[str, Any]:
            return {key: value for key, value in {**there, **(add_tags or {})}.items() if key not in gone}

        def properties(there: dict[str, str]) -> dict[str, str]:
            for key, value in added.items():
                if there.get(key, value) != value:
                    raise WebserviceException(f"Property '{key}' of model {self.id} is '{there[key]}' and cannot be changed.")
            return {**there, **added}

        self._asset = self.workspace.registry.update(self._asset, tags=tags, properties=properties)

    def add_dataset_references(self, datasets: Iterable[tuple[str, Any]]) -> None:
        """Say which datasets it was made with: pairs of a purpose and a dataset."""
        added = [[str(purpose), dataset.save(self.workspace)] for purpose, dataset in datasets]
        self._asset = self.workspace.registry.update(
            self._asset, definition=lambda there: {**there, "datasets": [*there["datasets"], *added]}
        )


def _made_by(asset: Asset, run_id: str | None, framework: str | None) -> bool:
    return run_id in (None, asset.definition["run_id"]) and framework in (None, asset.definition["model_framework"])


def _find(ws: Workspace, name: str | None, tags: Filter, properties: Filter, *, all_versions: bool) -> builtins.list[Asset]:
    return ws.registry.list(KIND, name=name, all_versions=all_versions, tags=labels_of(tags), properties=labels_of(properties), limit=None)
