"""What is registered in a workspace: the only door to its rows in the database.

Every method is one transaction, so any number of processes may call them at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from batchmill.errors import AssetExistsError, AssetNotFoundError
from batchmill.workspace.asset import Asset as Asset
from batchmill.workspace.asset import AssetMapping, digest_of
from batchmill.workspace.database import database_url, open_database
from batchmill.workspace.experiment_index import ExperimentIndex
from batchmill.workspace.run_index import PAGE, RunIndex
from batchmill.workspace.run_metrics import RunMetrics

if TYPE_CHECKING:
    from batchmill.workspace.asset_rows import AssetRows
    from batchmill.workspace.database import Database

T = TypeVar("T")
Assets = list[Asset]
Names = list[str]  # where a method called list hides the type
Labels = Mapping[str, Any]


class Registry(RunIndex, RunMetrics, ExperimentIndex):
    """The registry of one workspace (``ws.registry``); holds nothing itself, so it is never out of date."""

    def __init__(self, workspace_id: str, url: str | None = None) -> None:
        self.workspace_id = workspace_id
        self._url = url or database_url()

    @property
    def database(self) -> Database:
        """The database that the workspace is in, for tables that have a module of their own."""
        return open_database(self._url)

    @cached_property
    def _rows(self) -> AssetRows:
        from batchmill.workspace.asset_rows import AssetRows

        return AssetRows(self.workspace_id)

    def add(
        self,
        kind: str,
        name: str,
        definition: dict[str, Any],
        *,
        description: str | None = None,
        tags: Labels | None = None,
        properties: Labels | None = None,
        same: Literal["existing", "new_version"] = "new_version",
        different: Literal["new_version", "refuse"] = "new_version",
    ) -> Asset:
        """Register the next version of a name: 1, 2, ..., each given once however many processes add at the same time.

        ``same`` says what happens when the newest version has the same definition, ``different`` when it has another one.

        Raises:
            AssetExistsError: ``different="refuse"`` and there is another one; ``facts["asset"]`` is it.
        """
        asset = new_asset(kind, name, definition, description, tags, properties)
        with self.database.write() as connection:
            last = self._rows.lock_name(connection, kind, name)
            newest = self._rows.newest(connection, kind, name)
            if newest is not None and newest.digest == asset.digest and same == "existing":
                return newest
            if newest is not None and newest.digest != asset.digest and different == "refuse":
                raise AssetExistsError(f"There is another {kind} called '{name}'.", cure="Register a new version of it.", asset=newest)
            return self._rows.append(connection, _version(asset, last + 1))

    def put(
        self,
        kind: str,
        name: str,
        definition: dict[str, Any],
        *,
        description: str | None = None,
        tags: Labels | None = None,
        properties: Labels | None = None,
    ) -> Asset:
        """Register something that has no versions, or replace what has that name; its id and moment of creation stay."""
        asset = new_asset(kind, name, definition, description, tags, properties)
        with self.database.write() as connection:
            self._rows.lock_name(connection, kind, name)
            old = self._rows.newest(connection, kind, name)
            return self._rows.append(connection, asset) if old is None else self._rows.change(connection, old, asset)

    def save(self, kind: str, definition: dict[str, Any]) -> Asset:
        """Keep a definition without a name; the same definition gives the same asset again."""
        asset = new_asset(kind, None, definition, None, None, None)
        with self.database.write() as connection:
            self._rows.save(connection, asset)
            return self._rows.saved(connection, kind, asset.digest) or asset

    def get(self, kind: str, name: str, version: int | None = None) -> Asset | None:
        """One version of a name, the newest by default; None where there is none."""
        with self.database.read() as connection:
            if version is None:
                return self._rows.newest(connection, kind, name)
            return self._rows.version(connection, kind, name, version)

    def by_id(self, kind: str, id: str) -> Asset | None:
        """The asset with an id, registered or saved; None where there is none."""
        with self.database.read() as connection:
            return self._rows.by_id(connection, kind, id)

    def list(
        self,
        kind: str,
        *,
        name: str | None = None,
        all_versions: bool = False,
        tags: Labels | None = None,
        properties: Labels | None = None,
        after: str | None = None,
        limit: int | None = PAGE,
    ) -> Assets:
        """Registered assets by name, the newest version of each, or with ``all_versions`` each version, newest first.

        ``tags`` and ``properties`` must be there with these values (a value of None: with any). ``after`` is the name that the
        page before ended with; ``limit`` None gives all.
        """
        labels = {"tags": tags or {}, "properties": properties or {}}
        with self.database.read() as connection:
            return self._rows.page(connection, kind, name=name, all_versions=all_versions, after=after, labels=labels, limit=limit)

    def names(self, kind: str) -> Names:
        """All registered names of a kind, in order."""
        with self.database.read() as connection:
            return self._rows.names(connection, kind)

    def counts(self) -> dict[str, int]:
        """How many names of each kind are registered, and under ``run`` how many runs are known; kinds without any are left out."""
        from sqlalchemy import func, select

        from batchmill.workspace.schema import assets, runs

        newest = (assets.c.workspace_id == self.workspace_id, assets.c.name.is_not(None), assets.c.newest)
        with self.database.read() as connection:
            found = connection.execute(select(assets.c.kind, func.count()).where(*newest).group_by(assets.c.kind)).all()
            known = connection.execute(select(func.count()).where(runs.c.workspace_id == self.workspace_id)).scalar_one()
        return {str(kind): int(number) for kind, number in found} | ({"run": int(known)} if known else {})

    def update(
        self,
        asset: Asset,
        *,
        definition: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        description: str | None = None,
        tags: Labels | Callable[[dict[str, str]], Labels] | None = None,
        properties: Labels | Callable[[dict[str, str]], Labels] | None = None,
    ) -> Asset:
        """Change what is given, keep the rest; returns the asset as it is now.

        A function makes the new definition, tags or properties of those that are there, which nobody else changes meanwhile.

        Raises:
            AssetNotFoundError: it has been removed.
        """
        with self.database.write() as connection:
            if asset.name is not None:
                self._rows.lock_name(connection, asset.kind, asset.name)
            old = self._rows.by_id(connection, asset.kind, asset.id)
            if old is None:
                raise AssetNotFoundError(f"The {asset.kind} '{asset.name or asset.id}' has been removed from the workspace.")
            changed = definition(old.definition) if callable(definition) else definition
            new = new_asset(
                old.kind,
                old.name,
                old.definition if changed is None else changed,
                old.description if description is None else description,
                old.tags if tags is None else tags(dict(old.tags)) if callable(tags) else tags,
                old.properties if properties is None else properties(dict(old.properties)) if callable(properties) else properties,
            )
            return self._rows.change(connection, old, _version(new, old.version))

    def remove(self, kind: str, name: str, version: int | None = None) -> int:
        """Remove one version, or a name with all its versions; returns how many were removed.

        The number of a removed version is not given again; a name that was removed as a whole begins anew.
        """
        with self.database.write() as connection:
            self._rows.lock_name(connection, kind, name)
            return self._rows.remove(connection, kind, name, version)

    def mapping(self, kind: str, make: Callable[[Asset], T]) -> Mapping[str, T]:
        """A live, dict-like view: name -> what ``make`` makes of the newest version."""
        return AssetMapping(self, kind, make)

    def setting(self, key: str, default: Any = None) -> Any:
        """A setting of the workspace, any JSON value; ``default`` where it was not made."""
        return self.settings().get(key, default)

    def settings(self) -> dict[str, Any]:
        """All settings that were made."""
        from sqlalchemy import select

        from batchmill.workspace.schema import settings

        query = select(settings.c.key, settings.c.value).where(settings.c.workspace_id == self.workspace_id).order_by(settings.c.key)
        with self.database.read() as connection:
            return {row.key: row.value for row in connection.execute(query)}

    def set_setting(self, key: str, value: Any) -> None:
        """Make a setting of a JSON value; None takes it away."""
        from sqlalchemy import delete

        from batchmill.workspace.schema import insert_or_update, settings

        with self.database.write() as connection:
            if value is None:
                connection.execute(delete(settings).where(settings.c.workspace_id == self.workspace_id, settings.c.key == key))
            else:
                insert_or_update(connection, settings, {"workspace_id": self.workspace_id, "key": key, "value": value}, ["value"])


def new_asset(
    kind: str,
    name: str | None,
    definition: dict[str, Any],
    description: str | None = None,
    tags: Labels | None = None,
    properties: Labels | None = None,
) -> Asset:
    """An asset as it is before it is registered: version 1, with an id of its own."""
    now = datetime.now(UTC)
    return Asset(
        kind=kind,
        id=str(uuid.uuid4()),
        name=name,
        version=1,
        definition=definition,
        digest=digest_of(definition),
        created=now,
        modified=now,
        description=description,
        tags=_texts(tags),
        properties=_texts(properties),
    )


def _texts(labels: Labels | None) -> dict[str, str]:
    """Tags and properties are texts (Azure ML: other values are turned into one)."""
    return {str(key): str(value) for key, value in (labels or {}).items()}


def _version(asset: Asset, version: int) -> Asset:
    from dataclasses import replace

    return replace(asset, version=version)
