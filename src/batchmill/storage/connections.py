"""How a named place is reached: where it lies and with which credentials, known to this process alone and never printed.

A connection is made under a key: ``WORKSPACE:NAME`` for a datastore, ``ACCOUNT/CONTAINER`` for a container of Azure Blob. What stands
in plans, logs and errors is the key; the credentials live in the memory of the processes that were told them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchmill.errors import StoreError

HIDDEN = "***"
LEAST_SECRET = 6
SIGNED = re.compile(r"(?i)\b(sig|signature|accountkey|sharedaccesssignature|x-amz-signature|x-amz-credential)(=|%3d)[^&\s;]+")


@dataclass(frozen=True, slots=True)
class Connection:
    """How one place is reached.

    ``kind`` is "local", "s3", "az" or "gs". ``root`` is the folder that paths start at: absolute for a local place, else inside
    ``bucket`` (a bucket or container; "" is its top). ``config`` are obstore's settings (endpoint, region ...), ``credentials`` what
    signs the requests, by obstore's names: ``access_key`` or ``sas_token`` for Azure, ``access_key_id``, ``secret_access_key`` and
    ``token`` for S3; ``client_secret`` and ``service_account_key`` are settings of obstore too and stand here because they are
    secret. Without credentials nothing is signed, unless ``from_environment``: then those of ``s3://`` and ``gs://`` URLs are used.
    ``title`` is how errors call the place.

    >>> Connection("az", "", "photos", credentials={"access_key": "c2VjcmV0"}, title="datastore 'photos'")
    Connection(kind='az', root='', bucket='photos', title="datastore 'photos'")
    """

    kind: str
    root: str = ""
    bucket: str = ""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    from_environment: bool = field(default=False, repr=False)
    title: str = ""

    @property
    def anonymous(self) -> bool:
        """True when requests are not signed."""
        return self.kind != "local" and not self.credentials and not self.from_environment

    @property
    def endpoint(self) -> str:
        """The address of the server; empty where obstore knows it."""
        return str(self.config.get("endpoint") or self.config.get("base_url") or "")

    def concealed(self, text: str) -> str:
        """``text`` with every secret of this connection replaced."""
        for secret in self.credentials.values():
            if len(secret) >= LEAST_SECRET:
                text = text.replace(secret, HIDDEN)
        return SIGNED.sub(rf"\1\2{HIDDEN}", text)


_TABLE: dict[str, Connection] = {}
_FINDERS: list[Callable[[str], str]] = []


def connect(key: str, connection: Connection) -> None:
    """Make a place known under ``key``, in place of what was known there."""
    _TABLE[key] = connection


def known_connection(key: str) -> Connection | None:
    """The connection under ``key``, if there is one."""
    return _TABLE.get(key)


def connection_of(key: str) -> Connection:
    """The connection under ``key``.

    Raises:
        StoreError: none was made in this process.
    """
    found = _TABLE.get(key)
    if found is None:
        workspace, colon, name = key.rpartition(":")
        where = f" of workspace '{workspace}'" if colon else ""
        cure = "Check its name: batchmill datastore list."
        raise StoreError(f"Datastore '{name}'{where} is not connected.", cure=cure, word="unconnected")
    return found


def whole_key(key: str) -> str:
    """``WORKSPACE:NAME`` of a key that may be the name alone, as lists of files have it; connected, if anybody here can do that."""
    return _FINDERS[-1](key) if key not in _TABLE and _FINDERS else key


def find_with(finder: Callable[[str], str]) -> None:
    """Say how a place that is not connected yet is found: ``finder`` is given ``[WORKSPACE:]NAME``, connects it and returns its key."""
    _FINDERS[:] = [finder]


def connections_text() -> str:
    """All connections of this process, credentials included, for a pipe to a process of ours; never for a file or a log."""
    parts = ("kind", "root", "bucket", "config", "credentials", "from_environment", "title")
    table = {key: {part: getattr(one, part) for part in parts} for key, one in _TABLE.items()}
    return json.dumps({key: {**one, "config": dict(one["config"]), "credentials": dict(one["credentials"])} for key, one in table.items()})


def take_connections(text: str) -> None:
    """Make the connections that another process wrote with `connections_text`."""
    for key, facts in json.loads(text).items():
        connect(key, Connection(**facts))
