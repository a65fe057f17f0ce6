"""What all datastores of a workspace have in common: a name, a definition in the registry, sealed secrets."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from datetime import datetime

    from batchmill.workspace.asset import Asset
    from batchmill.workspace.secret import Secret
    from batchmill.workspace.workspace import Workspace

KIND = "datastore"
TYPE, SECRETS = "type", "secrets"
HIDDEN = "***"
FIRST_STORES: dict[str, dict[str, Any]] = {
    "workspaceblobstore": {TYPE: "AzureBlob", "folder": "workspaceblobstore"},
    "workspacefilestore": {TYPE: "AzureFile", "folder": "workspacefilestore"},
}
"""The datastores that every workspace has: folders of its own folder."""


class AbstractDatastore:
    """A registered datastore (Azure ML: ``azureml.data.abstract_datastore.AbstractDatastore``).

    Its definition is JSON: ``type``, the facts of its kind, and under ``secrets`` texts that are sealed or name a variable
    (``env:NAME``). Secrets are read when they are needed.
    """

    datastore_type: ClassVar[str] = "unknown"
    shown: ClassVar[tuple[str, ...]] = ()
    """The attributes that are printed, behind the name."""
    changeable: ClassVar[tuple[str, ...]] = ()
    """The facts and secrets that may be given anew."""

    def __init__(self, workspace: Workspace, asset: Asset) -> None:
        self.workspace = workspace
        self._asset = asset

    @property
    def name(self) -> str:
        return str(self._asset.name)

    @property
    def definition(self) -> dict[str, Any]:
        """The definition as it may be shown: secrets hidden, references to variables kept."""
        shown = {key: value for key, value in self._asset.definition.items() if key != SECRETS}
        secrets = self._asset.definition.get(SECRETS) or {}
        if secrets:
            shown[SECRETS] = {key: text if text.startswith("env:") else HIDDEN for key, text in secrets.items()}
        return shown

    @property
    def created(self) -> datetime:
        """When it was registered (UTC)."""
        return self._asset.created

    @property
    def stored(self) -> dict[str, Any]:
        """The definition as the registry keeps it, its secrets sealed."""
        return dict(self._asset.definition)

    def with_definition(self, definition: dict[str, Any]) -> Asset:
        """What the registry would hold with another definition."""
        from dataclasses import replace

        return replace(self._asset, definition=definition)

    @property
    def whereabouts(self) -> str:
        """Where it lies, in one text."""
        return ""

    @property
    def is_default(self) -> bool:
        """Whether it is the default datastore of its workspace."""
        return bool(self.workspace.default_datastore_name == self.name)

    def set_as_default(self) -> None:
        """Make this the default datastore of its workspace."""
        self.workspace.set_default_datastore(self.name)

    def unregister(self) -> None:
        """Take the datastore out of its workspace; what lies there stays.

        Raises:
            UserErrorException: it is the default datastore, or was unregistered already.
        """
        if self.is_default:
            raise UserErrorException(
                f"Datastore '{self.name}' is the default datastore of workspace {self.workspace.name} and cannot be unregistered. "
                "Make another one the default first: set_as_default(), or batchmill datastore update OTHER --default."
            )
        if not self.workspace.registry.remove(KIND, self.name):
            raise UserErrorException(f"There is no datastore '{self.name}' in workspace {self.workspace.name} any more.")

    def _fact(self, name: str, default: Any = None) -> Any:
        return self._asset.definition.get(name, default)

    @cached_property
    def _secrets(self) -> dict[str, Secret]:
        from batchmill.workspace.secret import Secret

        return {name: Secret(text) for name, text in (self._asset.definition.get(SECRETS) or {}).items()}

    def _reveal(self, name: str) -> str | None:
        """A secret of this datastore; None where it has none of that name."""
        secret = self._secrets.get(name)
        return None if secret is None else secret.reveal()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: what the registry knows, without secrets."""
        facts = {
            "datastore_type": self.datastore_type,
            "place": self.whereabouts,
            "default": self.is_default,
            "definition": self.definition,
        }
        return {"name": self.name, **facts, "id": self._asset.id, "created": self._asset.created.isoformat()}

    def __str__(self) -> str:
        return json.dumps({"name": self.name, **{name: getattr(self, name) for name in self.shown}}, indent=2)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        facts = {"Name": self.name, "Type": self.datastore_type, **{name: getattr(self, name) for name in self.shown}}
        rows = "".join(f"<tr><th>{escape(str(key))}</th><td>{escape(str(value))}</td></tr>" for key, value in facts.items())
        return f"<table>{rows}</table>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AbstractDatastore) and (self.workspace.id, self.name) == (other.workspace.id, other.name)

    def __hash__(self) -> int:
        return hash((self.workspace.id, self.name))
