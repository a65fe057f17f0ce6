"""`Datastore`: finding and registering the datastores of a workspace (Azure ML: ``azureml.core.Datastore``)."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.abstract_datastore import AbstractDatastore
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.azure_datastore import AzureBlobDatastore, AzureDataLakeGen2Datastore, AzureFileDatastore
    from batchmill.workspace.bucket_datastore import GoogleDatastore, LocalFolderDatastore, S3Datastore
    from batchmill.workspace.sql_datastore import AzurePostgreSqlDatastore, SqlDatastore
    from batchmill.workspace.workspace import Workspace

D = TypeVar("D", bound="AbstractDatastore")


def from_asset(workspace: Workspace, asset: Asset) -> AbstractDatastore:
    """The object of a registered datastore (what ``ws.datastores`` holds)."""
    from batchmill.workspace.datastore_registration import datastore_of

    return datastore_of(workspace, asset)


class Datastore:
    """``Datastore(ws, "name")`` is the datastore of that name, of the class of its kind; without a name the default one.

    >>> Datastore.register_local_folder(ws, "images", "/data/images")        # doctest: +SKIP
    >>> Datastore(ws, "images").upload("new/", target_path="2026/07")         # doctest: +SKIP
    """

    def __new__(cls, workspace: Workspace, name: str | None = None) -> Any:
        return cls.get(workspace, name) if name is not None else cls.get_default(workspace)

    @staticmethod
    def get(workspace: Workspace, datastore_name: str) -> AbstractDatastore:
        """The datastore of a name.

        Raises:
            UserErrorException: there is none.
        """
        asset = workspace.registry.get("datastore", datastore_name)
        if asset is None:
            near = difflib.get_close_matches(str(datastore_name), workspace.registry.names("datastore"), n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "List them: batchmill datastore list."
            raise UserErrorException(f"There is no datastore '{datastore_name}' in workspace {workspace.name}. {hint}")
        return from_asset(workspace, asset)

    @staticmethod
    def get_default(workspace: Workspace) -> AbstractDatastore:
        """The default datastore of a workspace: ``workspaceblobstore`` unless another one was chosen."""
        return Datastore.get(workspace, workspace.default_datastore_name)

    # --- Azure --------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def register_azure_blob_container(
        workspace: Workspace,
        datastore_name: str,
        container_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
        blob_cache_timeout: int | None = None,
        grant_workspace_access: bool = False,
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> AzureBlobDatastore:
        """Register a blob container.

        Without ``sas_token`` and ``account_key`` it is read as a public one. Both may name a variable instead: ``env:NAME``.
        ``endpoint`` is the suffix of a cloud (``core.windows.net``) or a whole address. A container that the mirror map covers is read
        from there; one of the workspace's own account is a folder on this machine. The last four arguments change nothing.

        Raises:
            UserErrorException: the name means another store already, or the container is missing, unreachable or refuses.
        """
        from batchmill.workspace.azure_datastore import AzureBlobDatastore

        secrets = {"account_key": account_key, "sas_token": sas_token}
        facts = _azure_facts(container_name, account_name, protocol, endpoint)
        options = {"overwrite": overwrite, "create": create_if_not_exists, "check": not skip_validation}
        return _registered(AzureBlobDatastore, workspace, datastore_name, facts, secrets, options)

    @staticmethod
    def register_azure_file_share(
        workspace: Workspace,
        datastore_name: str,
        file_share_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
    ) -> AzureFileDatastore:
        """Register a file share of the workspace's own account, or one that the mirror map covers (a mounted folder, for example).

        Raises:
            UserErrorException: it is neither, or the name means another store already.
        """
        from batchmill.workspace.azure_datastore import AzureFileDatastore

        secrets = {"account_key": account_key, "sas_token": sas_token}
        facts = _azure_facts(file_share_name, account_name, protocol, endpoint)
        options = {"overwrite": overwrite, "create": create_if_not_exists, "check": not skip_validation}
        return _registered(AzureFileDatastore, workspace, datastore_name, facts, secrets, options)

    @staticmethod
    def register_azure_data_lake_gen2(
        workspace: Workspace,
        datastore_name: str,
        filesystem: str,
        account_name: str,
        tenant_id: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        resource_url: str | None = None,
        authority_url: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        grant_workspace_access: bool = False,
        *,
        skip_validation: bool = False,
    ) -> AzureDataLakeGen2Datastore:
        """Register a file system of Data Lake Storage Gen2 with a service principal; without one it is read as a public one.

        ``client_secret`` may name a variable instead: ``env:NAME``.

        Raises:
            UserErrorException: the principal is incomplete, the name means another store already, or the store refuses.
        """
        from batchmill.workspace.azure_datastore import AzureDataLakeGen2Datastore

        principal = {"tenant_id": tenant_id, "client_id": client_id, "client_secret": client_secret}
        missing = [name for name, value in principal.items() if not value]
        if missing and len(missing) < len(principal):
            raise UserErrorException(f"A service principal is tenant_id, client_id and client_secret: {', '.join(missing)} is missing.")
        facts = _azure_facts(filesystem, account_name, protocol, endpoint)
        facts |= {"tenant_id": tenant_id, "client_id": client_id, "authority_url": authority_url}
        options = {"overwrite": overwrite, "check": not skip_validation}
        return _registered(AzureDataLakeGen2Datastore, workspace, datastore_name, facts, {"client_secret": client_secret}, options)

    @staticmethod
    def register_azure_postgre_sql(
        workspace: Workspace,
        datastore_name: str,
        server_name: str,
        database_name: str,
        user_id: str,
        user_password: str,
        port_number: str | int | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        enforce_ssl: bool = True,
        *,
        skip_validation: bool = False,
        **_azure: Any,
    ) -> AzurePostgreSqlDatastore:
        """Register a PostgreSQL database. ``server_name`` without a dot is a server of Azure (``endpoint``, default
        ``postgres.database.azure.com``); ``user_password`` may name a variable instead: ``env:NAME``.

        Raises:
            UserErrorException: the name means another store already, or the database does not answer.
        """
        from sqlalchemy import URL

        from batchmill.workspace.sql_datastore import AzurePostgreSqlDatastore

        plain = "." in server_name or server_name == "localhost" or ":" in server_name
        host = server_name if plain else f"{server_name}.{endpoint or 'postgres.database.azure.com'}"
        query = {"sslmode": "require"} if enforce_ssl else {}
        port = int(port_number) if port_number else 5432
        url = URL.create("postgresql+psycopg", user_id, None, host, port, database_name, query)
        facts = {"server_name": server_name, "url": url.render_as_string()}
        options = {"overwrite": overwrite, "check": not skip_validation}
        return _registered(AzurePostgreSqlDatastore, workspace, datastore_name, facts, {"password": user_password}, options)

    # --- Batchmill's own ----------------------------------------------------------------------------------------------------------

    @staticmethod
    def register_local_folder(
        workspace: Workspace,
        datastore_name: str,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
    ) -> LocalFolderDatastore:
        """Register a folder of this machine.

        Raises:
            UserErrorException: there is no such folder, or the name means another store already.
        """
        from batchmill.workspace.bucket_datastore import LocalFolderDatastore

        facts = {"path": os.path.abspath(os.path.expanduser(os.fspath(path)))}
        options = {"overwrite": overwrite, "create": create_if_not_exists, "check": not skip_validation}
        return _registered(LocalFolderDatastore, workspace, datastore_name, facts, {}, options)

    @staticmethod
    def register_s3_bucket(
        workspace: Workspace,
        datastore_name: str,
        bucket: str,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        prefix: str | None = None,
        anonymous: bool = False,
        overwrite: bool = False,
        skip_validation: bool = False,
    ) -> S3Datastore:
        """Register a bucket of S3, or of what speaks like it at ``endpoint``; ``prefix`` is the folder that paths start at.

        The three credentials may name variables: ``env:NAME``. Without them the credentials of the environment are used, as for
        ``s3://`` URLs, or none with ``anonymous``.

        Raises:
            UserErrorException: the credentials are incomplete, the name means another store already, or the store refuses.
        """
        from batchmill.workspace.bucket_datastore import S3Datastore

        if bool(access_key_id) != bool(secret_access_key) or (session_token and not access_key_id):
            raise UserErrorException("S3 credentials are access_key_id and secret_access_key together, with a session_token or without.")
        facts = _bucket_facts(bucket, prefix, endpoint, anonymous) | {"region": region}
        secrets = {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "session_token": session_token}
        options = {"overwrite": overwrite, "check": not skip_validation}
        return _registered(S3Datastore, workspace, datastore_name, facts, {} if anonymous else secrets, options)

    @staticmethod
    def register_gcs_bucket(
        workspace: Workspace,
        datastore_name: str,
        bucket: str,
        service_account_key: str | None = None,
        service_account_file: str | os.PathLike[str] | None = None,
        endpoint: str | None = None,
        prefix: str | None = None,
        anonymous: bool = False,
        overwrite: bool = False,
        skip_validation: bool = False,
    ) -> GoogleDatastore:
        """Register a bucket of Google Cloud Storage with the JSON key of a service account, as text (or ``env:NAME``) or as a file.

        Without either the credentials of the environment are used, as for ``gs://`` URLs, or none with ``anonymous``.

        Raises:
            UserErrorException: the name means another store already, or the store refuses.
        """
        from batchmill.workspace.bucket_datastore import GoogleDatastore

        file = os.path.abspath(os.fspath(service_account_file)) if service_account_file else None
        facts = _bucket_facts(bucket, prefix, endpoint, anonymous) | {"service_account_file": file}
        options = {"overwrite": overwrite, "check": not skip_validation}
        return _registered(GoogleDatastore, workspace, datastore_name, facts, {"service_account_key": service_account_key}, options)

    @staticmethod
    def register_sql_database(
        workspace: Workspace,
        datastore_name: str,
        url: str,
        password: str | None = None,
        overwrite: bool = False,
        skip_validation: bool = False,
    ) -> SqlDatastore:
        """Register a database of SQLite or PostgreSQL by its SQLAlchemy URL; ``password`` may name a variable: ``env:NAME``.

        Raises:
            UserErrorException: the URL is none, the name means another store already, or the database does not answer.
        """
        from batchmill.workspace.sql_datastore import SqlDatastore, plain_url

        plain, inside = plain_url(url)
        options = {"overwrite": overwrite, "check": not skip_validation}
        return _registered(SqlDatastore, workspace, datastore_name, {"url": plain}, {"password": password or inside}, options)

    # --- what there is no way to --------------------------------------------------------------------------------------------------

    @staticmethod
    def register_azure_sql_database(*_arguments: Any, **_options: Any) -> NoReturn:
        """Refused (Azure ML: a Microsoft SQL Server database)."""
        raise _unknown("Azure SQL databases", "Copy the data into PostgreSQL or SQLite and use Datastore.register_sql_database")

    @staticmethod
    def register_azure_my_sql(*_arguments: Any, **_options: Any) -> NoReturn:
        """Refused (Azure ML: a MySQL database)."""
        raise _unknown("MySQL databases", "Copy the data into PostgreSQL or SQLite and use Datastore.register_sql_database")

    @staticmethod
    def register_azure_data_lake(*_arguments: Any, **_options: Any) -> NoReturn:
        """Refused (Azure ML: Data Lake Storage Gen1, which was shut down in February 2024)."""
        raise _unknown("Azure Data Lake Storage Gen1 (shut down in 2024)", "Use Datastore.register_azure_data_lake_gen2")

    @staticmethod
    def register_dbfs(*_arguments: Any, **_options: Any) -> NoReturn:
        """Refused (Azure ML: the file system of Databricks)."""
        raise _unknown("the file system of Databricks", "Register the storage behind it, for example with register_azure_blob_container")

    @staticmethod
    def register_hdfs(*_arguments: Any, **_options: Any) -> NoReturn:
        """Refused (Azure ML: Hadoop's file system)."""
        raise _unknown("HDFS", "Mount it (NFS gateway) and use Datastore.register_local_folder, or copy the data into an object store")


def _unknown(what: str, cure: str) -> UserErrorException:
    return UserErrorException(f"Batchmill cannot read {what}. {cure}.")


def _registered(
    kind: type[D], workspace: Workspace, name: str, facts: dict[str, Any], secrets: dict[str, str | None], options: dict[str, bool]
) -> D:
    from batchmill.workspace.datastore_registration import register

    return register(workspace, name, kind, facts, secrets, **options)


def _azure_facts(container: str, account: str, protocol: str | None, endpoint: str | None) -> dict[str, Any]:
    """Azure ML: protocol ``https`` and endpoint ``core.windows.net`` unless others are given."""
    for what, text in (("container", container), ("storage account", account)):
        if not isinstance(text, str) or not text or set(text) & set("/:@?#*\\ \n"):
            raise UserErrorException(f"{text!r} is no name of a {what}.")
    if protocol not in (None, "http", "https"):
        raise UserErrorException(f"The protocol is 'http' or 'https', not {protocol!r}.")
    _check_endpoint(endpoint)
    scheme = "http" if protocol is None and endpoint is not None and endpoint.startswith("http://") else "https"
    return {
        "account_name": account,
        "container_name": container,
        "protocol": protocol or scheme,
        "endpoint": endpoint or "core.windows.net",
    }


def _bucket_facts(bucket: str, prefix: str | None, endpoint: str | None, anonymous: bool) -> dict[str, Any]:
    if not isinstance(bucket, str) or not bucket or set(bucket) & set("/:@?#*\\ \n"):
        raise UserErrorException(f"{bucket!r} is no name of a bucket.")
    _check_endpoint(endpoint)
    folder = (prefix or "").strip("/") or None
    return {"bucket": bucket, "prefix": folder, "endpoint": endpoint.rstrip("/") if endpoint else None, "anonymous": anonymous or None}


def _check_endpoint(endpoint: str | None) -> None:
    """An address is shown and kept as it is, so it must hold no secret."""
    if endpoint is not None and set(endpoint) & set("@?# \n"):
        raise UserErrorException("The endpoint is an address without user, query and fragment, for example https://minio.example.org:9000.")
