"""Datastores of an Azure storage account: blob containers, Data Lake file systems, file shares.

Every workspace has a storage account of its own on this machine, whose containers are folders below the workspace's folder. A container
that the mirror map covers lies where the map says.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.storage_datastore import StorageDatastore

if TYPE_CHECKING:
    from batchmill.storage.connections import Connection
    from batchmill.workspace.workspace import Workspace

PROTOCOL, ENDPOINT = "https", "core.windows.net"


def local_account(workspace: Workspace) -> str:
    """The name of the workspace's own storage account."""
    return f"bm{workspace.id.replace('-', '')[:20]}"


def local_account_key(workspace: Workspace) -> str:
    """A key for the workspace's own account, for programs that want one: it opens nothing that the folder does not."""
    return base64.b64encode(hashlib.sha512(f"batchmill {workspace.id}".encode()).digest()).decode()


def service_endpoint(account: str, protocol: str, endpoint: str, service: str = "blob") -> str:
    """The address of an account's service.

    ``endpoint`` is the suffix of a cloud (``core.windows.net``), or a whole address, as a connection string has it. Below an address
    without a name (an emulator's) the account is the first part of the path.

    >>> service_endpoint("team", "https", "core.windows.net")
    'https://team.blob.core.windows.net'
    >>> service_endpoint("team", "http", "127.0.0.1:10000")
    'http://127.0.0.1:10000/team'
    """
    url = endpoint if "://" in endpoint else f"{protocol}://{endpoint}"
    parts = urlsplit(url)
    if "://" not in endpoint and not _emulator(parts.hostname or ""):
        return f"{protocol}://{account}.{service}.{endpoint.strip('/')}"
    if _emulator(parts.hostname or "") and not parts.path.strip("/"):
        return f"{url.rstrip('/')}/{account}"
    return url.rstrip("/")


def _emulator(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


class AzureStorageDatastore(StorageDatastore):
    """A datastore of an Azure storage account."""

    shown = ("container_name", "account_name", "protocol", "endpoint")
    changeable: ClassVar[tuple[str, ...]] = ("account_key", "sas_token", "endpoint")
    folder_kind = "containers"

    @property
    def whereabouts(self) -> str:
        return self.local_folder if self.is_local else f"{self.account_name}/{self.container_name}"

    @property
    def account_name(self) -> str:
        return str(self._fact("account_name") or local_account(self.workspace))

    @property
    def container_name(self) -> str:
        """The container, file system or share."""
        return str(self._fact("container_name") or f"azureml-{self._fact('folder').removeprefix('workspace')}-{self.workspace.id}")

    @property
    def protocol(self) -> str:
        return str(self._fact("protocol") or PROTOCOL)

    @property
    def endpoint(self) -> str:
        return str(self._fact("endpoint") or ENDPOINT)

    @property
    def account_key(self) -> str | None:
        """The account key, in the clear.

        Raises:
            SecretError: it cannot be read.
        """
        return local_account_key(self.workspace) if self.is_local else self._reveal("account_key")

    @property
    def sas_token(self) -> str | None:
        """The SAS token, in the clear.

        Raises:
            SecretError: it cannot be read.
        """
        return self._reveal("sas_token")

    @property
    def credential_type(self) -> str:
        """``AccountKey``, ``Sas``, ``ServicePrincipal`` or ``None`` (Azure ML)."""
        names = {"account_key": "AccountKey", "sas_token": "Sas", "client_secret": "ServicePrincipal"}
        return "AccountKey" if self.is_local else next((kind for name, kind in names.items() if name in self._secrets), "None")

    @property
    def is_local(self) -> bool:
        """True for containers of the workspace's own account."""
        return self.account_name == local_account(self.workspace)

    @property
    def read_only(self) -> bool:
        return self.credential_type == "None"

    @property
    def local_folder(self) -> str:
        """The folder of a container of the workspace's own account."""
        own = self._fact("folder") or os.path.join(self.folder_kind, self.container_name)
        return str(self.workspace.folder / own)

    @property
    def mirror(self) -> str | None:
        """The folder or URL that the mirror map has in place of this container."""
        from batchmill.workspace.mirror_map import mirrored_container

        return mirrored_container(self.account_name, self.container_name, self.workspace)

    @property
    def connection(self) -> Connection:
        from batchmill.storage.connections import Connection
        from batchmill.workspace.mirror_map import connection_to

        title = f"datastore '{self.name}'"
        if self.is_local:
            return Connection("local", self.local_folder, title=title)
        if (mirror := self.mirror) is not None:
            return connection_to(mirror, self.workspace, title)
        return self._service(title)

    def _service(self, title: str) -> Connection:
        from batchmill.storage.connections import Connection

        return Connection("az", "", self.container_name, self._config(), self._credentials(), title=title)

    def _config(self) -> dict[str, Any]:
        return {"account_name": self.account_name, "endpoint": service_endpoint(self.account_name, self.protocol, self.endpoint)}

    def _credentials(self) -> dict[str, str]:
        if key := self.account_key:
            return {"access_key": key}
        token = self.sas_token
        return {"sas_token": token.lstrip("?")} if token else {}


class AzureBlobDatastore(AzureStorageDatastore):
    """A blob container (Azure ML: ``azureml.data.azure_storage_datastore.AzureBlobDatastore``)."""

    datastore_type = "AzureBlob"


class AzureFileDatastore(AzureStorageDatastore):
    """A file share: in the workspace's own account, or where the mirror map says (Azure ML: ``AzureFileDatastore``)."""

    datastore_type = "AzureFile"
    folder_kind = "shares"

    def _service(self, title: str) -> Connection:
        raise UserErrorException(
            f"File share '{self.container_name}' of account {self.account_name} cannot be reached: Batchmill speaks to blob containers "
            "only. Mount the share on this machine and register the folder (Datastore.register_local_folder), or map "
            f"'{self.account_name}/{self.container_name}' to it in BATCHMILL_MIRRORS."
        )


class AzureDataLakeGen2Datastore(AzureStorageDatastore):
    """A file system of Azure Data Lake Storage Gen2, with a service principal (Azure ML: ``AzureDataLakeGen2Datastore``)."""

    datastore_type = "AzureDataLakeGen2"
    changeable = ("tenant_id", "client_id", "client_secret", "authority_url", "endpoint")

    @property
    def tenant_id(self) -> str | None:
        tenant: str | None = self._fact("tenant_id")
        return tenant

    @property
    def client_id(self) -> str | None:
        client: str | None = self._fact("client_id")
        return client

    @property
    def client_secret(self) -> str | None:
        """The secret of the service principal, in the clear.

        Raises:
            SecretError: it cannot be read.
        """
        return self._reveal("client_secret")

    def _config(self) -> dict[str, Any]:
        facts = {"tenant_id": self.tenant_id, "client_id": self.client_id, "authority_host": self._fact("authority_url")}
        return super()._config() | {name: value for name, value in facts.items() if value}

    def _credentials(self) -> dict[str, str]:
        secret = self.client_secret
        return {"client_secret": secret} if secret else super()._credentials()
