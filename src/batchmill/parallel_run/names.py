"""The names of a workspace that a run uses: datasets, datastores, models, an environment, a compute target.

The first resolution of a name is written into the run's ledger and binds every worker, retry and resume. Nothing of the workspace is
loaded for a run that names nothing of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.parallel_run.named_things import DATASET, names_things
from batchmill.parallel_run.script_answers import ScriptAnswers
from batchmill.records import RunStatus
from batchmill.settings.ray_address import ray_address
from batchmill.storage.connections import find_with
from batchmill.storage.mirrors import VARIABLE as MIRRORS

if TYPE_CHECKING:
    from batchmill.data.definition import Definition
    from batchmill.parallel_run.ledger import Ledger
    from batchmill.parallel_run.run_folder import RunFolder
    from batchmill.settings import RunSettings
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.environment_order import EnvironmentOrder
    from batchmill.workspace.environment_preparation import Interpreter
    from batchmill.workspace.vm_sizes import VmSize
    from batchmill.workspace.workspace import Workspace

EMPTY: dict[str, Any] = {"workspace": None, "datasets": {}, "models": {}, "environment": None, "asked": {}}


def bound_names(ledger: Ledger) -> list[tuple[str, str]]:
    """What a run has bound: kind and name with version, such as ``("dataset", "digits:3")``."""
    return _names_in(EMPTY | json.loads(ledger.meta("names") or "{}"))


def _names_in(bound: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [("dataset", f"{one['name']}:{one['version']}" if one["name"] else one["id"]) for one in bound["datasets"].values()]
    found += [("dataset", f"{one['name']}:{one['version']}") for one in bound["asked"].values()]
    found += sorted({("model", f"{_named_version(label)[0]}:{one['version']}") for label, one in bound["models"].items()})
    if bound["environment"] is not None:
        found.append(("environment", f"{bound['environment']['name']}:{bound['environment']['version']}"))
    return found


class Names:
    """The names of one run. ``folder`` is where the run was started from, ``workspace`` the name bound then, if there was one; ``run`` is
    the folder of the run, ``step`` the step that it carries out (`create_run`)."""

    def __init__(
        self, settings: RunSettings, folder: Path, workspace: str | None, *, run: Path | None = None, step: Mapping[str, Any] | None = None
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._workspace_name = workspace or settings.workspace
        self._bound: dict[str, Any] = dict(EMPTY)
        self._ledger: Ledger | None = None
        self.scripts = ScriptAnswers(
            run or folder, settings.name or Path(settings.script).stem, step, lambda: self.workspace, self._uses_workspace
        )
        """What scripts are told, but of models."""
        self.size: VmSize | None = None
        """What a node of the compute target may use, once `bind` has looked at it; None where nothing bounds it."""
        find_with(self._connect)

    def _connect(self, key: str) -> str:
        """A datastore that a list of files names."""
        from batchmill.workspace.sources import connected

        return connected(key, self.workspace)

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace of the run.

        Raises:
            WorkspaceException: there is none of that name.
        """
        from batchmill.workspace.current import find_workspace

        return find_workspace(self._workspace_name, self._folder)

    def _uses_workspace(self) -> bool:
        """Whether the run names a workspace, or has needed one."""
        return self._workspace_name is not None or "workspace" in self.__dict__

    def place(self, text: str) -> str:
        """A path or URL that `storage` can take: of a ``datastore://NAME/PATH`` the place itself, of a URL what the mirror map says.

        Raises:
            UserErrorException: there is no such datastore.
        """
        used = names_things(self._settings)
        if "://" not in text or not (used or MIRRORS in os.environ):
            return text
        from batchmill.workspace.sources import physical

        return physical(text, self.workspace if used else None)

    def bind(self, ledger: Ledger) -> None:
        """Resolve every name once; a run that is resumed keeps what it found at first.

        Raises:
            UserErrorException: a dataset, model or environment is not there.
        """
        self._ledger = ledger
        before = json.dumps(EMPTY | json.loads(ledger.meta("names") or "{}"))
        self.look_up(ledger)
        if json.dumps(self._bound) != before:
            self._keep()

    def look_up(self, ledger: Ledger) -> None:
        """The same without binding anything: whoever carries the run out does that.

        Raises:
            UserErrorException: a dataset, model or environment is not there.
        """
        self.recall(ledger)
        self._bind_datasets()
        self._bind_models()
        self._bind_environment()
        self._check_compute()

    def recall(self, ledger: Ledger) -> None:
        """What the run has bound so far."""
        self._bound = EMPTY | json.loads(ledger.meta("names") or "{}")
        self._workspace_name = self._bound["workspace"] or self._workspace_name

    def _keep(self) -> None:
        if self._ledger is not None:
            with self._ledger.transaction():
                self._ledger.put(names=json.dumps(self._bound))

    def _bind_datasets(self) -> None:
        for text in self._settings.inputs:
            if text.startswith(DATASET) and text not in self._bound["datasets"]:
                from batchmill.workspace.dataset import find_dataset

                asset, definition = find_dataset(self.workspace, text.removeprefix(DATASET))
                entry = {"id": asset.id, "name": asset.name, "version": asset.version, "definition": definition.to_dict()}
                self._bound["datasets"] = {**self._bound["datasets"], text: entry}

    def _bind_models(self) -> None:
        """``NAME:VERSION`` also says which version a script gets that asks for NAME alone; of several, the first does."""
        for text in self._settings.models:
            name, version = _named_version(text)
            asset = self._model(name, version)
            self._bind_model(name, None, asset.id, asset.version)
            self._bind_model(name, version, asset.id, asset.version)

    def _bind_model(self, name: str, version: int | None, id: str, is_version: int) -> bool:
        """Bind what is not bound yet; returns whether it was so. A removed name may begin anew, so the version alone says too little."""
        label = _label(name, version)
        if label in self._bound["models"]:
            return False
        self._bound["models"] = {**self._bound["models"], label: {"id": id, "version": is_version}}
        return True

    def _model(self, name: str, version: int | None) -> Asset:
        """What a name stands for in this run, bound or not."""
        from batchmill.workspace.model_lookup import model_of_id, resolve_model

        bound = self._bound["models"].get(_label(name, version))
        if bound is None:
            return resolve_model(self.workspace, name, version)
        return model_of_id(self.workspace, bound["id"], name, bound["version"])

    def _check_compute(self) -> None:
        if self._settings.compute is not None and ray_address(self._settings.compute) is None:
            from batchmill.workspace.pool_lease import check_compute

            _, self.size = check_compute(self.workspace, self._settings.compute, self._settings.nodes)

    def _bind_environment(self) -> None:
        if self._settings.environment is not None and self._bound["environment"] is None:
            from batchmill.workspace.registered_environment import find_environment, split_name

            asset = find_environment(self.workspace, *split_name(self._settings.environment))
            self._bound["environment"] = {"id": asset.id, "name": asset.name, "version": asset.version}

    def connect(self) -> None:
        """Make the connections of the places that the plan of the run refers to; a resumed run has its plan already."""
        self.inputs()
        self.definitions()

    def record(self, folder: RunFolder, status: RunStatus) -> None:
        """Tell the registry of the run, if it uses the workspace. The truth lies in the run's folder: a registry that is out of reach
        does not stop it."""
        if "workspace" not in self.__dict__:
            return
        from batchmill.errors import RegistryError

        now = datetime.now(UTC)
        with suppress(RegistryError):
            self.workspace.registry.record_run(
                folder.id,
                name=self._settings.name or Path(self._settings.script).stem,
                status=status,
                folder=str(folder.path),
                compute=self._settings.compute,
                details={"names": [list(one) for one in _names_in(self._bound)]},
                started=now if status is RunStatus.RUNNING else None,
                ended=now if status.ended else None,
            )

    # --- what an earlier run has bound --------------------------------------------------------------------------------------------

    @property
    def models_bound(self) -> bool:
        """Whether the run has bound any model."""
        return bool(self._bound["models"])

    def resolve_again(self, bound: Mapping[str, Any]) -> list[str]:
        """How what another run has bound differs from what this one would get: ``model churn v7 -> v8``."""
        from batchmill.parallel_run.run_identity import binding_changes

        found = list(binding_changes("model", bound.get("models", {}), lambda label: self._model(*_named_version(label))))
        asked = bound.get("asked", {})
        found += list(binding_changes("dataset", asked, self._asked)) or self._asked_changes(asked)
        return [*found, *(f"model {label} is new" for label in self._bound["models"] if label not in bound.get("models", {}))]

    def _asked_changes(self, asked: Mapping[str, Any]) -> list[str]:
        """How datasets of the same names hold something else than when scripts asked for them."""
        from batchmill.workspace.input_listing import changes_since_asked

        now = {label: self._asked(label).definition for label in asked}
        found = (changes_since_asked(self.workspace, asked[label]["name"], asked[label].get("files"), now[label]) for label in now)
        return [text for text in found if text is not None]

    def _asked(self, label: str) -> Asset:
        from batchmill.workspace.dataset import asset_by_name

        return asset_by_name(self.workspace, *_named_version(label))

    def take_over(self, bound: Mapping[str, Any]) -> None:
        """Bind what another run has bound: rows of both runs come from the same, whatever is registered meanwhile."""
        for kind in ("models", "asked"):
            self._bound[kind] = {**bound.get(kind, {}), **self._bound[kind]}
        if self._bound["models"] or self._bound["asked"]:
            self._bound["workspace"] = self._bound["workspace"] or str(self.workspace.name)
            self._keep()
            self._tell_step_run()

    # --- what the names stand for -------------------------------------------------------------------------------------------------

    def inputs(self) -> list[str]:
        """The inputs as the planner takes them; a text that names a dataset stays and is a key of `definitions`."""
        return [self.place(text) for text in self._settings.inputs]

    def definitions(self) -> Mapping[str, Definition]:
        """The datasets among the inputs, over places that `storage` can take."""
        if not self._bound["datasets"]:
            return {}
        from batchmill.data.definition import Definition
        from batchmill.workspace.sources import physical_definition

        found = {text: Definition.from_dict(entry["definition"]) for text, entry in self._bound["datasets"].items()}
        return {text: physical_definition(definition, self.workspace) for text, definition in found.items()}

    def interpreter(self, *, needs_tables: bool, announce: Callable[[str], None]) -> Interpreter | None:
        """The interpreter of the environment that the run names, built if need be; None: this one.

        Raises:
            UserErrorException: it has been removed since the run began.
            EnvironmentBuildError: it cannot be built or used.
        """
        environment = self._environment()
        if environment is None:
            return None
        from batchmill.workspace.environment_preparation import prepare_environment

        policy = self._settings.environments
        return prepare_environment(self.workspace, environment, policy, needs_tables=needs_tables, announce=announce, folder=self._folder)

    def environment_order(self, *, needs_tables: bool) -> EnvironmentOrder | None:
        """The environment that the run names, for machines that know no workspace; None: their own interpreter.

        Raises:
            UserErrorException: it has been removed since the run began, or a file that it names is missing.
        """
        environment = self._environment()
        if environment is None:
            return None
        from batchmill.workspace.environment_order import environment_order

        return environment_order(self.workspace, environment, self._settings.environments, self._folder, needs_tables=needs_tables)

    def _environment(self) -> Environment | None:
        bound = self._bound["environment"]
        if bound is None:
            return None
        from batchmill.workspace.environment import from_asset
        from batchmill.workspace.registered_environment import environment_of_id

        # A removed name may begin anew, so its version alone says too little.
        return from_asset(self.workspace, environment_of_id(self.workspace, bound["id"], bound["name"], bound["version"]))

    def variables(self) -> dict[str, str]:
        """The variables of the environment that the run names.

        Raises:
            UserErrorException: it has been removed since the run began.
        """
        environment = self._environment()
        return {} if environment is None else dict(environment.environment_variables)

    def fetch_models(self, announce: Callable[[str], None]) -> None:
        """Bring the models that the run names to this machine, before the clocks of the workers tick.

        Raises:
            BatchmillError: one cannot be fetched.
        """
        for text in self._settings.models:
            name, version = _named_version(text)
            announce(f"Model {name}:{version or self._bound['models'][name]['version']}")
            self.answer({"kind": "model", "name": name, "version": version})

    # --- what workers ask ---------------------------------------------------------------------------------------------------------

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a worker's question (`batchmill.worker.questions`); may take as long as a model needs to arrive.

        Raises:
            ModelNotFoundException: there is no such model.
            BatchmillError: it cannot be fetched.
        """
        if question["kind"] == "dataset":
            return self._dataset(question)
        if question["kind"] != "model":
            return self.scripts.answer(question)
        from batchmill.workspace.model_cache import fetch_model

        asset = self._model(question["name"], question["version"])
        return {"name": asset.name, "version": asset.version, "id": asset.id, "folder": str(fetch_model(self.workspace, asset))}

    def _dataset(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """A dataset that a script asks for, by id, or by name and version, a number or None."""
        from batchmill.workspace.dataset import asset_by_name

        datasets, named = self.scripts.datasets, question.get("id")
        if named is None:
            bound = self._bound["asked"].get(_label(question["name"], question["version"]))
            if bound is None:
                from batchmill.workspace.input_listing import hash_when_asked

                asset = asset_by_name(self.workspace, question["name"], question["version"])
                return datasets.told(asset) | {"files": hash_when_asked(self.workspace, asset.definition)}
            named = bound["id"]
        return datasets.told(datasets.by_id(named))

    def _bind_asked(self, question: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
        label = _label(question["name"], question["version"])
        if label in self._bound["asked"]:
            return False
        entry = {name: answer[name] for name in ("id", "name", "version", "files")}
        self._bound["asked"] = {**self._bound["asked"], label: entry}
        return True

    def keep_answer(self, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """The first answer about a name binds: it is in the ledger before any worker knows it."""
        if question["kind"] == "model":
            new = self._bind_model(question["name"], question["version"], answer["id"], answer["version"])
        else:
            new = question["kind"] == "dataset" and question.get("id") is None and self._bind_asked(question, answer)
        if new:
            self._bound["workspace"] = self._bound["workspace"] or str(self.workspace.name)
            self._keep()
            self._tell_step_run()

    def _tell_step_run(self) -> None:
        """The step run shows what was bound for it, too; the truth is the ledger's."""
        from batchmill.errors import RegistryError
        from batchmill.workspace.run_answers import BOUND

        step = self.scripts.step_run_id
        if step is not None:
            with suppress(RegistryError):
                bound = {"models": self._bound["models"], "datasets": self._bound["asked"]}
                self.workspace.registry.change_run(step, details={BOUND: bound})


def _label(name: str, version: int | None) -> str:
    return name if version is None else f"{name}:{version}"


def _named_version(text: str) -> tuple[str, int | None]:
    """``NAME`` or ``NAME:VERSION``.

    Raises:
        WebserviceException: the version is no whole number.
    """
    name, colon, version = text.partition(":")
    if not colon:
        return name, None
    from batchmill.workspace.model_lookup import whole_number

    return name, whole_number(version)
