"""``batchmill schedules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.tables import JsonOption, LimitOption, WorkspaceOption, command_group

if TYPE_CHECKING:
    from batchmill.pipeline.schedule import Schedule
    from batchmill.pipeline.schedule_record import Fire, ScheduleRecord
    from batchmill.workspace.workspace import Workspace

ScheduleArgument = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The id of a schedule, or its name.", show_default=False)]
SHOWN = 10


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the commands."""
    from batchmill.cli.schedules_create import create

    group = command_group("Schedules: when pipelines run by themselves. They fire while batchmill serve runs.")
    for name, command in (
        ("create", create),
        ("list", list_all),
        ("show", show),
        ("fires", fires),
        ("enable", enable),
        ("disable", disable),
    ):
        group.command(name)(command)
    app.add_typer(group, name="schedules")


def list_all(
    everything: Annotated[bool, typer.Option("--all", help="Disabled ones too.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the schedules, newest first: when they fire, what happens to overlapping runs, how many fires were missed."""
    from batchmill.cli.tables import print_json, print_table
    from batchmill.cli.terminal import tell
    from batchmill.pipeline.schedule import Schedule
    from batchmill.pipeline.schedule_fires import ScheduleFires
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found, counts = Schedule.list(ws, active_only=not everything), ScheduleFires(ws).counts()
    if as_json:
        print_json([one.as_dict() | {"fires": counts.get(one.id, {})} for one in found])
    elif not found:
        tell(f"There are no schedules in workspace {ws.name}. Schedule.create(), or batchmill schedules create, makes one.")
    else:
        last = ScheduleFires(ws).last_of_each()
        rows = [_row(one.kept, counts.get(one.id, {}).get("Missed", 0), last.get(one.id)) for one in found]
        print_table(["id", "name", "status", "fires", "next", "overlap", "missed", "last"], rows, right=(6,))
        if note := unserved(ws):
            tell(note.strip())


def show(schedule: ScheduleArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show one schedule: what it runs and when, and its last fires with their reasons."""
    from batchmill.cli.tables import print_facts, print_json
    from batchmill.cli.terminal import tell
    from batchmill.pipeline.schedule_fires import ScheduleFires
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = find_schedule(ws, schedule)
    counts = ScheduleFires(ws).counts().get(found.id, {})
    last = found.fires(SHOWN)
    if as_json:
        print_json(found.as_dict() | {"fires": counts, "last_fires": [fire.as_dict() for fire in last]})
        return
    print_facts(
        [
            ("schedule", found.id),
            ("name", found.name),
            ("description", found.description),
            ("status", found.status),
            ("pipeline", found.pipeline_id),
            ("endpoint", found.pipeline_endpoint_id),
            ("experiment", found.experiment_name),
            ("parameters", found.pipeline_parameters),
            ("fires", when(found.record)),
            ("path parameter", found.data_path_parameter_name),
            ("next", found.next_time),
            ("overlap", found.overlap),
            ("counts", ", ".join(f"{number} {outcome.lower()}" for outcome, number in sorted(counts.items()))),
        ]
    )
    if last:
        print()
        _print_fires(last)
    if note := unserved(ws):
        tell(note.strip())


def fires(schedule: ScheduleArgument, limit: LimitOption = 100, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the fires of a schedule, newest first: started, skipped, queued, missed or failed, and why."""
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    found = find_schedule(find_workspace(workspace), schedule)
    last = found.fires(limit)
    if as_json:
        print_json([fire.as_dict() for fire in last])
    elif last:
        _print_fires(last)
    else:
        tell(f"Schedule {found.name} ({found.id}) has not fired yet.")


def enable(schedule: ScheduleArgument, workspace: WorkspaceOption = None) -> None:
    """Let a schedule fire again, from now on: what it would have done meanwhile is not made up."""
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    ws = find_workspace(workspace)
    found = find_schedule(ws, schedule)
    found.enable()
    tell(f"Schedule {found.name} ({found.id}) is active: {when(found.record)}.{unserved(ws)}")


def disable(schedule: ScheduleArgument, workspace: WorkspaceOption = None) -> None:
    """Let a schedule fire no more. Runs go on, fires that wait are skipped."""
    from batchmill.cli.terminal import tell
    from batchmill.workspace.current import find_workspace

    found = find_schedule(find_workspace(workspace), schedule)
    found.disable()
    tell(f"Schedule {found.name} ({found.id}) is disabled.")


def find_schedule(ws: Workspace, text: str) -> Schedule:
    """The schedule of an id, or the only one of that name.

    Raises:
        UserErrorException: there is none.
        UsageError: several have that name.
    """
    from batchmill.errors import UsageError
    from batchmill.pipeline.schedule import Schedule
    from batchmill.pipeline.schedule_turn import schedule_rows

    named = [Schedule(ws, record) for record in schedule_rows(ws).list(name=text)]
    if len(named) > 1:
        raise UsageError(f"{len(named)} schedules are called '{text}'.", cure=f"Name one by its id: {', '.join(one.id for one in named)}.")
    return named[0] if named else Schedule.get(ws, text)


def when(record: ScheduleRecord) -> str:
    """When a schedule fires, for people."""
    if record.rule is not None:
        return str(record.rule)
    return f"files in {record.watched}, looked at every {record.polling_interval:g} min"


def _row(record: ScheduleRecord, missed: int, last: Fire | None) -> list[object]:
    from datetime import UTC, datetime

    from batchmill.pipeline.schedule_due import upcoming

    told = "" if last is None else f"{last.outcome} ({last.reason})"
    coming = upcoming(record, datetime.now(UTC))
    return [record.id, record.name, record.status, when(record), coming, record.overlap, missed, told]


def _print_fires(last: list[Fire]) -> None:
    from batchmill.cli.tables import print_table

    rows = [[fire.planned, fire.outcome, _why(fire), fire.run_id if fire.outcome == "Started" else None, fire.note] for fire in last]
    print_table(["planned", "outcome", "reason", "run", "note"], rows)


def _why(fire: Fire) -> str:
    return f"{fire.reason} {fire.path}".strip()


def unserved(ws: Workspace) -> str:
    """A sentence behind others where nobody serves the workspace."""
    from batchmill.pipeline.serving import Serving

    if Serving(ws).living():
        return ""
    return f" Nobody serves workspace {ws.name}, so nothing fires: start batchmill serve."
