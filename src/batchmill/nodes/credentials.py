"""What reaches the stores of a run, on its way to the processes of a cluster: variables, the files that they name, and connections.

It travels as an argument of actors, and lives in their memory; it is never written into the run's store, its settings or a log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchmill.storage.connections import connections_text, take_connections
from batchmill.storage.mirrors import VARIABLE as MIRRORS
from batchmill.storage.object_store import PREFIXES

WORKSPACE_VARIABLES = (
    "BATCHMILL_DATABASE_URL",
    "BATCHMILL_DOCKER_IMAGES",
    "BATCHMILL_ENVIRONMENTS",
    "BATCHMILL_SECRET_KEY",
    "BATCHMILL_WORKSPACE",
    MIRRORS,
)
"""What the coordinator needs beyond what nodes do: it opens the workspace of the run."""

FILES = (
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
)
"""Variables that name a file, which travels with them."""

LARGEST_FILE = 1 << 20
SECRET = re.compile(
    r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|CONNECTION_STRING|PROFILE|ROLE_ARN|SERVICE_ACCOUNT|SAS|CLIENT_|FEDERATED|IDENTITY"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Plain data that is never printed. ``files`` has the content of the file that a variable names."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    connections: str = field(default="{}", repr=False)

    def for_nodes(self) -> Credentials:
        """What of them nodes need, with the connections that this process has made since: the workspace stays with the coordinator."""
        variables = {name: value for name, value in self.variables.items() if name not in WORKSPACE_VARIABLES}
        return Credentials(variables, self.files, connections_text())

    def take(self, folder: Path) -> None:
        """Give them to this process and its children; files are written into ``folder``, for this user alone.

        Where variables of a family (``AWS_`` ...) say who signs, those of this machine that would mix with them are removed.
        """
        for name in _in_the_way(self.variables, os.environ):
            del os.environ[name]
        os.environ.update(self.variables)
        for name, content in self.files.items():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / name.lower()
            path.unlink(missing_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(content)
            os.environ[name] = str(path)
        take_connections(self.connections)


def gather_credentials(*, workspace: bool = False) -> Credentials:
    """What this process reaches stores with; ``workspace``: and what the workspace of the run is opened with."""
    more = WORKSPACE_VARIABLES if workspace else ()
    variables = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES) or name in more}
    files = {name: content for name in FILES if (content := _content(variables.get(name))) is not None}
    plain = {name: value for name, value in variables.items() if name not in files}
    return Credentials(plain, files, connections_text())


def _content(path: str | None) -> bytes | None:
    """The file that a variable names; None where it is no file of this machine."""
    if not path:
        return None
    try:
        if os.stat(path).st_size > LARGEST_FILE:
            return None
        return Path(path).read_bytes()
    except OSError:
        return None


def _in_the_way(given: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Variables of this machine that say who signs, of families for which that has been said."""
    families = tuple(prefix for prefix in PREFIXES if any(name.startswith(prefix) and SECRET.search(name) for name in given))
    return [name for name in there if families and name.startswith(families) and SECRET.search(name) and name not in given]
