"""Datastores that only Batchmill has: a bucket of S3 or of Google Cloud Storage, a folder of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.storage_datastore import StorageDatastore

if TYPE_CHECKING:
    from batchmill.storage.connections import Connection

REGION = "us-east-1"


class LocalFolderDatastore(StorageDatastore):
    """A folder of this machine, or one that every machine mounts."""

    datastore_type = "LocalFolder"
    shown = ("folder",)
    changeable = ("path",)

    @property
    def whereabouts(self) -> str:
        return self.folder

    @property
    def folder(self) -> str:
        """Its absolute path."""
        return str(self._fact("path"))

    @property
    def connection(self) -> Connection:
        from batchmill.storage.connections import Connection

        return Connection("local", self.folder, title=f"datastore '{self.name}'")


class BucketDatastore(StorageDatastore):
    """A bucket, from the folder ``prefix`` on."""

    shown: ClassVar[tuple[str, ...]] = ("bucket", "prefix", "endpoint")

    @property
    def whereabouts(self) -> str:
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def bucket(self) -> str:
        return str(self._fact("bucket"))

    @property
    def container_name(self) -> str:
        """The bucket, by the word of Azure ML."""
        return self.bucket

    @property
    def prefix(self) -> str:
        """The folder of the bucket that paths start at; empty: its top."""
        return str(self._fact("prefix") or "")

    @property
    def endpoint(self) -> str | None:
        """Another address than the cloud's own."""
        endpoint: str | None = self._fact("endpoint")
        return endpoint

    @property
    def anonymous(self) -> bool:
        """True where requests are not signed."""
        return bool(self._fact("anonymous"))

    @property
    def read_only(self) -> bool:
        return self.anonymous

    def _connection(self, kind: str, config: dict[str, Any], credentials: dict[str, str]) -> Connection:
        from batchmill.storage.connections import Connection

        ambient = not credentials and not self.anonymous
        return Connection(kind, self.prefix, self.bucket, config, credentials, ambient, f"datastore '{self.name}'")


class S3Datastore(BucketDatastore):
    """A bucket of S3, or of what speaks like it."""

    datastore_type = "S3"
    shown = ("bucket", "prefix", "region", "endpoint")
    changeable = ("access_key_id", "secret_access_key", "session_token", "region", "endpoint")

    @property
    def region(self) -> str | None:
        region: str | None = self._fact("region")
        return region

    @property
    def connection(self) -> Connection:
        names = {"access_key_id": "access_key_id", "secret_access_key": "secret_access_key", "session_token": "token"}
        credentials = {theirs: str(self._reveal(ours)) for ours, theirs in names.items() if ours in self._secrets}
        config: dict[str, Any] = {}
        if credentials or self.anonymous:
            # Nothing of it may come from the environment.
            region = self.region or REGION
            endpoint = self.endpoint or f"https://s3.{region}.amazonaws.com"
            config = {"region": region, "endpoint": endpoint, "virtual_hosted_style_request": False}
        else:
            config |= {"region": self.region} if self.region else {}
            config |= {"endpoint": self.endpoint} if self.endpoint else {}
        return self._connection("s3", config, credentials)


class GoogleDatastore(BucketDatastore):
    """A bucket of Google Cloud Storage."""

    datastore_type = "GoogleCloudStorage"
    changeable = ("service_account_key", "service_account_file", "endpoint")

    @property
    def connection(self) -> Connection:
        key = self._reveal("service_account_key") or self._key_file()
        config = {"base_url": self.endpoint} if self.endpoint else {}
        return self._connection("gs", config, {"service_account_key": key} if key else {})

    def _key_file(self) -> str | None:
        path = self._fact("service_account_file")
        if path is None:
            return None
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise UserErrorException(
                f"The service account file {path} of datastore '{self.name}' cannot be read: {error.strerror}."
            ) from None
