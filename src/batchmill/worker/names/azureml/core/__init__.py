"""`azureml.core` as entry scripts import it: `Model.get_model_path` and `Run.get_context` need nothing, other names what they stand for."""

from __future__ import annotations

from pkgutil import extend_path

from batchmill.worker.deferred import Deferred

__path__ = extend_path(__path__, __name__)

_HERE = {
    "Datastore": "datastore",
    "Dataset": "dataset",
    "Experiment": "experiment",
    "Model": "model",
    "Run": "run",
    "Workspace": "workspace",
}
_HOMES = {
    "CondaDependencies": "batchmill.workspace.conda_dependencies",
    "ComputeTarget": "batchmill.workspace.compute",
    "Environment": "batchmill.workspace.environment",
    "RunConfiguration": "batchmill.workspace.run_configuration",
    "ScriptRunConfig": "batchmill.workspace.run_configuration",
}


def __getattr__(name: str) -> object:
    if name in _HERE:
        from importlib import import_module

        return getattr(import_module("azureml.core." + _HERE[name]), name)
    if name in ("VERSION", "__version__"):
        from batchmill.workspace.conda_dependencies import SDK_VERSION

        return SDK_VERSION
    if name in _HOMES:
        return Deferred(name, (), {}, home=_HOMES[name])
    raise AttributeError(f"module 'azureml.core' has no attribute {name!r} in a run; what a script needs there is listed in its reference.")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HERE, *_HOMES, "VERSION"})
