"""``batchmill pipelines``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.tables import JsonOption, WorkspaceOption, command_group

if TYPE_CHECKING:
    from batchmill.pipeline.graph import Parameter
    from batchmill.pipeline.published_pipeline import PublishedPipeline
    from batchmill.workspace.workspace import Workspace

PipelineArgument = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="The id of a published pipeline, or its name.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="Disabled ones too.")]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="The value of a pipeline parameter. Repeatable.", show_default=False),
]


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Published pipelines and their endpoints: look at, submit, enable and disable them.")
    for name, command in (
        ("list", list_all),
        ("show", show),
        ("submit", submit),
        ("enable", enable),
        ("disable", disable),
        ("endpoints", endpoints),
    ):
        group.command(name)(command)
    app.add_typer(group, name="pipelines")


def list_all(everything: AllOption = False, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the published pipelines, newest first."""
    from batchmill.cli.tables import print_json, print_table
    from batchmill.cli.terminal import tell
    from batchmill.pipeline.published_pipeline import PublishedPipeline
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = PublishedPipeline.list(ws, active_only=not everything)
    if as_json:
        print_json([one.as_dict() for one in found])
    elif not found:
        tell(f"There are no published pipelines in workspace {ws.name}. Pipeline.publish() makes one.")
    else:
        rows = [[one.id, one.name, one.version, one.status, one.total_run_steps, one.created] for one in found]
        print_table(["id", "name", "version", "status", "steps", "published"], rows, right=(4,))


def show(pipeline: PipelineArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show one published pipeline: its steps, its parameters, the schedules that use it."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.pipeline.schedule import Schedule
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = find_published(ws, pipeline)
    parameters = {name: one.default for name, one in found.graph.parameters.items()}
    schedules = Schedule.list(ws, False, pipeline_id=found.id)
    if as_json:
        print_json(found.as_dict() | {"parameters": parameters, "schedules": [one.id for one in schedules]})
        return
    print_facts(
        [
            ("pipeline", found.id),
            ("name", found.name),
            ("description", found.description),
            ("version", found.version),
            ("status", found.status),
            ("steps", found.get_step_names()),
            *((f"parameter {name}", _shown(default)) for name, default in parameters.items()),
            *((f"schedule {one.id}", f"{one.name}, {one.status}") for one in schedules),
            ("published", found.created),
            ("endpoint", found.endpoint),
        ]
    )


def submit(
    pipeline: PipelineArgument,
    experiment: Annotated[str, typer.Option("--experiment", metavar="NAME", help="What the run belongs to.")] = "Default",
    parameter: ParameterOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; the exit code is 1 where it is not Finished.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Start a run of a published pipeline, and print its id."""
    import batchmill
    from batchmill.cli.tables import parse_pairs, print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = find_published(ws, pipeline)
    values = parameter_values(ws, found, parse_pairs(parameter, "--parameter"))
    run = found.submit_to(batchmill.Experiment(ws, experiment), pipeline_parameters=values, source="CLI")
    if as_json:
        print_json({"id": run.id, "experiment": experiment, "pipeline": found.id})
    else:
        print(run.id)
    if not wait:
        return 0
    status = run.wait_for_completion(show_output=False, raise_on_error=False)
    tell(f"Run {run.id}: {status}.")
    return 0 if status == "Finished" else 1


def enable(pipeline: PipelineArgument, workspace: WorkspaceOption = None) -> None:
    """Let a published pipeline be submitted again."""
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    found = find_published(find_workspace(workspace), pipeline)
    found.enable()
    tell(f"Pipeline {found.name} ({found.id}) is active.")


def disable(pipeline: PipelineArgument, workspace: WorkspaceOption = None) -> None:
    """Let a published pipeline be submitted no more; schedules that use it are named."""
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    found = find_published(find_workspace(workspace), pipeline)
    found.disable()
    tell(f"Pipeline {found.name} ({found.id}) is disabled.")


def endpoints(everything: AllOption = False, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the pipeline endpoints with their versions, newest first."""
    from batchmill.cli.tables import print_json, print_table
    from batchmill.cli.terminal import tell
    from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = PipelineEndpoint.list(ws, active_only=not everything)
    if as_json:
        print_json([one.as_dict() for one in found])
    elif not found:
        tell(f"There are no pipeline endpoints in workspace {ws.name}. PipelineEndpoint.publish() makes one.")
    else:
        rows = [[one.id, one.name, one.status, one.default_version, list(one.as_dict()["versions"])] for one in found]
        print_table(["id", "name", "status", "default", "versions"], rows)


def find_published(ws: Workspace, text: str) -> PublishedPipeline:
    """The published pipeline of an id; else the newest active one of that name.

    Raises:
        UserErrorException: there is none.
    """
    from batchmill.pipeline.published_pipeline import PublishedPipeline

    named = [one for one in PublishedPipeline.list(ws, active_only=False) if one.name == text]
    active = [one for one in named if one.status == "Active"] or named
    return active[0] if active else PublishedPipeline.get(ws, text)


def parameter_values(ws: Workspace, pipeline: PublishedPipeline, given: dict[str, str]) -> dict[str, Any]:
    """Texts of the command line as values of the parameters; a path is DATASTORE/PATH, a dataset NAME or NAME:VERSION.

    Raises:
        SettingError: there is no such parameter, or a text is no value of it.
    """
    from batchmill.errors import SettingError

    known = pipeline.graph.parameters
    for name in given:
        if name not in known:
            there = f"Its parameters are {', '.join(known)}." if known else "It has none."
            raise SettingError(f"Pipeline parameter with name {name} does not exist in pipeline {pipeline.name}. {there}")
    return {name: _value(ws, known[name], text) for name, text in given.items()}


def _value(ws: Workspace, parameter: Parameter, text: str) -> Any:
    from batchmill.errors import SettingError
    from batchmill.workspace.dataset import Dataset

    try:
        if parameter.kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if parameter.kind in ("int", "float"):
            return int(text) if parameter.kind == "int" else float(text)
    except (ValueError, KeyError):
        raise SettingError(f"Parameter {parameter.name} has the value '{text}': it must be of type {parameter.kind}.") from None
    if parameter.kind == "datapath":
        datastore, _, path = text.partition("/")
        return {"datastore": datastore, "path": path}
    if parameter.kind == "dataset":
        name, _, version = text.partition(":")
        return Dataset.get_by_name(ws, name, version or "latest")
    return text


def _shown(default: Any) -> Any:
    if isinstance(default, dict) and default.keys() == {"datastore", "path"}:
        return f"{default['datastore']}/{default['path']}"
    return f"dataset {default.get('name') or default.get('id')}" if isinstance(default, dict) else default
