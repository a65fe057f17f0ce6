"""``batchmill datastore``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.secret_option import secret_option
from batchmill.cli.tables import AfterOption, JsonOption, LimitOption, WorkspaceOption, command_group

if TYPE_CHECKING:
    from batchmill.storage.transfer import Moved
    from batchmill.workspace.abstract_datastore import AbstractDatastore
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the datastore.", show_default=False)]
WHERE, MORE = "Where it lies (one of)", "More about the place"
AccountKey = Annotated[str | None, secret_option("--account-key", "The key of an Azure storage account")]
SasToken = Annotated[str | None, secret_option("--sas-token", "A SAS token of Azure")]
ClientSecret = Annotated[str | None, secret_option("--client-secret", "The secret of a service principal of Azure")]
AccessKeyId = Annotated[str | None, secret_option("--access-key-id", "The id of an S3 key")]
SecretAccessKey = Annotated[str | None, secret_option("--secret-access-key", "The S3 key")]
SessionToken = Annotated[str | None, secret_option("--session-token", "The token of a temporary S3 key")]
ServiceAccountKey = Annotated[str | None, secret_option("--service-account-key", "The JSON key of a Google service account")]
Password = Annotated[str | None, secret_option("--password", "The password of a database")]
EndpointOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Another address than the cloud's own.", show_default=False, rich_help_panel=MORE)
]
RegionOption = Annotated[str | None, typer.Option(metavar="TEXT", help="The region of S3.", show_default=False, rich_help_panel=MORE)]
TenantOption = Annotated[
    str | None, typer.Option(metavar="ID", help="The tenant of a service principal.", show_default=False, rich_help_panel=MORE)
]
ClientOption = Annotated[str | None, typer.Option(metavar="ID", help="Its client.", show_default=False, rich_help_panel=MORE)]
DefaultOption = Annotated[bool, typer.Option("--default", help="Make it the default datastore of the workspace.")]
ValidateOption = Annotated[bool, typer.Option("--validate/--no-validate", help="Ask the store whether it is there.")]


def _where(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, show_default=False, rich_help_panel=WHERE)


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Places of files, and databases, that a workspace knows by name; credentials are kept sealed.")
    commands = (("create", create), ("list", list_all), ("show", show), ("update", update), ("remove", remove))
    for name, command in (*commands, ("files", files), ("upload", upload), ("download", download)):
        group.command(name)(command)
    app.add_typer(group, name="datastore")


def create(
    name: NameArgument,
    local: Annotated[str | None, _where("DIR", "A folder of this machine.")] = None,
    azure_blob: Annotated[str | None, _where("ACCOUNT/CONTAINER", "A blob container; without credentials a public one.")] = None,
    azure_data_lake: Annotated[str | None, _where("ACCOUNT/FILESYSTEM", "A file system of Data Lake Storage Gen2.")] = None,
    s3: Annotated[str | None, _where("BUCKET[/FOLDER]", "A bucket; without credentials those of the environment are used.")] = None,
    gcs: Annotated[str | None, _where("BUCKET[/FOLDER]", "A bucket of Google Cloud Storage; likewise.")] = None,
    sql: Annotated[str | None, _where("URL", "A database: sqlite:////PATH.db or postgresql://USER@HOST/DATABASE.")] = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="A public bucket.", rich_help_panel=MORE)] = False,
    tenant_id: TenantOption = None,
    client_id: ClientOption = None,
    account_key: AccountKey = None,
    sas_token: SasToken = None,
    client_secret: ClientSecret = None,
    access_key_id: AccessKeyId = None,
    secret_access_key: SecretAccessKey = None,
    session_token: SessionToken = None,
    service_account_key: ServiceAccountKey = None,
    password: Password = None,
    make: Annotated[bool, typer.Option("--make", help="Make the folder or container where it is missing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another datastore of that name.")] = False,
    validate: ValidateOption = True,
    default: DefaultOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a datastore.

    A SECRET is env:NAME (the name is kept, and the variable is read at each use), - (stdin) or @FILE; what is read there is kept sealed.
    """
    from batchmill.cli.datastore_places import register_place
    from batchmill.cli.secret_option import read_secrets
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    places = {"local": local, "azure_blob": azure_blob, "azure_data_lake": azure_data_lake, "s3": s3, "gcs": gcs, "sql": sql}
    facts = {"endpoint": endpoint, "region": region, "anonymous": anonymous or None, "tenant_id": tenant_id, "client_id": client_id}
    secrets = {"account_key": account_key, "sas_token": sas_token, "client_secret": client_secret, "access_key_id": access_key_id}
    secrets |= {"secret_access_key": secret_access_key, "session_token": session_token}
    secrets |= {"service_account_key": service_account_key, "password": password}
    given = {key: value for key, value in {**facts, "create_if_not_exists": make or None}.items() if value is not None}
    options = {"overwrite": overwrite, "skip_validation": not validate}
    ws = find_workspace(workspace)
    datastore = register_place(ws, name, places, given, lambda: read_secrets(secrets), options)
    if default:
        datastore.set_as_default()
    if as_json:
        print_json(datastore.as_dict())
    else:
        use = "In Python: Dataset.Tabular.from_sql_query" if sql else f"In a run: --input datastore://{name}/PATH"
        tell(f"Datastore {name} is registered in workspace {ws.name}. {use}")


def list_all(limit: LimitOption = 100, after: AfterOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the datastores, by name."""
    from batchmill.cli.tables import print_json, print_table, tell_more
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = [_shown(ws, asset) for asset in ws.registry.list("datastore", after=after, limit=limit)]
    default = ws.default_datastore_name
    if as_json:
        print_json([datastore.as_dict() for datastore in found])
        return
    rows = [[one.name, one.datastore_type, one.whereabouts, "yes" if one.name == default else ""] for one in found]
    print_table(["name", "type", "place", "default"], rows)
    if found:
        tell_more(len(found), limit, found[-1].name)


def _shown(ws: Workspace, asset: Asset) -> AbstractDatastore:
    """One that a newer version registered is listed, too."""
    from batchmill.workspace.abstract_datastore import AbstractDatastore
    from batchmill.workspace.datastore import from_asset
    from batchmill.workspace.exceptions import UserErrorException

    try:
        return from_asset(ws, asset)
    except UserErrorException:
        return AbstractDatastore(ws, asset)


def show(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show a datastore; its secrets are never shown."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.workspace.abstract_datastore import SECRETS

    datastore = _found(name, workspace)
    if as_json:
        print_json(datastore.as_dict())
        return
    definition = datastore.definition
    print_facts(
        [
            ("datastore", datastore.name),
            ("type", datastore.datastore_type),
            ("place", datastore.whereabouts),
            ("read from", getattr(datastore, "mirror", None)),
            *((fact.replace("_", " "), value) for fact, value in definition.items() if fact not in ("type", SECRETS)),
            *((secret.replace("_", " "), value) for secret, value in definition.get(SECRETS, {}).items()),
            ("default", datastore.is_default or None),
            ("created", datastore.created),
        ]
    )


def update(
    name: NameArgument,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    local: Annotated[str | None, _where("DIR", "The folder, of a folder of this machine.")] = None,
    tenant_id: TenantOption = None,
    client_id: ClientOption = None,
    account_key: AccountKey = None,
    sas_token: SasToken = None,
    client_secret: ClientSecret = None,
    access_key_id: AccessKeyId = None,
    secret_access_key: SecretAccessKey = None,
    session_token: SessionToken = None,
    service_account_key: ServiceAccountKey = None,
    password: Password = None,
    validate: ValidateOption = True,
    default: DefaultOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a datastore other credentials (all of them are replaced) or another address, or make it the default."""
    import os

    from batchmill.cli.secret_option import read_secrets
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.datastore_registration import change

    path = os.path.abspath(local) if local is not None else None
    facts = {"endpoint": endpoint, "region": region, "path": path, "tenant_id": tenant_id, "client_id": client_id}
    given = {key: value for key, value in facts.items() if value is not None}
    secrets = {"account_key": account_key, "sas_token": sas_token, "client_secret": client_secret, "access_key_id": access_key_id}
    secrets |= {"secret_access_key": secret_access_key, "session_token": session_token}
    secrets |= {"service_account_key": service_account_key, "password": password}
    if not given and not default and not any(secrets.values()):
        raise UsageError("Nothing to change was given.", cure="See batchmill datastore update --help.")
    datastore = _found(name, workspace)
    if given or any(secrets.values()):
        datastore = change(datastore, given, read_secrets(secrets), check=validate)
    if default:
        datastore.set_as_default()
    if as_json:
        print_json(datastore.as_dict())
    else:
        tell(f"Datastore {name} has been changed.")


def remove(name: NameArgument, workspace: WorkspaceOption = None) -> None:
    """Take a datastore out of the workspace; what lies there stays."""
    from batchmill.cli.terminal import tell

    datastore = _found(name, workspace)
    datastore.unregister()
    tell(f"Datastore {name} has been taken out of workspace {datastore.workspace.name}; its files stay where they are.")


PrefixArgument = Annotated[
    str, typer.Argument(metavar="[PREFIX]", help="The beginning of the names, any text [dim]\\[default: all][/dim].", show_default=False)
]


def files(
    name: NameArgument,
    prefix: PrefixArgument = "",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many to show.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List files: their sizes in bytes and their names."""
    import json
    from itertools import islice

    from batchmill.cli.tables import print_json

    found = islice(_store(name, workspace).files(prefix), limit)
    if as_json:
        print_json([{"name": file.name, "size": file.size} for file in found])
        return
    for file in found:
        print(f"{file.size:>15,}  {file.name if file.name.isprintable() else json.dumps(file.name)}")


def upload(
    name: NameArgument,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="One folder, with all below it, or files.", show_default=False)],
    to: Annotated[str, typer.Option(metavar="FOLDER", help="The folder on the datastore.", show_default=False)] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there; else it is skipped.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a folder or files. Interrupted, it goes on where it was when it is called again."""
    import os

    from batchmill.errors import UsageError
    from batchmill.workspace.store_files import files_to_upload, folder_to_upload

    store = _store(name, workspace)
    if len(paths) == 1 and os.path.isdir(paths[0]):
        _tell(store.send(folder_to_upload(paths[0]), to, overwrite, not as_json), as_json)
        return
    folders = [path for path in paths if os.path.isdir(path)]
    if folders:
        raise UsageError(f"{folders[0]} is a folder among files.", cure="Upload one folder at a time, or files.")
    _tell(store.send(files_to_upload(paths), to, overwrite, not as_json), as_json)


def download(
    name: NameArgument,
    prefix: PrefixArgument = "",
    into: Annotated[str, typer.Option(metavar="DIR", help="The folder on this machine.")] = ".",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there; else it is skipped.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download the files whose names begin with PREFIX, under their whole names."""
    from batchmill.errors import InputError

    moved = _store(name, workspace).fetch(into, prefix, overwrite, not as_json)
    if not moved.files and not moved.skipped:
        raise InputError(f"Datastore {name} has no file whose name begins with '{prefix}'.", cure=f"See batchmill datastore files {name}.")
    _tell(moved, as_json)


def _tell(moved: Moved, as_json: bool) -> None:
    from batchmill.cli.tables import print_json

    if as_json:
        print_json({"files": moved.files, "bytes": moved.size, "skipped": moved.skipped})


def _found(name: str, workspace: str | None) -> AbstractDatastore:
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.datastore import Datastore

    return Datastore.get(find_workspace(workspace), name)


def _store(name: str, workspace: str | None) -> StorageDatastore:
    from batchmill.errors import UsageError
    from batchmill.workspace.storage_datastore import StorageDatastore

    datastore = _found(name, workspace)
    if not isinstance(datastore, StorageDatastore):
        raise UsageError(f"Datastore {name} is a database and holds no files.", cure="Query it: Dataset.Tabular.from_sql_query.")
    return datastore
