"""Registering a datastore: its name, what it says of a store that is there already, and whether the store answers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from batchmill.workspace.abstract_datastore import KIND, SECRETS, TYPE, AbstractDatastore
from batchmill.workspace.azure_datastore import AzureBlobDatastore, AzureDataLakeGen2Datastore, AzureFileDatastore, AzureStorageDatastore
from batchmill.workspace.bucket_datastore import GoogleDatastore, LocalFolderDatastore, S3Datastore
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.sql_datastore import AzurePostgreSqlDatastore, SqlDatastore
from batchmill.workspace.storage_datastore import StorageDatastore

if TYPE_CHECKING:
    from batchmill.errors import BatchmillError
    from batchmill.storage.connections import Connection
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

D = TypeVar("D", bound=AbstractDatastore)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
KINDS: dict[str, type[AbstractDatastore]] = {
    cls.datastore_type: cls
    for cls in (
        *(AzureBlobDatastore, AzureFileDatastore, AzureDataLakeGen2Datastore, AzurePostgreSqlDatastore),
        *(LocalFolderDatastore, S3Datastore, GoogleDatastore, SqlDatastore),
    )
}
CHECK_TIMEOUT = 8.0
"""Seconds that a store has to answer when it is registered."""


def datastore_of(workspace: Workspace, asset: Asset) -> AbstractDatastore:
    """The object of a registered datastore.

    Raises:
        UserErrorException: it is of a kind that this version does not know.
    """
    kind = KINDS.get(asset.definition.get(TYPE, ""))
    if kind is None:
        raise UserErrorException(
            f"Datastore '{asset.name}' is of the kind '{asset.definition.get(TYPE)}', which this version of Batchmill does not know."
        )
    return kind(workspace, asset)


def register(
    workspace: Workspace,
    name: str,
    kind: type[D],
    facts: Mapping[str, Any],
    secrets: Mapping[str, str | None] | None = None,
    *,
    overwrite: bool = False,
    create: bool = False,
    check: bool = True,
) -> D:
    """Register a datastore; ``secrets`` are texts or ``env:NAME`` and are sealed here.

    ``create`` makes the container or folder where it is missing; ``check`` asks the store whether it is there.

    Raises:
        UserErrorException: the name cannot be used or means another store already, or the store does not answer as it must.
    """
    from batchmill.errors import AssetExistsError
    from batchmill.workspace.registry import new_asset

    _check_name(name)
    definition = _definition(kind, facts, secrets or {})
    found = workspace.registry.get(KIND, name)
    if found is not None and not overwrite and not _same(found.definition, definition):
        raise _taken(name, workspace)
    datastore = kind(workspace, new_asset(KIND, name, definition))
    if create:
        _create(datastore)
    if check:
        _check(datastore)
    if overwrite:
        return kind(workspace, workspace.registry.put(KIND, name, definition))
    try:
        return kind(workspace, workspace.registry.add(KIND, name, definition, same="existing", different="refuse"))
    except AssetExistsError as error:  # sealed anew, the same secret looks different
        there: Asset = error.facts["asset"]
        if not _same(there.definition, definition):
            raise _taken(name, workspace) from None
        return kind(workspace, there)


def change(
    datastore: AbstractDatastore, facts: Mapping[str, Any], secrets: Mapping[str, str | None] | None = None, *, check: bool = True
) -> AbstractDatastore:
    """Replace facts of a registered datastore, and its secrets, all of them, where some are given; the rest stays.

    Raises:
        UserErrorException: a fact does not belong to its kind, or the store does not answer as it must.
    """
    kind, old = type(datastore), datastore.stored
    foreign = [name for name in (*facts, *(secrets or {})) if name not in kind.changeable]
    if foreign:
        known = ", ".join(kind.changeable) or "nothing"
        raise UserErrorException(
            f"Datastore '{datastore.name}' is of the kind {kind.datastore_type} and has no {foreign[0]}: {known} can be changed."
        )
    given = _definition(kind, facts, secrets or {})
    definition = {**old, **given}
    changed = kind(datastore.workspace, datastore.with_definition(definition))
    if check:
        _check(changed)
    return kind(datastore.workspace, datastore.workspace.registry.put(KIND, datastore.name, definition))


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise UserErrorException(
            f"A datastore cannot be called {name!r}: a name has 1 to 255 letters, digits, '_', '-' and '.', and begins with none of the "
            "last two."
        )


def _taken(name: str, workspace: Workspace) -> UserErrorException:
    return UserErrorException(
        f"Another datastore with the same name already exists: '{name}' in workspace {workspace.name}. Choose another name, or replace "
        "it with overwrite=True."
    )


def _definition(kind: type[AbstractDatastore], facts: Mapping[str, Any], secrets: Mapping[str, str | None]) -> dict[str, Any]:
    from batchmill.workspace.secret import Secret

    definition: dict[str, Any] = {TYPE: kind.datastore_type, **{key: value for key, value in facts.items() if value is not None}}
    given = {key: Secret(text).stored() for key, text in secrets.items() if text}
    return {**definition, SECRETS: given} if given else definition


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two definitions mean the same, secrets compared by what they are."""
    from batchmill.errors import SecretError
    from batchmill.workspace.secret import Secret

    facts, others = ({key: value for key, value in definition.items() if key != SECRETS} for definition in (one, other))
    first, second = one.get(SECRETS) or {}, other.get(SECRETS) or {}
    if facts != others or first.keys() != second.keys():
        return False
    try:
        return all(first[key] == second[key] or Secret(first[key]) == Secret(second[key]) for key in first)
    except SecretError:
        return False


# --- is it there? -----------------------------------------------------------------------------------------------------------------


def _create(datastore: AbstractDatastore) -> None:
    from batchmill.errors import BatchmillError
    from batchmill.storage.container import create_container

    if not isinstance(datastore, StorageDatastore):
        return
    connection = datastore.connection
    if connection.kind == "local":
        _make_folder(connection.root, datastore)
    elif connection.kind == "az":
        try:
            create_container(connection, CHECK_TIMEOUT)
        except BatchmillError as error:
            raise _refused(datastore, error) from None
    else:
        raise UserErrorException(f"Bucket '{connection.bucket}' cannot be created from here. Create it with the tools of its cloud.")


def _make_folder(path: str, datastore: AbstractDatastore) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserErrorException(f"The folder {path} of datastore '{datastore.name}' cannot be created: {error.strerror}.") from None


def _check(datastore: AbstractDatastore) -> None:
    if isinstance(datastore, SqlDatastore):
        datastore.check()
    elif isinstance(datastore, StorageDatastore):
        connection = datastore.connection
        if connection.kind == "local":
            _check_folder(datastore, connection)
        else:
            _check_store(datastore, connection)


def _check_folder(datastore: StorageDatastore, connection: Connection) -> None:
    if isinstance(datastore, AzureStorageDatastore) and datastore.is_local and os.path.isdir(datastore.workspace.folder):
        _make_folder(connection.root, datastore)  # a container of the workspace's own account is there once it is named
        return
    if not os.path.isdir(connection.root):
        where = (
            f", where the mirror map leads container '{datastore.container_name}'" if isinstance(datastore, AzureStorageDatastore) else ""
        )
        raise UserErrorException(f"Datastore '{datastore.name}' cannot be registered: there is no folder {connection.root}{where}.")


def _check_store(datastore: StorageDatastore, connection: Connection) -> None:
    """One listing of one page: it proves the address, the container and the credentials."""
    from batchmill.storage.connections import connect
    from batchmill.storage.location import parse_location
    from batchmill.storage.object_store import store_for
    from batchmill.storage.store_errors import refusal, store_error

    key = f"{datastore.workspace.name}:{datastore.name}"
    connect(key, connection)
    place = parse_location(f"datastore://{key}")
    try:
        next(iter(store_for(place, CHECK_TIMEOUT).list(chunk_size=1)), None)
    except Exception as error:
        told = store_error(error, place, "list") if not hasattr(error, "cure") else error
        # A public container may let its blobs be read and not be listed.
        if not (connection.anonymous and refusal(error, place).word in ("denied", "missing")):
            raise _refused(datastore, told) from None


def _refused(datastore: AbstractDatastore, error: BatchmillError | Any) -> UserErrorException:
    hint = ""
    if isinstance(datastore, AzureStorageDatastore) and error.facts.get("word") == "unreachable":
        hint = f" On a closed network, map '{datastore.account_name}/{datastore.container_name}' to a folder or store: BATCHMILL_MIRRORS."
    return UserErrorException(f"Datastore '{datastore.name}' cannot be registered: {error.line}{hint}", error)
