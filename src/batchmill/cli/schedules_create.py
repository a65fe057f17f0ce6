"""``batchmill schedules create``: what the command line, or a YAML file, says of a schedule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.pipelines import ParameterOption
from batchmill.cli.tables import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from batchmill.pipeline.recurrence import ScheduleRecurrence
    from batchmill.pipeline.schedule import Schedule
    from batchmill.pipeline.time_zone import TimeZone
    from batchmill.workspace.workspace import Workspace

EVERY = re.compile(r"(?:(\d+)\s*)?(minute|hour|day|week|month)s?", re.IGNORECASE | re.ASCII)
CLOCK, FILES = "By the clock", "When files come"

NameArgument = Annotated[str | None, typer.Argument(metavar="[NAME]", help="What it is called; need not be unique.", show_default=False)]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="The same, as an option.", show_default=False)]
PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", metavar="PIPELINE", help="The id of a published pipeline, or its name.", show_default=False)
]
EndpointOption = Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="A pipeline endpoint instead.", show_default=False)]
ExperimentOption = Annotated[str, typer.Option("--experiment", metavar="NAME", help="What its runs belong to.")]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.", show_default=False)]
OverlapOption = Annotated[
    str | None,
    typer.Option(
        "--overlap",
        metavar="POLICY",
        help="A fire while a run is not over: skip, queue or replace [dim]\\[default: skip; queue for datastores][/dim].",
        show_default=False,
    ),
]
FileOption = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="A YAML file with a section Schedule says all of it.", show_default=False)
]
EveryOption = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="SPAN",
        help="So many minutes, hours, days, weeks or months: '15 minutes', day.",
        rich_help_panel=CLOCK,
        show_default=False,
    ),
]
AtOption = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="HH:MM", help="The time of the day. Repeatable.", rich_help_panel=CLOCK, show_default=False),
]
OnOption = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="DAY", help="The day of the week: MONDAY. Repeatable.", rich_help_panel=CLOCK, show_default=False),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="MOMENT",
        help="Where the grid begins: 2026-01-31T07:00:00. Without it one run begins at once.",
        rich_help_panel=CLOCK,
        show_default=False,
    ),
]
ZoneOption = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="ZONE",
        help="Of all these times: Europe/Berlin [dim]\\[default: UTC][/dim].",
        rich_help_panel=CLOCK,
        show_default=False,
    ),
]
DatastoreOption = Annotated[
    str | None,
    typer.Option("--datastore", metavar="NAME", help="New and changed files of it start runs.", rich_help_panel=FILES, show_default=False),
]
PathOption = Annotated[
    str | None,
    typer.Option("--path", metavar="FOLDER", help="Only those directly in this folder of it.", rich_help_panel=FILES, show_default=False),
]
PollingOption = Annotated[
    float | None,
    typer.Option(
        "--polling-interval",
        metavar="MINUTES",
        help="Between two looks [dim]\\[default: 5][/dim].",
        rich_help_panel=FILES,
        show_default=False,
    ),
]
PathParameterOption = Annotated[
    str | None,
    typer.Option(
        "--path-parameter",
        metavar="NAME",
        help="The parameter that gets the path of the file; each file then has a run of its own.",
        rich_help_panel=FILES,
        show_default=False,
    ),
]


def create(
    argument: NameArgument = None,
    name: NameOption = None,
    pipeline: PipelineOption = None,
    endpoint: EndpointOption = None,
    experiment: ExperimentOption = "Default",
    description: DescriptionOption = None,
    every: EveryOption = None,
    at: AtOption = None,
    on: OnOption = None,
    start: StartOption = None,
    time_zone: ZoneOption = None,
    datastore: DatastoreOption = None,
    path: PathOption = None,
    polling_interval: PollingOption = None,
    path_parameter: PathParameterOption = None,
    parameter: ParameterOption = None,
    overlap: OverlapOption = None,
    file: FileOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a schedule of a published pipeline or an endpoint: by the clock, or when files come to a datastore."""
    from batchmill.errors import UsageError
    from batchmill.workspace.current import find_workspace

    called = _only(argument, name)
    if (pipeline is None) == (endpoint is None):
        raise UsageError("A schedule is of a pipeline or of an endpoint.", cure="Give --pipeline or --endpoint.")
    clock = {"--every": every, "--at": at, "--on": on, "--start": start, "--time-zone": time_zone}
    files = {"--path": path, "--polling-interval": polling_interval, "--path-parameter": path_parameter}
    _check_together(file, clock, datastore, files, {"--parameter": parameter, "--description": description})
    ws = find_workspace(workspace)
    looks = {"datastore": datastore, "data_path_parameter_name": path_parameter, "path_on_datastore": path}
    with _plainly():
        if file is not None:
            given = _of_file(ws, file)
        elif datastore is not None:
            given = _given({**looks, "polling_interval": polling_interval, "description": description})
        else:
            given = _given({"recurrence": _recurrence(every, at or (), on or (), start, time_zone), "description": description})
        made = _made(ws, called, pipeline, endpoint, experiment, parameter, given | {"overlap": overlap})
    _report(ws, made, as_json)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


@contextmanager
def _plainly() -> Iterator[None]:
    """The errors of `Schedule.create`, whose classes are those of Azure ML, as errors of the command line."""
    from batchmill.errors import BatchmillError, UsageError

    try:
        yield
    except BatchmillError:
        raise
    except Exception as error:
        if isinstance(error, (ValueError, TypeError)) or type(error) is Exception:  # unknown parameters: no class of its own
            raise UsageError(str(error)) from None
        raise


def _only(argument: str | None, name: str | None) -> str:
    from batchmill.errors import UsageError

    found = [one for one in (argument, name) if one is not None]
    if len(found) != 1:
        raise UsageError("A schedule has one name.", cure="Give it once: batchmill schedules create NAME ...")
    return found[0]


def _check_together(file: str | None, clock: dict[str, Any], datastore: str | None, files: dict[str, Any], others: dict[str, Any]) -> None:
    """Raises:
    UsageError: nothing says when it fires, or two things do.
    """
    from batchmill.errors import UsageError

    timed = [option for option, value in clock.items() if value]
    watched = (["--datastore"] if datastore is not None else []) + [option for option, value in files.items() if value is not None]
    more = [option for option, value in others.items() if value]
    if file is not None and (told := timed + watched + more):
        raise UsageError(
            f"--file says all of a schedule, and {told[0]} was given as well.", cure="Write it into the file, or leave one out."
        )
    if timed and watched:
        raise UsageError(
            f"A schedule fires by the clock ({timed[0]}) or when files come ({watched[0]}), not both.", cure="Make two schedules."
        )
    if watched and datastore is None:
        raise UsageError(f"{watched[0]} is of schedules that look at a datastore.", cure="Add --datastore.")
    if file is None and not timed and not watched:
        raise UsageError("Nothing says when the schedule fires.", cure="Give --every, --at, --on, --datastore or --file.")


def _of_file(ws: Workspace, file: str) -> dict[str, Any]:
    from batchmill.pipeline.schedule import Schedule

    values = Schedule.load_yaml(ws, file)
    return _given({key: value for key, value in values.items() if key != "datastore_name"})


def _made(
    ws: Workspace,
    name: str,
    pipeline: str | None,
    endpoint: str | None,
    experiment: str,
    parameter: list[str] | None,
    given: dict[str, Any],
) -> Schedule:
    from batchmill.cli.pipelines import find_published, parameter_values
    from batchmill.cli.tables import parse_pairs
    from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint
    from batchmill.pipeline.schedule import Schedule

    texts = parse_pairs(parameter, "--parameter")
    if pipeline is not None:
        published = find_published(ws, pipeline)
        values = {"pipeline_parameters": parameter_values(ws, published, texts)} if texts else {}
        return Schedule.create(ws, name, published.id, experiment, **(given | values))
    found = PipelineEndpoint.get(ws, name=endpoint)
    values = {"pipeline_parameters": parameter_values(ws, found.get_pipeline(), texts)} if texts else {}
    return Schedule.create_for_pipeline_endpoint(ws, name, found.id, experiment, **(given | values))


def _recurrence(every: str | None, at: Sequence[str], on: Sequence[str], start: str | None, time_zone: str | None) -> ScheduleRecurrence:
    """Raises:
    UsageError: an option is not of its form.
    ValueError: they do not fit together.
    """
    from batchmill.errors import SettingError
    from batchmill.pipeline.recurrence import ScheduleRecurrence

    span = EVERY.fullmatch((every or ("week" if on else "day")).strip())
    if span is None:
        raise SettingError(
            f"Option --every has the value '{every}': it must be a span such as '15 minutes', hour, '2 days', week or month."
        )
    hours, minutes = _grid(at)
    made = ScheduleRecurrence(
        span[2].capitalize(),
        int(span[1] or 1),
        start_time=start,
        time_zone=None if time_zone is None else _zone(time_zone),
        hours=hours,
        minutes=minutes,
        week_days=[day.strip().capitalize() for text in on for day in text.split(",")] or None,
    )
    made.validate()
    return made


def _grid(at: Sequence[str]) -> tuple[list[int] | None, list[int] | None]:
    """Hours and minutes, which a recurrence combines each with each.

    Raises:
        UsageError: the times are not all of these combinations.
    """
    from batchmill.errors import UsageError
    from batchmill.pipeline.recurrence import ScheduleRecurrence

    clocks = [ScheduleRecurrence("Day", 1, time_of_day=text) for one in at for text in one.replace(" ", "").split(",")]
    times = {(clock.hours[0], clock.minutes[0]) for clock in clocks if clock.hours and clock.minutes}
    hours, minutes = sorted({hour for hour, _ in times}), sorted({minute for _, minute in times})
    if len(times) != len(hours) * len(minutes):
        told = ", ".join(f"{hour:02}:{minute:02}" for hour, minute in sorted(times))
        raise UsageError(f"One schedule cannot fire at {told}: each hour has the same minutes.", cure="Make two schedules.")
    return (hours, minutes) if times else (None, None)


def _zone(text: str) -> TimeZone:
    from difflib import get_close_matches

    from batchmill.errors import SettingError
    from batchmill.pipeline.time_zone import TimeZone

    names = {name.lower(): zone for zone in TimeZone for name in (zone.iana, zone.value, zone.name)}
    if text.lower() not in names:
        near = ", ".join(names[one].iana for one in get_close_matches(text.lower(), names, 3))
        known = f" Near it: {near}." if near else ""
        raise SettingError(
            f"Option --time-zone has the value '{text}': it must be a name such as Europe/Berlin or Tokyo Standard Time.{known}"
        )
    return names[text.lower()]


def _report(ws: Workspace, made: Schedule, as_json: bool) -> None:
    from batchmill.cli.schedules import unserved, when
    from batchmill.cli.tables import print_json
    from batchmill.cli.terminal import tell

    if as_json:
        print_json(made.as_dict())
    else:
        print(made.id)
        tell(f"Schedule {made.name} is active: {when(made.record)}.{unserved(ws)}")
