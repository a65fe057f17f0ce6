"""``batchmill environment``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.tables import AfterOption, JsonOption, LimitOption, WorkspaceOption, YesOption, command_group

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the environment.", show_default=False)]
VersionArgument = Annotated[
    str, typer.Argument(metavar="NAME[:VERSION]", help="The name of the environment; its newest version by default.", show_default=False)
]
FileOption = Annotated[Path | None, typer.Option("--requirements", metavar="FILE", help="A requirements file of pip.", show_default=False)]
CondaOption = Annotated[Path | None, typer.Option("--conda", metavar="FILE", help="A conda environment file.", show_default=False)]
FolderOption = Annotated[
    Path | None, typer.Option("--from", metavar="DIR", help="A folder written by Environment.save_to_directory.", show_default=False)
]
PipOption = Annotated[
    list[str] | None,
    typer.Option("--pip", metavar="PACKAGE", help="A pip package, as in a requirements file. Repeatable.", show_default=False),
]
PythonOption = Annotated[
    str | None, typer.Option("--python-version", metavar="VERSION", help="The Python to build with, like 3.12.", show_default=False)
]
InterpreterOption = Annotated[
    str | None,
    typer.Option("--interpreter", metavar="PATH", help="A Python that is used as it is; nothing is built.", show_default=False),
]
VariableOption = Annotated[
    list[str] | None,
    typer.Option("--variable", metavar="K=V", help="An environment variable of the scripts. Repeatable.", show_default=False),
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index-url", metavar="URL", help="The package index, with ${NAME} for variables that hold credentials.", show_default=False
    ),
]


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("What scripts run in: Python, packages, variables.")
    commands = (
        ("create", create),
        ("list", list_all),
        ("show", show),
        ("update", update),
        ("build", build),
        ("remove", remove),
        ("prune", prune),
    )
    for name, command in commands:
        group.command(name)(command)
    app.add_typer(group, name="environment")


def create(
    name: NameArgument,
    requirements: FileOption = None,
    conda: CondaOption = None,
    source: FolderOption = None,
    pip: PipOption = None,
    index_url: IndexOption = None,
    python_version: PythonOption = None,
    interpreter: InterpreterOption = None,
    variable: VariableOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register an environment; a new version where one of that name differs. It is built when a run first needs it."""
    from batchmill.errors import UsageError
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.environment import Environment

    if sum(given is not None for given in (requirements, conda, source)) > 1:
        raise UsageError("Options --requirements, --conda and --from exclude each other.", cure="Nothing was registered.")
    if source is not None:
        environment = Environment.load_from_directory(source).clone(name)
    elif conda is not None:
        environment = Environment.from_conda_specification(name, conda)
    else:
        environment = _plain(name, requirements)
    _change(environment, pip, index_url, python_version, interpreter, variable)
    _registered(find_workspace(workspace), environment, as_json)


def update(
    name: NameArgument,
    pip: PipOption = None,
    index_url: IndexOption = None,
    python_version: PythonOption = None,
    interpreter: InterpreterOption = None,
    variable: VariableOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a new version of an environment: the newest one, with what is given added or replaced."""
    from batchmill.errors import UsageError
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.environment import Environment

    if not (pip or index_url or python_version or interpreter or variable):
        raise UsageError("Nothing to change was given.", cure="See batchmill environment update --help.")
    ws = find_workspace(workspace)
    environment = Environment.get(ws, name)
    _change(environment, pip, index_url, python_version, interpreter, variable)
    _registered(ws, environment, as_json)


def list_all(
    name: Annotated[str | None, typer.Option(metavar="NAME", help="All versions of this one.", show_default=False)] = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered environments by name, the newest version of each."""
    from batchmill.cli.tables import print_json, print_table, tell_more
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    assets = ws.registry.list("environment", name=name, all_versions=name is not None, after=after, limit=limit)
    if as_json:
        print_json([_object(ws, asset) for asset in assets])
    elif not assets:
        tell(f"There are no environments in workspace {ws.name}. Register one: batchmill environment create NAME --pip PACKAGE")
    else:
        rows = [(asset, _object(ws, asset)) for asset in assets]
        print_table(
            ["name", "version", "python", "packages", "created", "built"],
            [[one.name, one.version, told["python"], told["summary"], one.created, told["built"] is not None] for one, told in rows],
        )
        if name is None:
            tell_more(len(assets), limit, str(assets[-1].name))


def show(name: VersionArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show an environment: what it asks for, and its build on this machine."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.registered_environment import find_environment, split_name

    ws = find_workspace(workspace)
    asset = find_environment(ws, *split_name(name))
    told = _object(ws, asset)
    if as_json:
        print_json(told)
        return
    built = told["built"] or {}
    definition = told["definition"]
    pip = [line for item in _dependencies(definition) if isinstance(item, dict) for line in item["pip"]]
    print_facts(
        [
            ("environment", asset.name),
            ("version", asset.version),
            ("created", asset.created),
            ("python", told["python"]),
            ("pip", pip),
            ("conda", told["conda"]),
            ("variables", definition["environmentVariables"]),
            ("image", told["image"]),
            ("policy", told["policy"]),
            ("built", f"{built['packages']} packages, Python {built['python_version']}, {built['created']}" if built else "no"),
            ("folder", built.get("folder")),
            ("lock", built.get("lock")),
            ("last failure", told["failure"]),
        ]
    )


def build(
    name: VersionArgument,
    tables: Annotated[bool, typer.Option("--tables", help="For scripts whose inputs are tables: with pandas and pyarrow.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an environment now, instead of when a run first needs it."""
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.environment_preparation import prepare_environment

    prepared = prepare_environment(find_workspace(workspace), name, "build", needs_tables=tables, announce=tell)
    for warning in prepared.warnings:
        tell(f"Warning: {warning}")
    if as_json:
        print_json({key: value for key, value in prepared.description.items() if key != "warnings"} | {"warnings": prepared.warnings})
    else:
        print(prepared.python)


def remove(name: VersionArgument, yes: YesOption = False, workspace: WorkspaceOption = None) -> None:
    """Remove a version of an environment from the workspace, or without VERSION all of them. Builds stay until they are pruned."""
    from batchmill.cli.tables import confirm
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.registered_environment import find_environment, split_name

    ws = find_workspace(workspace)
    plain, version = split_name(name)
    asset = find_environment(ws, plain, version)
    number = asset.version if version is not None else None
    what = f"version {number} of environment '{plain}'" if number is not None else f"environment '{plain}' with all its versions"
    confirm(f"This removes {what} from workspace {ws.name}.", yes=yes)
    ws.registry.remove("environment", plain, number)
    tell(f"Removed {what}.")


def prune(
    days: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Remove what was last used longer ago than this.")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove builds that no run has used for a while; never one that a run uses now."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from batchmill.cli.tables import print_json, print_table
    from batchmill.cli.terminal import tell
    from batchmill.workspace.environment_pruning import prune_environments

    found = prune_environments(days, remove=not dry_run)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    gone = [one for one in found if one.removed]
    if found:
        rows = [
            [one.key, one.name, one.summary, f"{one.size / 1e6:,.1f} MB", datetime.fromtimestamp(one.last_used, UTC), not one.removed]
            for one in found
        ]
        print_table(["key", "environment", "packages", "size", "last used", "in use"], rows, right=(3,))
    told = "Would remove" if dry_run else "Removed"
    tell(f"{told} {len(gone)} build{'' if len(gone) == 1 else 's'}, {sum(one.size for one in gone) / 1e6:,.1f} MB.")


def _plain(name: str, requirements: Path | None) -> Environment:
    """Nothing but what a requirements file names: no Python version and no example variable that nobody asked for."""
    from batchmill.workspace.conda_dependencies import CondaDependencies
    from batchmill.workspace.environment import Environment, pip_file

    environment = Environment(name)
    lines = pip_file(requirements) if requirements is not None else []
    structure: dict[str, Any] = {"name": "project_environment", "dependencies": [{"pip": lines}] if lines else []}
    environment.python.conda_dependencies = CondaDependencies(_underlying_structure=structure)
    environment.environment_variables = {}
    return environment


def _change(
    environment: Environment,
    pip: list[str] | None,
    index_url: str | None,
    python_version: str | None,
    interpreter: str | None,
    variables: list[str] | None,
) -> None:
    from batchmill.cli.tables import parse_pairs
    from batchmill.workspace.pip_requirements import flattened

    packages = environment.python.dependencies()
    for line in flattened(pip or [], Path.cwd()):
        if line.startswith("-"):
            packages.set_pip_option(line)
        else:
            packages.add_pip_package(line, pin_sdk_version=False)
    if index_url is not None:
        packages.set_pip_index_url(index_url)
    if python_version is not None:
        packages.set_python_version(python_version)
    environment.python.conda_dependencies = packages
    if interpreter is not None:
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = str(Path(interpreter).absolute()) if "/" in interpreter else interpreter
    environment.environment_variables |= parse_pairs(variables, "--variable")


def _registered(ws: Workspace, environment: Environment, as_json: bool) -> None:
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.registered_environment import register_environment

    before = ws.registry.get("environment", environment.name)
    asset = register_environment(ws, environment)
    if as_json:
        print_json(_object(ws, asset))
    elif before is not None and before.version == asset.version:
        tell(f"Environment {asset.name} is unchanged: version {asset.version} of workspace {ws.name}.")
    else:
        tell(f"Registered environment {asset.name}, version {asset.version}, in workspace {ws.name}.")


def _object(ws: Workspace, asset: Asset) -> dict[str, Any]:
    """What show and list print as JSON; nothing secret is in it."""
    from batchmill.workspace.built_environment import BuildFolder
    from batchmill.workspace.environment_recipe import recipe_of
    from batchmill.workspace.registered_environment import shown_environment

    environment = shown_environment(asset)
    recipe = recipe_of(environment)
    python = environment.python.interpreter_path if environment.python.user_managed_dependencies else recipe.python
    told: dict[str, Any] = {
        "name": asset.name,
        "version": asset.version,
        "id": asset.id,
        "created": asset.created.isoformat(),
        "python": python,
        "conda": list(recipe.conda),
        "summary": recipe.summary(),
        "provided": list(recipe.pip.provided),
        "image": environment.docker.own_image,
        "policy": _policy(ws, environment, recipe),
        "definition": environment.to_dict(),
    }
    folders = [BuildFolder(one.key) for one in dict.fromkeys((recipe, recipe.with_tables()))]
    builds = [(folder, built) for folder in folders if (built := folder.built()) is not None]
    failure = next((text for folder in folders if (text := folder.last_failure().get("cause"))), None)
    return told | {"key": recipe.key, "built": _build(*builds[0]) if builds else None, "failure": failure}


def _build(folder: Any, built: Any) -> dict[str, Any]:
    lock = built.folder / "requirements.lock"
    return {
        "python": built.python,
        "python_version": built.python_version,
        "packages": len(built.packages),
        "created": built.created,
        "seconds": built.seconds,
        "folder": str(built.folder),
        "lock": str(lock) if lock.exists() else None,
        "log": str(folder.log),
    }


def _policy(ws: Workspace, environment: Environment, recipe: Any) -> str:
    from batchmill.workspace.environment_policy import environment_policy

    return "as it is" if environment.python.user_managed_dependencies else environment_policy(None, ws, environment, recipe)


def _dependencies(definition: dict[str, Any]) -> list[Any]:
    return (definition["python"]["condaDependencies"] or {}).get("dependencies") or []
