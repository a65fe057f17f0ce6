"""A workspace: what a team registers once and names afterwards (Azure ML: ``azureml.core.Workspace``)."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.storage.home import home
from batchmill.workspace.abstract_datastore import FIRST_STORES
from batchmill.workspace.catalog import Catalog, WorkspaceRecord
from batchmill.workspace.config_file import FILE, find_config, read_config, write_config
from batchmill.workspace.exceptions import UserErrorException, WorkspaceException
from batchmill.workspace.registry import Registry, new_asset
from batchmill.workspace.workspace_folder import make_folder, remove_folder

if TYPE_CHECKING:
    from datetime import datetime

    from batchmill.workspace.asset import Asset
    from batchmill.workspace.datastore import Datastore

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
FIRST_DEFAULT = "workspaceblobstore"
DEFAULT_DATASTORE = "default_datastore"


class Workspace:
    """An existing workspace, opened by its name.

    Subscription, resource group and location are kept as they are given and select nothing: a name stands for one workspace.

    >>> ws = Workspace.create("team", exist_ok=True)   # doctest: +SKIP
    >>> Workspace.get("team").name                      # doctest: +SKIP
    'team'
    """

    def __init__(
        self,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace_name: str | None = None,
        auth: Any = None,
        _location: str | None = None,
        _disable_service_check: bool = False,
        _workspace_id: str | None = None,
        sku: str = "basic",
        tags: Mapping[str, str] | None = None,
        _cloud: str = "AzureCloud",
    ) -> None:
        """Open a workspace; all but its name changes nothing.

        Raises:
            UserErrorException: no name is given.
            WorkspaceException: there is no workspace of that name.
        """
        if not workspace_name:
            raise UserErrorException("A workspace is opened by its name: parameter workspace_name is missing.")
        self._bind(_existing(Catalog(), workspace_name), auth)

    def _bind(self, record: WorkspaceRecord, auth: Any = None) -> Workspace:
        self._record, self._auth = record, auth
        self._catalog = Catalog()
        self._folder = home() / "workspaces" / record.name
        self._registry = Registry(record.id, self._catalog.url)
        return self

    @staticmethod
    def create(
        name: str,
        auth: Any = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        create_resource_group: bool = True,
        sku: str = "basic",
        tags: Mapping[str, str] | None = None,
        friendly_name: str | None = None,
        storage_account: str | None = None,
        key_vault: str | None = None,
        app_insights: str | None = None,
        container_registry: str | None = None,
        adb_workspace: str | None = None,
        primary_user_assigned_identity: str | None = None,
        cmk_keyvault: str | None = None,
        resource_cmk_uri: str | None = None,
        hbi_workspace: bool = False,
        default_cpu_compute_target: Any = None,
        default_gpu_compute_target: Any = None,
        private_endpoint_config: Any = None,
        private_endpoint_auto_approval: bool = True,
        exist_ok: bool = False,
        show_output: bool = True,
        user_assigned_identity_for_cmk_encryption: str | None = None,
        system_datastores_auth_mode: str = "accesskey",
        v1_legacy_mode: bool | None = None,
        *,
        description: str | None = None,
    ) -> Workspace:
        """Make a workspace with its two datastores; with ``exist_ok`` open it where it exists. What only Azure has is accepted.

        Raises:
            WorkspaceException: the name is taken, or no name of a workspace; or its folder cannot be made.
        """
        _check_name(name)
        make_folder(home() / "workspaces" / name)  # first: a workspace without its folders is none
        details = {"sku": sku, "tags": dict(tags or {}), "friendlyName": friendly_name or name, "description": description}
        record, made = Catalog().make(
            name,
            subscription_id=subscription_id or "",
            resource_group=resource_group or "",
            location=location or "",
            details=details,
            stores=[new_asset("datastore", store, definition) for store, definition in FIRST_STORES.items()],
        )
        if not made and not exist_ok:
            raise WorkspaceException(
                f"Workspace '{name}' exists already. Open it with Workspace.get or exist_ok=True, or choose another name."
            )
        ws = Workspace.__new__(Workspace)._bind(record, auth)
        if show_output:
            print(f"Workspace {name} {'has been created' if made else 'exists'}: {ws.folder}")  # noqa: T201 # Azure ML prints here
        return ws

    @staticmethod
    def get(
        name: str,
        auth: Any = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        cloud: str = "AzureCloud",
        id: str | None = None,
    ) -> Workspace:
        """Open the workspace of that name.

        Raises:
            WorkspaceException: there is none.
        """
        return Workspace(subscription_id, resource_group, name, auth=auth)

    @staticmethod
    def from_config(path: str | Path | None = None, auth: Any = None, _logger: Any = None, _file_name: str | None = None) -> Workspace:
        """Open the workspace that a ``config.json`` names: in ``.azureml``, ``aml_config`` or the folder itself, or those above it.

        ``path`` is the folder to begin at, or the file. Without one, and without a file, it is the workspace of
        ``BATCHMILL_WORKSPACE``, else the one called ``default``.

        Raises:
            UserErrorException: ``path`` is given and there is no such file, or it names no workspace.
            WorkspaceException: there is no workspace of that name.
        """
        start, file_name = Path(path or ".").absolute(), _file_name or FILE
        found = start if start.is_file() else find_config(start, file_name)
        if found is not None:
            values = read_config(found)
            return Workspace.get(values["workspace_name"], auth, values["subscription_id"], values["resource_group"])
        if path is None and _file_name is None:
            from batchmill.workspace.current import workspace_of_environment

            return workspace_of_environment(auth)
        raise UserErrorException(
            f"The workspace configuration file {file_name}, could not be found in {start} or its parent directories. "
            "Write it with ws.write_config(), or give the full path of the file."
        )

    @staticmethod
    def list(subscription_id: str | None = None, auth: Any = None, resource_group: str | None = None) -> dict[str, list[Workspace]]:
        """All workspaces: name -> a list with the one of that name. Those of other subscriptions and resource groups are left out."""
        found = {}
        for record in Catalog().all():
            if _agree(record.subscription_id, subscription_id) and _agree(record.resource_group, resource_group):
                found[record.name] = [Workspace.__new__(Workspace)._bind(record, auth)]
        return found

    def write_config(self, path: str | Path | None = None, file_name: str | None = None) -> None:
        """Write ``<path or current folder>/.azureml/config.json``, which `from_config` finds."""
        target = Path(path or ".").absolute() / ".azureml" / (file_name or FILE)
        values = {"subscription_id": self.subscription_id, "resource_group": self.resource_group, "workspace_name": self.name}
        try:
            write_config(target, values)
        except OSError as error:
            raise UserErrorException(f"The workspace configuration file {target} cannot be written: {error.strerror}.") from None

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def id(self) -> str:
        """The workspace's own id (a UUID as text)."""
        return self._record.id

    @property
    def location(self) -> str:
        return self._record.location

    @property
    def subscription_id(self) -> str:
        return self._record.subscription_id

    @property
    def resource_group(self) -> str:
        return self._record.resource_group

    @property
    def sku(self) -> str:
        return str(self._record.details.get("sku") or "")

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._record.details.get("tags") or {})

    @property
    def friendly_name(self) -> str:
        return str(self._record.details.get("friendlyName") or self.name)

    @property
    def created(self) -> datetime:
        """When it was made (UTC)."""
        return self._record.created

    @property
    def description(self) -> str | None:
        return self._record.details.get("description")

    @property
    def folder(self) -> Path:
        """Where the workspace keeps its files on this machine, its two local datastores among them."""
        return self._folder

    @property
    def registry(self) -> Registry:
        """What is registered in the workspace."""
        return self._registry

    def get_details(self) -> dict[str, Any]:
        """What Azure ML tells of a workspace, as far as there is something to tell."""
        group = f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
        return {
            "id": f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{self.name}",
            "name": self.name,
            "location": self.location,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "tags": self.tags,
            "sku": self.sku,
            "workspaceid": self.id,
            "description": self.description or "",
            "friendlyName": self.friendly_name,
            "creationTime": self._record.created.isoformat(),
            "storageAccount": str(self.folder),
            "provisioningState": "Succeeded",
        }

    def update(
        self,
        friendly_name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        image_build_compute: str | None = None,
        service_managed_resources_settings: Any = None,
        primary_user_assigned_identity: str | None = None,
        allow_public_access_when_behind_vnet: bool | None = None,
        v1_legacy_mode: bool | None = None,
    ) -> dict[str, Any]:
        """Change name for people, description and tags as far as they are given; returns the details.

        Raises:
            WorkspaceException: it has been removed.
        """
        given = {"friendlyName": friendly_name, "description": description, "tags": None if tags is None else dict(tags)}
        self._record = self._catalog.change(self._record, {key: value for key, value in given.items() if value is not None})
        return self.get_details()

    def delete(self, delete_dependent_resources: bool = False, no_wait: bool = False) -> None:
        """Remove the workspace: all that is registered in it, and its folder. Data elsewhere stays.

        Raises:
            WorkspaceException: its folder cannot be removed; the rest is.
        """
        self._catalog.remove(self._record)
        remove_folder(self.folder)

    @property
    def datastores(self) -> Mapping[str, Datastore]:
        """Name -> datastore."""
        return self._view("datastore", "batchmill.workspace.datastore")

    @property
    def datasets(self) -> Mapping[str, Any]:
        """Name -> newest version of the dataset."""
        return self._view("dataset", "batchmill.workspace.dataset")

    @property
    def models(self) -> Mapping[str, Any]:
        """Name -> newest version of the model."""
        return self._view("model", "batchmill.workspace.model")

    @property
    def environments(self) -> Mapping[str, Any]:
        """Name -> newest version of the environment."""
        return self._view("environment", "batchmill.workspace.environment")

    @property
    def compute_targets(self) -> Mapping[str, Any]:
        """Name -> compute target."""
        return self._view("compute", "batchmill.workspace.compute")

    def get_default_compute_target(self, type: str) -> Any:
        """The compute target that the setting ``default_cpu_compute`` or ``default_gpu_compute`` names; None where it is not made.

        Raises:
            UserErrorException: ``type`` is neither CPU nor GPU.
            ComputeTargetException: the compute target of that name has been removed.
        """
        from batchmill.workspace.compute import AmlCompute

        kind = str(type).lower()
        if kind not in ("cpu", "gpu"):
            raise UserErrorException(f"The type of a default compute target is CPU or GPU, not {type!r}.")
        name = self.registry.setting(f"default_{kind}_compute")
        return None if name is None else AmlCompute(self, name)

    @property
    def experiments(self) -> Mapping[str, Any]:
        """Name -> experiment (`batchmill.Experiment`)."""
        import batchmill

        return {name: batchmill.Experiment.named(self, name) for name in self.registry.experiments()}

    def get_run(self, run_id: str) -> Any:
        """The run of that id, as the class of its kind: `batchmill.PipelineRun`, ``StepRun``, ``ScriptRun`` or ``ExperimentRun``.

        Raises:
            UserErrorException: there is none.
        """
        import batchmill

        return batchmill.ExperimentRun.get(self, run_id)

    def _view(self, kind: str, module: str) -> Mapping[str, Any]:
        """A mapping whose objects the kind's own module makes, with its function ``from_asset(workspace, asset)``."""

        def make(asset: Asset) -> Any:
            return importlib.import_module(module).from_asset(self, asset)

        return self.registry.mapping(kind, make)

    def get_default_datastore(self) -> Datastore:
        """The datastore that is meant where none is named: ``workspaceblobstore`` unless another one was set."""
        return self.datastores[self.default_datastore_name]

    @property
    def default_datastore_name(self) -> str:
        return str(self.registry.setting(DEFAULT_DATASTORE) or FIRST_DEFAULT)

    def set_default_datastore(self, name: str) -> None:
        """Choose the default datastore.

        Raises:
            UserErrorException: there is none of that name.
        """
        if name not in self.datastores:
            raise UserErrorException(f"There is no datastore '{name}' in workspace {self.name}, so it cannot be the default.")
        self.registry.set_setting(DEFAULT_DATASTORE, name)

    def __repr__(self) -> str:
        return f"Workspace.create(name={self.name!r}, subscription_id={self.subscription_id!r}, resource_group={self.resource_group!r})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workspace) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise WorkspaceException(
            f"A workspace cannot be called {name!r}: a name has 1 to 63 letters, digits, '-', '_' and '.', "
            "and begins with a letter or digit."
        )


def _existing(catalog: Catalog, name: str) -> WorkspaceRecord:
    record = catalog.find(name)
    if record is not None:
        return record
    near = difflib.get_close_matches(name, [other.name for other in catalog.all()], n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise WorkspaceException(f"There is no workspace '{name}' in the registry.{hint} Create it: batchmill workspace create {name}")


def _agree(ours: str, asked: str | None) -> bool:
    return not asked or not ours or ours == asked
