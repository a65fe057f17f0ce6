"""``batchmill model``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.tables import AfterOption, JsonOption, LimitOption, WorkspaceOption, YesOption, command_group

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.model import Model
    from batchmill.workspace.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the model.", show_default=False)]
VersionArgument = Annotated[
    str, typer.Argument(metavar="NAME[:VERSION]", help="The name of the model; its newest version by default.", show_default=False)
]
PathArgument = Annotated[
    str | None, typer.Argument(metavar="[PATH]", help="The file or folder that is copied into the workspace.", show_default=False)
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="A tag. Repeatable.", show_default=False)]
PropertyOption = Annotated[
    list[str] | None,
    typer.Option("--property", metavar="K=V", help="A property; it cannot be changed later. Repeatable.", show_default=False),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is.", show_default=False)]
FILES_SHOWN = 10


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Models that a workspace knows by name and version; a run gets them by Model.get_model_path(NAME).")
    commands = (("create", create), ("list", list_all), ("show", show), ("update", update), ("remove", remove), ("download", download))
    for name, command in commands:
        group.command(name)(command)
    app.add_typer(group, name="model")


def create(
    name: NameArgument,
    path: PathArgument = None,
    tag: TagOption = None,
    property: PropertyOption = None,
    description: DescriptionOption = None,
    framework: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it is made with, such as ScikitLearn or Onnx.", show_default=False)
    ] = None,
    framework_version: Annotated[str | None, typer.Option(metavar="TEXT", help="The version of that.", show_default=False)] = None,
    child: Annotated[
        list[str] | None,
        typer.Option("--child", metavar="PATH", help="Take only this file or folder below PATH. Repeatable.", show_default=False),
    ] = None,
    from_mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Take a model of MLflow over: models:/NAME/VERSION, runs:/RUN_ID/PATH, or the folder of a run or model.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Where MLflow keeps it [dim]\\[default: MLflow's own setting][/dim].", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a file or folder as the next version of NAME. It is copied at once: PATH may be removed afterwards."""
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.mlflow_model import register_mlflow
    from batchmill.workspace.model_facts import ModelFacts
    from batchmill.workspace.model_registration import register_model

    if (path is None) == (from_mlflow is None):
        raise UsageError("A model is made of a PATH or --from-mlflow URI, one of them.", cure="See batchmill model create --help.")
    said: dict[str, Any] = {
        "tags": parse_pairs(tag, "--tag"),
        "properties": parse_pairs(property, "--property"),
        "description": description,
    }
    facts = ModelFacts(framework, framework_version)
    ws = find_workspace(workspace)
    if from_mlflow is not None:
        asset = register_mlflow(ws, from_mlflow, name, tracking_uri=tracking_uri, facts=facts, **said)
    else:
        assert path is not None
        asset = register_model(ws, path, name, child_paths=child, facts=facts, **said)
    if as_json:
        print_json(_object(asset))
    else:
        version = f"Model {name}:{asset.version} is registered in workspace {ws.name}."
        tell(f'{version} In an entry script: Model.get_model_path("{name}")')


def list_all(
    name: Annotated[str | None, typer.Option(metavar="NAME", help="All versions of this one.", show_default=False)] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="K[=V]", help="Only those with this tag. Repeatable.", show_default=False)
    ] = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models, by name: the newest version of each."""
    from batchmill.cli.tables import print_json, print_table, tell_more
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.model_lookup import KIND, labels_of

    ws = find_workspace(workspace)
    tags = labels_of([text.split("=", 1) for text in tag or ()])
    found = ws.registry.list(KIND, name=name, all_versions=name is not None, tags=tags, after=after, limit=limit)
    if as_json:
        print_json([_object(asset) for asset in found])
    elif not found:
        tell(f"No models in workspace {ws.name}. Register one: batchmill model create NAME PATH")
    else:
        rows = [[one.name, one.version, one.definition["model_framework"], _size(one), one.created, one.tags] for one in found]
        print_table(["name", "version", "framework", "bytes", "created", "tags"], rows, right=[1, 3])
        tell_more(len(found), limit, str(found[-1].name))


def show(name: VersionArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show a model: what is known of it, and its files."""
    from batchmill.cli.tables import print_facts, print_json

    ws, model = _found(name, workspace)
    asset = model.asset
    if as_json:
        print_json(_object(asset) | {"files": asset.definition["files"]})
        return
    more = len(model.files) - FILES_SHOWN
    print_facts(
        [
            ("model", model.id),
            ("description", model.description),
            ("framework", " ".join(filter(None, (model.model_framework, model.model_framework_version)))),
            ("created", model.created_time),
            ("versions", _versions(ws, model.name)),
            ("tags", model.tags),
            ("properties", model.properties),
            ("run", model.run_id),
            ("place", asset.definition["location"]),
            ("bytes", model.size),
            *(("file", file) for file in model.files[:FILES_SHOWN]),
            ("", f"and {more:,} more files" if more > 0 else None),
        ]
    )


def update(
    name: VersionArgument,
    tag: TagOption = None,
    remove_tag: Annotated[
        list[str] | None, typer.Option("--remove-tag", metavar="KEY", help="Take a tag away. Repeatable.", show_default=False)
    ] = None,
    property: PropertyOption = None,
    description: DescriptionOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Change the tags and the description of a model, and add properties."""
    from batchmill.cli.tables import parse_pairs
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError

    if not (tag or remove_tag or property) and description is None:
        raise UsageError("Nothing to change was given.", cure="See batchmill model update --help.")
    tags, properties = parse_pairs(tag, "--tag"), parse_pairs(property, "--property")
    _, model = _found(name, workspace)
    if tags or remove_tag or properties:
        model.update_tags_properties(tags, remove_tag, properties)
    if description is not None:
        model.update(description=description)
    tell(f"Model {model.id} has been changed.")


def remove(name: VersionArgument, yes: YesOption = False, workspace: WorkspaceOption = None) -> None:
    """Remove a model, with all its versions or one (NAME:VERSION), and its files. Runs that have fetched them go on."""
    from batchmill.cli.tables import confirm
    from batchmill.cli.terminal import tell
    from batchmill.workspace.model_lookup import KIND
    from batchmill.workspace.model_registration import remove_model

    ws, model = _found(name, workspace)
    whole = ":" not in name
    what = f"{model.name} with all its versions" if whole else model.id
    confirm(f"Model {what} and the files of it would be lost.", yes=yes)
    assets = ws.registry.list(KIND, name=model.name, all_versions=True, limit=None) if whole else [model.asset]
    for asset in reversed(assets):
        remove_model(ws, asset)
    tell(f"Model {what} has been removed.")


def download(
    name: VersionArgument,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="The folder that its files are copied into.")] = ".",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Copy the files of a model into a folder; prints the path of its file there, or of the folder that holds its files."""
    _, model = _found(name, workspace)
    print(model.download(to, exist_ok=overwrite))


def _found(name: str, workspace: str | None) -> tuple[Workspace, Model]:
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.model import from_asset
    from batchmill.workspace.model_lookup import labelled_model

    ws = find_workspace(workspace)
    return ws, from_asset(ws, labelled_model(ws, name))


def _versions(ws: Workspace, name: str) -> str:
    from batchmill.workspace.model_lookup import KIND

    found = ws.registry.list(KIND, name=name, all_versions=True, limit=FILES_SHOWN + 1)
    texts = [str(asset.version) for asset in found]
    return ", ".join(texts[:FILES_SHOWN]) + (" ..." if len(texts) > FILES_SHOWN else "")


def _size(asset: Asset) -> int:
    return sum(int(file["size"]) for file in asset.definition["files"])


def _object(asset: Asset) -> dict[str, Any]:
    facts = {key: value for key, value in asset.definition.items() if key != "files"}
    return asset.as_dict() | facts | {"files": len(asset.definition["files"]), "size": _size(asset)}
