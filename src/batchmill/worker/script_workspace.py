"""The experiment and the workspace of a run, as its script sees them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from batchmill.worker.deferred import real
from batchmill.worker.script_dataset import dataset_of
from batchmill.worker.sdk_errors import HOME, asked


class ScriptExperiment:
    """The experiment that a run belongs to: its name and its workspace."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    @property
    def name(self) -> str:
        return self._told["experiment"] or ""

    @property
    def workspace(self) -> Any:
        """The workspace: the full class where this environment holds Batchmill, else what the run tells of it.

        Raises:
            WorkspaceException: the run uses no workspace.
        """
        return workspace_of(self._told)

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {(self._told['workspace'] or {}).get('name')})"


def workspace_of(told: dict[str, Any]) -> Any:
    """The workspace of the run that was told of; see `ScriptExperiment.workspace`."""
    if told["workspace"] is None:
        return real("batchmill.workspace.current", "find_workspace")()
    if told["alone"]:
        try:
            return real("batchmill.workspace.current", "find_workspace")(told["workspace"]["name"])
        except ImportError:
            pass  # the usual case in an environment of its own
    return ScriptWorkspace(told["workspace"])


class ScriptWorkspace:
    """A workspace in an environment that cannot open it: its facts, and its datasets by name."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.name = str(facts["name"])
        self.subscription_id = str(facts["subscription_id"])
        self.resource_group = str(facts["resource_group"])
        self.location = str(facts["location"])

    @property
    def datasets(self) -> Mapping[str, Any]:
        """Name -> newest version of a dataset; only names that are known already can be asked for."""
        return _Datasets()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{name} of a workspace cannot be used in this environment, which cannot open one: put azureml-core among its pip packages."
        )

    def __repr__(self) -> str:
        return f"Workspace(name={self.name!r}, subscription_id={self.subscription_id!r}, resource_group={self.resource_group!r})"


class _Datasets(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        try:
            return dataset_of(asked("dataset", name=name, version=None))
        except importlib.import_module(HOME).UserErrorException as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    @staticmethod
    def _names() -> list[str]:
        return list(asked("datasets")["names"])
