"""The rows of assets in the database, within a transaction of the registry. Loaded when the registry is used first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select

from batchmill.workspace.asset import Asset
from batchmill.workspace.schema import asset_names, assets, insert_unless_there

COLUMNS = [column for column in assets.c if column.name not in ("workspace_id", "newest")]
CHUNK = 1000  # ids in one query
LAST_VERSION = 2**31 - 1  # that a column of PostgreSQL holds
FIELDS = [column.name for column in COLUMNS]


class AssetRows:
    """The assets of one workspace."""

    def __init__(self, workspace_id: str) -> None:
        self._workspace = workspace_id

    def _named(self, kind: str) -> list[ColumnElement[bool]]:
        return [assets.c.workspace_id == self._workspace, assets.c.kind == kind, assets.c.name.is_not(None)]

    def newest(self, connection: Connection, kind: str, name: str) -> Asset | None:
        return _first(connection, select(*COLUMNS).where(*self._named(kind), assets.c.name == name, assets.c.newest))

    def version(self, connection: Connection, kind: str, name: str, version: int) -> Asset | None:
        if version > LAST_VERSION:
            return None
        return _first(connection, select(*COLUMNS).where(*self._named(kind), assets.c.name == name, assets.c.version == version))

    def by_id(self, connection: Connection, kind: str, id: str) -> Asset | None:
        here = [assets.c.id == id, assets.c.workspace_id == self._workspace, assets.c.kind == kind]
        return _first(connection, select(*COLUMNS).where(*here))

    def saved(self, connection: Connection, kind: str, digest: str) -> Asset | None:
        here = [assets.c.workspace_id == self._workspace, assets.c.kind == kind, assets.c.name.is_(None), assets.c.digest == digest]
        return _first(connection, select(*COLUMNS).where(*here))

    def page(
        self,
        connection: Connection,
        kind: str,
        *,
        name: str | None,
        all_versions: bool,
        after: str | None,
        labels: Mapping[str, Mapping[str, Any]],
        limit: int | None,
    ) -> list[Asset]:
        """Assets by name, versions newest first; ``labels`` of a column (tags, properties) must be there."""
        here = self._named(kind)
        here += [] if name is None else [assets.c.name == name]
        here += [] if all_versions else [assets.c.newest]
        here += [] if after is None else [assets.c.name > after]
        order = [assets.c.name, assets.c.version.desc()] if all_versions else [assets.c.name]  # what an index has needs no sorting
        wanted = {column: asked for column, asked in labels.items() if asked}
        if not wanted:
            return [_asset(row) for row in connection.execute(select(*COLUMNS).where(*here).order_by(*order).limit(limit))]
        # Labels are compared here, row by row, but of the rows that lack them nothing else is read.
        labelled = connection.execute(select(assets.c.id, *(assets.c[column] for column in wanted)).where(*here).order_by(*order))
        ids = [row.id for row in islice(_labelled(labelled, wanted), limit)]
        chunks = [assets.c.id.in_(ids[first : first + CHUNK]) for first in range(0, len(ids), CHUNK)]
        return [_asset(row) for chunk in chunks for row in connection.execute(select(*COLUMNS).where(chunk).order_by(*order))]

    def names(self, connection: Connection, kind: str) -> list[str]:
        query = select(assets.c.name).where(*self._named(kind), assets.c.newest).order_by(assets.c.name)
        return list(connection.execute(query).scalars())

    def lock_name(self, connection: Connection, kind: str, name: str) -> int:
        """Keep other processes away from a name until the transaction ends; returns the last version that was given."""
        query = select(asset_names.c.last_version).where(*self._name(kind, name)).with_for_update()
        row = {"workspace_id": self._workspace, "kind": kind, "name": name, "last_version": 0}
        while True:
            insert_unless_there(connection, asset_names, row)
            found = connection.execute(query).first()
            if found is not None:  # else whoever held the lock has removed the name
                return int(found.last_version)

    def append(self, connection: Connection, asset: Asset) -> Asset:
        """Insert the newest version of a locked name."""
        old_newest = [*self._named(asset.kind), assets.c.name == asset.name, assets.c.newest]
        connection.execute(assets.update().where(*old_newest).values(newest=False))
        connection.execute(assets.insert(), self._row(asset, newest=True))
        last = asset_names.update().where(*self._name(asset.kind, str(asset.name)))
        connection.execute(last.values(last_version=asset.version))
        return asset

    def save(self, connection: Connection, asset: Asset) -> None:
        """Insert an asset without a name, unless its definition is there already."""
        insert_unless_there(connection, assets, self._row(asset, newest=False))

    def change(self, connection: Connection, old: Asset, new: Asset) -> Asset:
        """Give an asset what the new one holds; its id and moment of creation stay."""
        changed = replace(new, id=old.id, created=old.created)
        connection.execute(assets.update().where(assets.c.id == old.id).values(_values(changed)))
        return changed

    def remove(self, connection: Connection, kind: str, name: str, version: int | None) -> int:
        """Remove a version or all of a locked name; the highest that is left becomes the newest."""
        if version is not None and version > LAST_VERSION:
            return 0
        here = [*self._named(kind), assets.c.name == name]
        which = here if version is None else [*here, assets.c.version == version]
        removed = connection.execute(delete(assets).where(*which)).rowcount
        left = connection.execute(select(assets.c.id).where(*here).order_by(assets.c.version.desc()).limit(1)).scalar()
        if left is None:
            connection.execute(delete(asset_names).where(*self._name(kind, name)))
        else:
            connection.execute(assets.update().where(*here, assets.c.newest, assets.c.id != left).values(newest=False))
            connection.execute(assets.update().where(assets.c.id == left).values(newest=True))
        return removed

    def _name(self, kind: str, name: str) -> list[ColumnElement[bool]]:
        return [asset_names.c.workspace_id == self._workspace, asset_names.c.kind == kind, asset_names.c.name == name]

    def _row(self, asset: Asset, *, newest: bool) -> dict[str, Any]:
        return _values(asset) | {"workspace_id": self._workspace, "newest": newest}


def _values(asset: Asset) -> dict[str, Any]:
    return {name: getattr(asset, name) for name in FIELDS}


def _asset(row: Row[Any]) -> Asset:
    return Asset(**row._mapping)


def _first(connection: Connection, query: Select[Any]) -> Asset | None:
    row = connection.execute(query).first()
    return None if row is None else _asset(row)


def _labelled(rows: Iterable[Row[Any]], labels: Mapping[str, Mapping[str, Any]]) -> Iterator[Row[Any]]:
    for row in rows:
        if all(_holds(getattr(row, column), wanted) for column, wanted in labels.items()):
            yield row


def _holds(labels: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in labels and (value is None or labels[key] == value) for key, value in wanted.items())
