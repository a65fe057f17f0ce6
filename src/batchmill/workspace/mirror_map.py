"""The mirror map as it holds in a workspace: ``BATCHMILL_MIRRORS`` first, then the workspace setting ``mirrors``."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchmill.storage.connections import Connection
    from batchmill.storage.mirrors import Mirrors
    from batchmill.workspace.workspace import Workspace

SETTING = "mirrors"


def mirror_maps(workspace: Workspace | None) -> Iterator[Mirrors]:
    """The maps in the order in which they are asked.

    Raises:
        SettingError: one of them is no map.
    """
    from batchmill.storage.mirrors import VARIABLE, Mirrors

    if text := os.environ.get(VARIABLE):
        yield Mirrors.parse(text)
    if workspace is not None and (mapping := workspace.registry.setting(SETTING)):
        yield Mirrors(mapping, f"The setting '{SETTING}' of workspace {workspace.name}")


def mirrored_url(url: str, workspace: Workspace | None) -> str | None:
    """What is read instead of a URL, if anything."""
    return next((target for mirrors in mirror_maps(workspace) if (target := mirrors.target(url)) is not None), None)


def mirrored_container(account: str, container: str, workspace: Workspace | None) -> str | None:
    """The folder or URL that stands for a container or file share, if there is one."""
    return next((target for mirrors in mirror_maps(workspace) if (target := mirrors.container(account, container)) is not None), None)


def connection_to(target: str, workspace: Workspace, title: str) -> Connection:
    """The connection to a folder or URL of the mirror map.

    Raises:
        UserErrorException: it cannot stand for a container.
        StoreError: its URL is broken.
    """
    from batchmill.storage.connections import Connection
    from batchmill.storage.location import DATASTORE, parse_location
    from batchmill.storage.object_store import connection_for

    if target.startswith(f"{DATASTORE}://"):
        from batchmill.workspace.datastore import Datastore
        from batchmill.workspace.storage_datastore import StorageDatastore

        name, _, path = target.removeprefix(f"{DATASTORE}://").partition("/")
        other = Datastore.get(workspace, name)
        if not isinstance(other, StorageDatastore):
            raise UserErrorException(f"The mirror map leads {title} to datastore '{name}', which holds no files.")
        return _below(replace(other.connection, title=title), path)
    location = parse_location(target)
    if not location.remote:
        return Connection("local", location.path, title=title)
    if location.kind == "http":
        raise UserErrorException(
            f"The mirror map leads {title} to {target}, a plain web server, which cannot be listed. Map it to a folder or a store."
        )
    known = connection_for(location)
    if known is not None:
        return _below(replace(known, title=title), location.prefix)
    return Connection(location.kind, location.prefix, location.bucket, from_environment=True, title=title)


def _below(connection: Connection, path: str) -> Connection:
    parts = [part for part in (connection.root.rstrip("/"), path.strip("/")) if part]
    return replace(connection, root="/".join(parts))
