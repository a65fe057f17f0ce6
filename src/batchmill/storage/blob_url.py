"""URLs of Azure storage: which account, which container, which path. The same place has several spellings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

SUFFIX = r"(?:core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net|core\.cloudapi\.de)"
HOST = re.compile(rf"^(?P<account>[a-z0-9]{{3,24}})\.(?P<service>blob|dfs|file)\.(?P<suffix>{SUFFIX})$", re.I)
HADOOP = re.compile(r"^(?P<scheme>wasbs?|abfss?)://(?P<container>[^@/\s]+)@(?P<host>[^/\s?#]+)(?:/(?P<path>.*))?$", re.I | re.S)
WEB = re.compile(r"^(?P<scheme>https?)://(?P<host>[^/\s?#@:]+)/(?P<container>[^/\s?#]+)(?:/(?P<path>[^?#]*))?$", re.I)
BLOB_SCHEMES = ("wasb", "wasbs", "abfs", "abfss")
CONTAINER = re.compile(r"^(?:[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]|\$root|\$web|\$logs)$")


@dataclass(frozen=True, slots=True)
class BlobUrl:
    """A URL of Azure storage, taken apart.

    ``path`` is the decoded path in the container, ``origin`` the URL of the container as the user wrote it, without a slash at its
    end, and ``encoded`` says that paths behind ``origin`` are written percent-encoded.
    """

    account: str
    container: str
    path: str
    suffix: str
    origin: str
    encoded: bool

    @property
    def key(self) -> str:
        """What its connection is known under."""
        return f"{self.account}/{self.container}"

    @property
    def endpoint(self) -> str:
        """The address of the account's blob service, which serves hierarchical accounts (``dfs``) as well."""
        return f"https://{self.account}.blob.{self.suffix}"


def parse_blob_url(text: str) -> BlobUrl | None:
    """Take a ``wasb(s)://``, ``abfs(s)://`` or ``https://ACCOUNT.blob...`` URL apart; None where it is no such URL.

    >>> parse_blob_url("wasbs://photos@team.blob.core.windows.net/2026/a.png").key
    'team/photos'
    >>> parse_blob_url("https://team.blob.core.windows.net/photos/a%20b.png").path
    'a b.png'
    """
    found = HADOOP.match(text) or WEB.match(text)
    host = HOST.match(found["host"]) if found is not None else None
    if found is None or host is None or host["service"].lower() == "file" or not CONTAINER.match(found["container"]):
        return None
    encoded = found.re is WEB
    scheme, name, path = found["scheme"].lower(), found["host"].lower(), found["path"] or ""
    origin = f"{scheme}://{name}/{found['container']}" if encoded else f"{scheme}://{found['container']}@{name}"
    suffix = host["suffix"].lower()
    return BlobUrl(host["account"].lower(), found["container"], unquote(path) if encoded else path, suffix, origin, encoded)
