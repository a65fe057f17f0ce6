"""``batchmill dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.options import takes_settings
from batchmill.cli.tables import AfterOption, JsonOption, LimitOption, WorkspaceOption, YesOption, command_group

if TYPE_CHECKING:
    from batchmill.data.definition import Definition
    from batchmill.settings import Flag
    from batchmill.workspace.abstract_dataset import AbstractDataset
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the dataset.", show_default=False)]
VersionArgument = Annotated[
    str,
    typer.Argument(metavar="NAME[:VERSION]", help="The name of the dataset; its newest version by default. Or id:ID.", show_default=False),
]
PathOption = Annotated[
    list[str],
    typer.Option(
        "--path",
        metavar="P",
        help="datastore://NAME/PATH, a URL or a local path; globs are allowed. Repeatable: the files follow in this order.",
        show_default=False,
    ),
]
TabularOption = Annotated[
    str | None,
    typer.Option("--tabular", metavar="csv|tsv|parquet|jsonl", help="The files are tables, and their rows the items.", show_default=False),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="A tag. Repeatable.", show_default=False)]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it holds.", show_default=False)]
FORMATS = ("csv", "tsv", "parquet", "jsonl")


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Files and tables that a workspace knows by name and version.")
    group.command("create")(takes_settings(create, _of_a_dataset))
    commands = (("list", list_all), ("show", show), ("files", files), ("head", head), ("update", update), ("remove", remove))
    for name, command in commands:
        group.command(name)(command)
    app.add_typer(group, name="dataset")


def _of_a_dataset(name: str, flag: Flag) -> bool:
    """The settings of a run that are a dataset's as well."""
    from batchmill.settings.declared import TABLE

    return flag.group == TABLE or name == "partition_format"


def create(
    values: dict[str, Any],
    *,
    name: NameArgument,
    path: PathOption,
    tabular: TabularOption = None,
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Make a new version where the name holds another definition; else that is an error.")
    ] = False,
    validate: Annotated[bool, typer.Option("--validate/--no-validate", help="Look whether every path holds something.")] = True,
    tag: TagOption = None,
    description: DescriptionOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a dataset: paths, how to read them, and nothing else; the data stays where it is."""
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.abstract_dataset import DatasetExistsError
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.file_factory import check_sources

    tags = parse_pairs(tag, "--tag")
    ws = find_workspace(workspace)
    dataset = _dataset(ws, _definition(path, tabular, values))
    if validate:
        check_sources(dataset)
    try:
        registered = dataset.register(ws, name, description=description, tags=tags, create_new_version=new_version)
    except DatasetExistsError as error:
        raise UsageError(error.message.partition(". ")[0] + ".", cure="Add --new-version, or choose another name.") from None
    if as_json:
        print_json(registered.as_dict())
    else:
        tell(f"Dataset {registered.name}:{registered.version} is registered in workspace {ws.name}. In a run: --input dataset:{name}")


def _definition(path: list[str], tabular: str | None, values: dict[str, Any]) -> Definition:
    import os

    from batchmill.cli.options import parse_settings
    from batchmill.data.definition import FILE, TABULAR, Definition
    from batchmill.data.globs import is_glob
    from batchmill.errors import InputError, SettingError
    from batchmill.workspace.file_factory import check_partition_format
    from batchmill.workspace.sources import source_texts

    if not path:
        raise SettingError("No path was given.", cure="Name datastore://NAME/PATH, a URL or a local path with --path.")
    if tabular is not None and tabular not in FORMATS:
        raise SettingError(f"Option --tabular has the value '{tabular}': it must be one of {', '.join(FORMATS)}.")
    settings = parse_settings({"script": "none.py", **values})
    options = {name: getattr(settings, name) for name in values if name != "partition_format"}
    if tabular is None and options:
        raise SettingError(f"Option --{next(iter(options)).replace('_', '-')} is for tables.", cure="Say which kind with --tabular.")
    check_partition_format(settings.partition_format)
    missing = next((text for text in path if "://" not in text and not is_glob(text) and not os.path.lexists(text)), None)
    if missing is not None:
        raise InputError(f"Path {missing} does not exist.", cure=f"Relative paths start at {os.getcwd()}.")
    sources = tuple(source_texts(path))
    if tabular is None:
        return Definition(FILE, sources, partition_format=settings.partition_format)
    options["unparsable"] = settings.unparsable
    if tabular == "tsv":
        tabular, options = "csv", {"separator": "\t", **options}
    return Definition(TABULAR, sources, tabular, options, settings.partition_format)


def _dataset(ws: Workspace, definition: Definition) -> AbstractDataset:
    from batchmill.workspace.dataset import from_asset
    from batchmill.workspace.registry import new_asset

    return from_asset(ws, new_asset("dataset", None, definition.to_dict()))


def list_all(
    name: Annotated[str | None, typer.Option(metavar="NAME", help="All versions of this one.", show_default=False)] = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered datasets by name, the newest version of each."""
    from batchmill.cli.tables import print_json, print_table, tell_more
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    assets = ws.registry.list("dataset", name=name, all_versions=name is not None, after=after, limit=limit)
    if as_json:
        print_json([_object(asset) for asset in assets])
    elif not assets:
        tell(f"There are no datasets in workspace {ws.name}. Register one: batchmill dataset create NAME --path PATH")
    else:
        rows = [[one.name, one.version, _kind(one), _sources(one), one.tags, one.created] for one in assets]
        print_table(["name", "version", "kind", "source", "tags", "created"], rows)
        if name is None:
            tell_more(len(assets), limit, str(assets[-1].name))


def show(name: VersionArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show a dataset: where its data lies and how it is read. The data itself is not looked at."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.workspace.abstract_dataset import shown_operations

    _, asset, definition = _found(name, workspace)
    if as_json:
        print_json(_object(asset))
        return
    print_facts(
        [
            ("dataset", asset.name),
            ("version", asset.version if asset.name is not None else None),
            ("id", asset.id),
            ("kind", _kind(asset)),
            *(("source", source) for source in definition.sources),
            *((key.replace("_", " "), value) for key, value in definition.options.items()),
            ("partition format", definition.partition_format),
            ("partition keys", definition.partition_keys),
            *(("operation", text) for text in shown_operations(definition)),
            ("timestamp", definition.timestamp),
            ("description", asset.description),
            ("tags", asset.tags),
            ("created", asset.created),
            ("modified", asset.modified if asset.modified != asset.created else None),
        ]
    )


def files(
    name: VersionArgument,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="How many to show.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the files of a dataset, one a line: their paths as a mount shows them."""
    import json
    from itertools import islice

    from batchmill.errors import UsageError
    from batchmill.workspace.dataset import from_asset
    from batchmill.workspace.dataset_files import DatasetFiles

    ws, asset, definition = _found(name, workspace)
    if definition.format == "sql":
        raise UsageError(f"Dataset {name} is a query: it has no files.", cure=f"Look at its rows: batchmill dataset head {name}")
    found = DatasetFiles(definition, from_asset(ws, asset).physical_definition())
    if not as_json:
        for file in islice(found, limit):
            print(f"/{file.path}")
        return
    bases = [place.base for place in found.places]
    print("[", end="")
    for number, file in enumerate(islice(found, limit)):
        told = {"path": f"/{file.path}", "place": f"{bases[file.input]}/{file.name}", "size": file.size}
        print(",\n " if number else "", json.dumps(told, ensure_ascii=False), sep="", end="")
    print("]")


def head(
    name: VersionArgument,
    rows: Annotated[int, typer.Option("-n", metavar="N", min=0, help="How many.")] = 10,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the first rows of a table, or the paths of the first files."""
    import sys

    from batchmill.cli.terminal import styled, table
    from batchmill.workspace.dataset import from_asset

    ws, asset, definition = _found(name, workspace)
    if definition.kind == "file":
        files(name, limit=rows or None, workspace=workspace, as_json=as_json) if rows else None
        return
    frame = from_asset(ws, asset).take(rows).to_pandas_dataframe()  # type: ignore[attr-defined] # a table dataset has it
    if as_json:
        print(frame.to_json(orient="records", date_format="iso", indent=2, force_ascii=False))
        return
    cells = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
    numbers = [place for place, kind in enumerate(frame.dtypes) if kind.kind in "iuf"]
    names = [styled(str(column), sys.stdout, dim=True) for column in frame.columns]
    for line in table([names, *([_shown(cell) for cell in row] for row in cells)], right=numbers):
        print(line)


def _shown(cell: object) -> str:
    """A cell as it is, in one line; nothing for null."""
    return "" if cell is None else " ".join(str(cell).splitlines())


def update(
    name: VersionArgument,
    description: DescriptionOption = None,
    tag: TagOption = None,
    remove_tag: Annotated[
        list[str] | None, typer.Option("--remove-tag", metavar="K", help="A tag to take away. Repeatable.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change description and tags of one version; what it holds never changes (create --new-version makes another)."""
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.dataset import from_asset

    if not tag and not remove_tag and description is None:
        raise UsageError("Nothing to change was given.", cure="See batchmill dataset update --help.")
    tags = parse_pairs(tag, "--tag")
    ws, asset, _ = _found(name, workspace)
    kept = {key: value for key, value in asset.tags.items() if key not in (remove_tag or ())}
    dataset = from_asset(ws, asset).update(description=description, tags={**kept, **tags})
    if as_json:
        print_json(dataset.as_dict())
    else:
        tell(f"Dataset {dataset.name}:{dataset.version} has been changed.")


def remove(name: VersionArgument, yes: YesOption = False, workspace: WorkspaceOption = None) -> None:
    """Take a dataset, with all its versions or one (NAME:VERSION), out of the workspace. The data stays where it is."""
    from batchmill.cli.tables import confirm
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.dataset import find_asset

    ws = find_workspace(workspace)
    asset = find_asset(ws, name)
    if asset.name is None:
        raise UsageError(f"Dataset {name} is not registered under a name.", cure="Saved definitions stay.")
    version = None if name == asset.name else asset.version
    what = f"{asset.name}:{version}" if version is not None else f"{asset.name} with all its versions"
    confirm(f"Dataset {what} would no longer be known in workspace {ws.name}.", yes=yes)
    ws.registry.remove("dataset", asset.name, version)
    tell(f"Dataset {what} has been removed; its data is where it was.")


def _found(name: str, workspace: str | None) -> tuple[Workspace, Asset, Definition]:
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.dataset import find_dataset

    ws = find_workspace(workspace)
    return ws, *find_dataset(ws, name)


def _kind(asset: Asset) -> str:
    definition = asset.definition
    return str(definition.get("kind")) + (f", {definition['format']}" if "format" in definition else "")


def _sources(asset: Asset) -> str:
    """As much of the sources as fits into a line of a table; a broken definition is shown as it is."""
    sources = asset.definition.get("sources")
    if not isinstance(sources, list) or not sources:
        return f"? ({sources!r})"
    return f"{sources[0]}{f' and {len(sources) - 1:,} more' if len(sources) > 1 else ''}"


def _object(asset: Asset) -> dict[str, Any]:
    """What `AbstractDataset.as_dict` says, also of a definition that cannot be read."""
    return {**asset.as_dict(), "type": asset.definition.get("kind"), "definition": asset.definition}
