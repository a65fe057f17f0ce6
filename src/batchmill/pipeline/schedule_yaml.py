"""A schedule as a YAML file says it (Azure ML: ``Schedule.load_yaml``)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.recurrence import FIELDS, ScheduleRecurrence
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

KEYS = (
    "description",
    "recurrence",
    "pipeline_parameters",
    "wait_for_provisioning",
    "wait_timeout",
    "datastore_name",
    "polling_interval",
    "data_path_parameter_name",
    "continue_on_step_failure",
    "path_on_datastore",
)


def load_schedule(workspace: Workspace, filename: str) -> dict[str, Any]:
    """The values of the section ``Schedule:`` under the names of `Schedule.create`.

    The recurrence is an object, the datastore as well, under ``datastore_name`` and ``datastore``.

    Raises:
        UserErrorException: the file is missing or no YAML.
        ValueError: it has no such section, or a key in it that is not known.
    """
    import yaml

    try:
        found = yaml.safe_load(Path(filename).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserErrorException(f"The file of the schedule {filename} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserErrorException(f"The file of the schedule {filename} is no YAML: {' '.join(str(error).split())}") from None
    section = found.get("Schedule") if isinstance(found, dict) else None
    if not isinstance(section, dict):
        raise ValueError('Schedule Yaml file must have a "Schedule:" section')
    unknown = [str(key) for key in section if key not in KEYS]
    if unknown:
        raise ValueError(f"The section Schedule of {filename} has the unknown key '{unknown[0]}'. Known are {', '.join(KEYS)}.")
    values = {key: None if section.get(key) in (None, "None") else section[key] for key in KEYS}
    return values | _objects(workspace, values)


def _objects(workspace: Workspace, values: dict[str, Any]) -> dict[str, Any]:
    from batchmill.workspace.datastore import Datastore

    made: dict[str, Any] = {"datastore": None}
    if values["recurrence"] is not None:
        made["recurrence"] = _recurrence(values["recurrence"])
    if values["datastore_name"] is not None:
        made["datastore"] = made["datastore_name"] = Datastore.get(workspace, values["datastore_name"])
    return made


def _recurrence(values: Any) -> ScheduleRecurrence:
    """Raises:
    ValueError: it is no mapping of what a recurrence has.
    """
    known = (*FIELDS, "time_of_day")
    if not isinstance(values, dict):
        raise ValueError(f"The recurrence of a schedule is a mapping, {{frequency: Hour, interval: 1}}, and not {values!r}.")
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ValueError(f"The recurrence of a schedule has the unknown key '{unknown[0]}'. Known are {', '.join(known)}.")
    plain = dict(values)
    if type(plain.get("start_time")) is date:  # a day alone
        plain["start_time"] = plain["start_time"].isoformat()
    if type(plain.get("time_of_day")) is int:  # YAML reads 10:50 as a number of the base 60
        plain["time_of_day"] = "{}:{:02}".format(*divmod(plain["time_of_day"], 60))
    return ScheduleRecurrence.from_dict(plain)
