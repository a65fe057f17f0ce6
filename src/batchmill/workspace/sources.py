"""Where datasets come from: the ``path`` argument of the dataset factories, and where its places really are.

A *canonical* text is what a definition keeps: ``datastore://NAME/path``, a URL, or an absolute local path. A *physical* one is what
`batchmill.data.listing.open_input` takes: mirrors applied, connections made.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchmill.workspace.abstract_datastore import AbstractDatastore
from batchmill.workspace.data_path import DataPath, DataReference, relative_path
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.data.definition import Definition
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.workspace import Workspace

DATASTORE = "datastore://"
SCHEMES = frozenset(
    {"http", "https", "adl", "wasb", "wasbs", "abfs", "abfss", "s3", "s3a", "az", "azure", "gs", "gcs", "file", "datastore"}
)
WITH_CONTAINER = ("wasb", "wasbs", "abfs", "abfss")
"""In their URLs the container stands in front of ``@``."""
SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
SIGNATURE = re.compile(r"(?i)[?&](sig|sv|se|sp)=")
INVALID = (
    "Invalid argument type for `path`. It can be single value or a list of: a URL (http(s)://, wasb(s)://, abfs(s)://, adl://, s3://, "
    "gs://), a DataPath, a DataReference, or a tuple of a datastore and a path (str). "
)
INVALID_TUPLE = "Invalid tuple for path. Please make sure the tuple consists of a datastore and a path/SQL query"


def source_texts(path: Any) -> list[str]:
    """The ``path`` argument of a dataset factory as canonical texts, in its order.

    One or a list of: a URL, a `DataPath`, a `DataReference`, a tuple of a datastore and a path (or paths), or a local path that exists
    (Azure ML refuses those).

    Raises:
        UserErrorException: anything else (Azure ML: ``Invalid argument type for `path```), also None and an empty list.
    """
    return [text for text, _ in _sources(path)]


def workspace_of(path: Any) -> Workspace | None:
    """The workspace of the datastores in a ``path`` argument; None where it names none.

    Raises:
        UserErrorException: as `source_texts`, or they are of several workspaces.
    """
    found = [workspace for _, workspace in _sources(path) if workspace is not None]
    if any(workspace.id != found[0].id for workspace in found):
        raise UserErrorException("A dataset cannot be made of datastores of several workspaces: register the stores in one of them.")
    return found[0] if found else None


Source = tuple[str, "Workspace | None"]


def _sources(path: Any) -> list[Source]:
    parts = path if isinstance(path, list) else [path]
    if not parts:
        raise UserErrorException(f"{INVALID}The list is empty.")
    return [source for part in parts for source in _source(part)]


def _source(part: Any) -> list[Source]:
    if isinstance(part, (DataPath, DataReference)):
        if not isinstance(part.datastore, AbstractDatastore):
            raise UserErrorException(f"{INVALID}{part!r} names no datastore.")
        return [_on(part.datastore, part.path_on_datastore)]
    if isinstance(part, tuple):
        return _tuple(part)
    if isinstance(part, (str, os.PathLike)):
        return [(_text(os.fspath(part)), None)]
    raise UserErrorException(f"{INVALID}A {type(part).__name__} was given.")


def _on(datastore: AbstractDatastore, path: str | None) -> Source:
    return f"{DATASTORE}{datastore.name}/{relative_path(path)}", datastore.workspace


def _tuple(part: tuple[Any, ...]) -> list[Source]:
    if len(part) != 2 or not isinstance(part[0], AbstractDatastore):
        raise UserErrorException(f"{INVALID_TUPLE}.")
    paths = part[1] if isinstance(part[1], list) else [part[1]]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise UserErrorException(f"{INVALID_TUPLE}.")
    return [_on(part[0], path) for path in paths]


def _text(text: str) -> str:
    match = SCHEME.match(text)
    if match is None:
        return _local(text)
    scheme = match[1].lower()
    if scheme not in SCHEMES:
        raise UserErrorException(f"{INVALID}'{_shown(text)}' has the unknown scheme '{match[1]}'.")
    if SIGNATURE.search(text):
        raise UserErrorException(
            f"{INVALID}'{_shown(text)}' carries a SAS token: register the container as a datastore with it, and name that."
        )
    if "@" in text[match.end() :].partition("/")[0] and scheme not in (*WITH_CONTAINER, "http", "https"):
        raise UserErrorException(
            f"{INVALID}'{match[1]}://{text.partition('@')[2]}' was given with credentials in front of '@': register a datastore with them."
        )
    if scheme in ("http", "https") and ("?" in text or "@" in text):
        raise UserErrorException(f"{INVALID}'{_shown(text)}' is not a plain address: it has a user or a query.")
    return text


def _local(text: str) -> str:
    """A local path that is there; of a glob, the folder before its first special character."""
    literal = re.split(r"[*?\[]", text, maxsplit=1)[0]
    folder = literal if literal == text else os.path.dirname(literal) or "."
    if not text or not (os.path.lexists(text) or os.path.lexists(folder)):
        raise UserErrorException(f"{INVALID}'{text}' is neither, and there is no such local path.")
    slash = "/" if text.endswith("/") and not os.path.abspath(text).endswith("/") else ""
    return os.path.abspath(text) + slash


def _shown(text: str) -> str:
    from batchmill.storage.location import without_query

    return without_query(text)


# --- physical ---------------------------------------------------------------------------------------------------------------------


def physical(text: str, workspace: Workspace | None) -> str:
    """A canonical text as `open_input` takes it: mirrors applied, connections of its datastore made in this process.

    ``datastore://NAME/path`` as a user writes it and ``datastore://WORKSPACE:NAME/path`` as a plan keeps it become a local path or the
    latter; URLs become what the mirror map says; anything else stays.

    Raises:
        UserErrorException: there is no such datastore, it holds no files, or its kind cannot be reached.
        SettingError: the mirror map is broken.
        SecretError: a credential cannot be read.
    """
    if text.startswith(DATASTORE):
        return _of_datastore(text, workspace)
    if SCHEME.match(text) is None:
        return text
    from batchmill.workspace.mirror_map import mirrored_url

    target = mirrored_url(text, workspace)
    if target is not None:
        return _of_datastore(target, workspace) if target.startswith(DATASTORE) else target
    if text.lower().startswith("adl://"):
        raise UserErrorException(
            f"'{text}' cannot be read: Azure Data Lake Storage Gen1 was shut down. Copy the data and map the URL: BATCHMILL_MIRRORS."
        )
    if workspace is not None:
        _connect_container(text, workspace)
    return text


def _of_datastore(text: str, workspace: Workspace | None) -> str:
    key, _, path = text.removeprefix(DATASTORE).partition("/")
    datastore = _file_datastore(key, workspace)
    if ".." in path.split("/"):
        raise UserErrorException(f"'{text}' leads out of its datastore. Write the path without '..'.")
    return datastore.physical(path)


def _file_datastore(key: str, workspace: Workspace | None) -> StorageDatastore:
    """The datastore ``[WORKSPACE:]NAME``, of ``workspace`` where none is named."""
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.datastore import Datastore
    from batchmill.workspace.storage_datastore import StorageDatastore

    named, _, name = key.rpartition(":")
    if workspace is None or (named and named != workspace.name):
        workspace = find_workspace(named or None)
    datastore = Datastore.get(workspace, name)
    if not isinstance(datastore, StorageDatastore):
        raise UserErrorException(f"Datastore '{datastore.name}' is a database and holds no files: use Dataset.Tabular.from_sql_query.")
    return datastore


def _database(text: str, workspace: Workspace | None) -> str:
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.datastore import Datastore
    from batchmill.workspace.sql_datastore import SqlDatastore

    name = text.removeprefix(DATASTORE).strip("/").rpartition(":")[2]
    datastore = Datastore.get(workspace or find_workspace(), name)
    if not isinstance(datastore, SqlDatastore):
        raise UserErrorException(f"Datastore '{name}' holds files and answers no query: use Dataset.Tabular.from_delimited_files.")
    return datastore.connect()


def _connect_container(url: str, workspace: Workspace) -> None:
    """A URL of a container that is registered with credentials is read with them."""
    from batchmill.storage.blob_url import parse_blob_url
    from batchmill.storage.connections import connect
    from batchmill.workspace.azure_datastore import AzureStorageDatastore
    from batchmill.workspace.datastore import from_asset

    found = parse_blob_url(url)
    if found is None:
        return
    place = {"account_name": found.account, "container_name": found.container}
    assets = [asset for asset in workspace.registry.list("datastore", limit=None) if place.items() <= asset.definition.items()]
    stores = [store for store in (from_asset(workspace, asset) for asset in assets) if isinstance(store, AzureStorageDatastore)]
    if stores:  # one with credentials, if there is one
        connect(found.key, min(stores, key=lambda store: store.read_only).connection)


def physical_definition(definition: Definition, workspace: Workspace | None) -> Definition:
    """A definition over physical sources; of a query, the database is connected."""
    if definition.format == "sql":
        return replace(definition, sources=tuple(_database(text, workspace) for text in definition.sources))
    return replace(definition, sources=tuple(physical(text, workspace) for text in definition.sources))


def connected(key: str, workspace: Workspace | None) -> str:
    """Connect the datastore ``[WORKSPACE:]NAME``; returns the whole key of its connection.

    Raises:
        UserErrorException: as `physical`.
    """
    return _file_datastore(key, workspace).connect()
