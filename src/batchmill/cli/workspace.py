"""``batchmill workspace``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.tables import AfterOption, JsonOption, LimitOption, YesOption, command_group

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the workspace.", show_default=False)]
MaybeName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="The workspace [dim]\\[default: the config.json of this folder or one above it, BATCHMILL_WORKSPACE, else 'default'][/dim].",
        show_default=False,
    ),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag. Repeatable.", show_default=False)]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.", show_default=False)]


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("What a team registers once and names afterwards: make, look at, set up and remove workspaces.")
    for name, command in (("create", create), ("list", list_all), ("show", show), ("update", update), ("remove", remove)):
        group.command(name)(command)
    app.add_typer(group, name="workspace")


def create(
    name: NameArgument,
    description: DescriptionOption = None,
    tag: TagOption = None,
    subscription_id: Annotated[str, typer.Option(metavar="ID", help="Kept for scripts that ask for it.", show_default=False)] = "",
    resource_group: Annotated[str, typer.Option(metavar="NAME", help="Kept for scripts that ask for it.", show_default=False)] = "",
    location: Annotated[str, typer.Option(metavar="TEXT", help="Kept for scripts that ask for it.", show_default=False)] = "",
    exist_ok: Annotated[bool, typer.Option("--exist-ok", help="A workspace of that name may exist; it stays as it is.")] = False,
    write_config: Annotated[
        bool, typer.Option("--write-config", help="Write .azureml/config.json here, so that this folder belongs to the workspace.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a workspace with its two datastores."""
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.workspace import Workspace

    tags = parse_pairs(tag, "--tag")
    ws = Workspace.create(
        name,
        subscription_id=subscription_id,
        resource_group=resource_group,
        location=location,
        tags=tags,
        exist_ok=exist_ok,
        show_output=False,
        description=description,
    )
    if write_config:
        ws.write_config()
    if as_json:
        print_json(_object(ws))
    else:
        tell(f"Workspace {ws.name} is ready: {ws.folder}")


def list_all(limit: LimitOption = 100, after: AfterOption = None, as_json: JsonOption = False) -> None:
    """List the workspaces, by name."""
    from batchmill.cli.tables import print_json, print_table, tell_more
    from batchmill.cli.terminal import tell
    from batchmill.workspace.workspace import Workspace

    found = [ws for name, (ws,) in Workspace.list().items() if after is None or name > after][:limit]
    if as_json:
        print_json([_object(ws) for ws in found])
    elif not found:
        tell("There are no workspaces. Make one: batchmill workspace create NAME")
    else:
        print_table(["name", "created", "description", "folder"], [[ws.name, ws.created, ws.description, ws.folder] for ws in found])
        tell_more(len(found), limit, found[-1].name)


def show(name: MaybeName = None, as_json: JsonOption = False) -> None:
    """Show one workspace: where it lies, what it holds, its settings."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(name)
    if as_json:
        print_json(_object(ws) | {"counts": ws.registry.counts(), "settings": ws.registry.settings()})
        return
    print_facts(
        [
            ("workspace", ws.name),
            ("id", ws.id),
            ("description", ws.description),
            ("tags", ws.tags),
            ("subscription", ws.subscription_id),
            ("resource group", ws.resource_group),
            ("location", ws.location),
            ("created", ws.created),
            ("folder", ws.folder),
            ("registry", ws.registry.database.label),
            ("holds", ", ".join(_amount(number, kind) for kind, number in sorted(ws.registry.counts().items()))),
            ("default datastore", ws.default_datastore_name),
            *((f"setting {key}", _text(value)) for key, value in ws.registry.settings().items()),
        ]
    )


def update(
    name: MaybeName = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Make a setting; an empty VALUE takes it away. Repeatable.", show_default=False),
    ] = None,
    description: DescriptionOption = None,
    friendly_name: Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.", show_default=False)] = None,
    tag: TagOption = None,
) -> None:
    """Change settings, description and tags of a workspace.

    Settings: default_datastore, default_cpu_compute, default_gpu_compute, compute_provider, environments, docker_images, mirrors,
    vm_sizes.
    """
    from batchmill.cli.tables import parse_pairs
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.workspace_settings import parse_setting

    if not (setting or tag) and description is None and friendly_name is None:
        raise UsageError("Nothing to change was given.", cure="See batchmill workspace update --help.")
    ws = find_workspace(name)
    values = {key: parse_setting(ws, key, text) for key, text in parse_pairs(setting, "--set").items()}
    tags = parse_pairs(tag, "--tag")
    for key, value in values.items():
        ws.registry.set_setting(key, value)
    if tags or description is not None or friendly_name is not None:
        ws.update(friendly_name=friendly_name, description=description, tags={**ws.tags, **tags} if tags else None)
    tell(f"Workspace {ws.name} has been changed.")


def remove(name: NameArgument, yes: YesOption = False) -> None:
    """Remove a workspace: what is registered in it, and its folder with the data of its two local datastores. Data elsewhere stays."""
    from batchmill.cli.tables import confirm
    from batchmill.cli.terminal import tell
    from batchmill.workspace.workspace import Workspace

    ws = Workspace.get(name)
    held = _held(ws)
    if held:
        confirm(f"Workspace {name} holds {held}; all of it would be lost.", yes=yes)
    ws.delete()
    tell(f"Workspace {name} has been removed.")


def _held(ws: Workspace) -> str:
    """What would be lost with the workspace, in words; empty for one that was never used."""
    from itertools import islice

    from batchmill.workspace.abstract_datastore import FIRST_STORES

    counts = ws.registry.counts()
    counts["datastore"] = counts.get("datastore", 0) - len(FIRST_STORES)
    words = [_amount(number, kind) for kind, number in sorted(counts.items()) if number > 0]
    if ws.folder.is_dir() and not ws.folder.is_symlink():
        files = sum(1 for _ in islice((path for path in ws.folder.rglob("*") if path.is_symlink() or not path.is_dir()), 1000))
        words += [f"{'at least ' if files == 1000 else ''}{_amount(files, 'file')}"] if files else []
    return ", ".join(words)


def _amount(number: int, noun: str) -> str:
    noun = "compute target" if noun == "compute" else noun
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(ws: Workspace) -> dict[str, Any]:
    return {
        "name": ws.name,
        "id": ws.id,
        "description": ws.description,
        "tags": ws.tags,
        "subscription_id": ws.subscription_id,
        "resource_group": ws.resource_group,
        "location": ws.location,
        "folder": str(ws.folder),
        "created": ws.created.isoformat(),
    }
