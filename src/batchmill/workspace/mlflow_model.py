"""Models of MLflow, taken into a workspace with what MLflow knows of them. A model in a local folder needs no MLflow to be installed."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.model_facts import ModelFacts
from batchmill.workspace.model_framework import Framework

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

DESCRIPTION = "MLmodel"
SCHEMES = ("models:/", "runs:/")
ADDED_BY_DOWNLOAD = "registered_model_meta"
FOLDER = "model"
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
FRAMEWORKS = {
    "sklearn": (Framework.SCIKITLEARN, "sklearn_version"),
    "onnx": (Framework.ONNX, "onnx_version"),
    "pytorch": (Framework.PYTORCH, "pytorch_version"),
    "keras": (Framework.TFKERAS, "keras_version"),
    "tensorflow": (Framework.TENSORFLOW, "tensorflow_version"),
}
UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(slots=True)
class Found:
    """A model of MLflow on this machine: the folder that holds its ``MLmodel``, its name, and what the registry of MLflow says of it."""

    folder: Path
    name: str
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    description: str | None = None


def register_mlflow(
    ws: Workspace,
    uri: str,
    model_name: str | None = None,
    *,
    tracking_uri: str | None = None,
    tags: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    description: str | None = None,
    facts: ModelFacts | None = None,
) -> Asset:
    """Register the next version of a model with the files of one of MLflow.

    Args:
        uri: ``models:/NAME/VERSION`` (also an alias), ``runs:/RUN_ID/PATH``, or a folder: of a run, or one with an ``MLmodel`` file.
        model_name: the name in the workspace, by default the one it has in MLflow, or that of its folder.
        tracking_uri: the store of MLflow, by default the one of its own settings (``MLFLOW_TRACKING_URI``).
        tags: added to those of MLflow, as ``properties`` are to what is known of the model.
        facts: in place of what MLflow says of the framework.

    Raises:
        UserErrorException: MLflow is needed and not installed, or refuses; or there is no such model.
    """
    from batchmill.workspace.model_registration import register_model

    with tempfile.TemporaryDirectory(prefix="batchmill-mlflow-") as temporary:
        found = _fetched(uri, tracking_uri, Path(temporary)) if uri.startswith(SCHEMES) else _on_disk(uri)
        known = _description_of(found.folder)
        return register_model(
            ws,
            found.folder,
            model_name or (UNFIT.sub("-", found.name).strip("-.") or FOLDER),
            tags={**found.tags, **(tags or {})},
            properties={"mlflow.source": uri, **_facts_of(known), **found.properties, **(properties or {})},
            description=found.description if description is None else description,
            facts=facts if facts is not None and facts.model_framework else _framework_of(known),
            folder_name=FOLDER,
        )


# --- finding ----------------------------------------------------------------------------------------------------------------------------


def _fetched(uri: str, tracking_uri: str | None, into: Path) -> Found:
    """Download a model that MLflow's own stores hold."""
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise UserErrorException(
            f"{uri} cannot be taken over: MLflow is not installed ({error}). Install it: pip install 'batchmill[mlflow]'"
        ) from None
    try:
        with _store_of(mlflow, tracking_uri):
            mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into))
            found = Found(_only_model(into, uri), uri.rstrip("/").rpartition("/")[2])
            (found.folder / ADDED_BY_DOWNLOAD).unlink(missing_ok=True)
            _ask_registry(mlflow.MlflowClient(), uri, found)
    except (MlflowException, OSError) as error:
        raise UserErrorException(f"{uri} cannot be taken over: MLflow says: {' '.join(str(error).split())}") from None
    return found


@contextmanager
def _store_of(mlflow: Any, uri: str | None) -> Iterator[None]:
    """MLflow's own settings, for a moment: it does not hand on a store that it is given call by call. They are kept in variables, too,
    so what was set before is what the variables said."""
    if uri is None:
        yield
        return
    before = {name: os.environ.get(name) for name in VARIABLES}
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        yield
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _ask_registry(client: Any, uri: str, found: Found) -> None:
    """What MLflow says of a version, and of the run that made it."""
    name, _, which = uri.removeprefix("models:/").partition("/")
    name, at, alias = name.partition("@")
    run_id = None
    if uri.startswith("models:/") and (which.isdecimal() or at):
        version = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, which)
        found.name, found.description, run_id = name, version.description or None, version.run_id
        found.properties |= {"mlflow.registered_model": name, "mlflow.registered_version": str(version.version)}
        found.tags |= {str(key): str(value) for key, value in version.tags.items()}
    elif uri.startswith("runs:/"):
        run_id = uri.removeprefix("runs:/").partition("/")[0]
    if run_id:
        of_run = client.get_run(run_id).data.tags
        found.tags = {key: value for key, value in of_run.items() if not key.startswith("mlflow.")} | found.tags


def _on_disk(path: str) -> Found:
    """A folder with a model in it, or the folder of a run that logged one."""
    folder = Path(path.removeprefix("file://")).absolute()
    if not folder.is_dir():
        raise UserErrorException(f"{path} is no folder. Name models:/NAME/VERSION, runs:/RUN_ID/PATH, or the folder of a model or run.")
    if (folder / DESCRIPTION).is_file():
        return Found(folder, folder.name)
    found = Found(_only_model(folder / "artifacts" if (folder / "artifacts").is_dir() else folder, path), folder.name)
    found.name = found.folder.name
    for tag in (folder / "tags").glob("*"):
        if tag.is_file() and not tag.name.startswith("mlflow."):
            found.tags[tag.name] = tag.read_text(encoding="utf-8")
    return found


def _only_model(folder: Path, label: str) -> Path:
    models = sorted(file.parent for file in folder.rglob(DESCRIPTION))
    if len(models) == 1:
        return models[0]
    if not models:
        raise UserErrorException(f"{label} holds no model of MLflow: there is no {DESCRIPTION} file in it.")
    names = ", ".join(os.path.relpath(model, folder) for model in models[:5])
    raise UserErrorException(f"{label} holds {len(models)} models of MLflow ({names}). Name one of them.")


# --- what is known ----------------------------------------------------------------------------------------------------------------------


def _description_of(folder: Path) -> dict[str, Any]:
    import yaml

    try:
        known = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserErrorException(f"{folder / DESCRIPTION} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(known, dict) or not isinstance(known.get("flavors", {}), dict):
        raise UserErrorException(f"{folder / DESCRIPTION} is no description of a model of MLflow.")
    return known


def _facts_of(known: Mapping[str, Any]) -> dict[str, str]:
    """Properties with what the ``MLmodel`` file says."""
    facts = {
        f"mlflow.{key}": known[key] for key in ("run_id", "model_id", "model_uuid", "mlflow_version", "utc_time_created") if known.get(key)
    }
    if known.get("flavors"):
        facts["mlflow.flavors"] = ",".join(sorted(known["flavors"]))
    if known.get("signature"):
        facts["mlflow.signature"] = json.dumps(known["signature"], sort_keys=True)
    return {key: str(value) for key, value in facts.items()}


def _framework_of(known: Mapping[str, Any]) -> ModelFacts:
    flavors = known.get("flavors") or {}
    for flavor, (framework, version) in FRAMEWORKS.items():
        if flavor in flavors:
            return ModelFacts(framework, (flavors[flavor] or {}).get(version))
    return ModelFacts()
