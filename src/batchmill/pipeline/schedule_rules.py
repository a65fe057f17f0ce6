"""What a schedule may be: the checks of `Schedule.create` and `Schedule.update` (Azure ML: the same texts)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.schedule_record import Overlap, ScheduleRecord

if TYPE_CHECKING:
    from batchmill.pipeline.graph import Graph
    from batchmill.workspace.workspace import Workspace

PATH_PARAMETER = "Data Path parameter name can only be specified for Datastore schedules."
PATH = "Path on datastore parameter can only be specified for Datastore schedules."
BLOB = "Datastore must be of type AzureBlobDatastore"
POLLING = "The polling interval must be greater than 0 minutes."


def check_name(name: Any) -> None:
    """Raises:
    ValueError: it is no text, or an empty one.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"A schedule cannot be called {name!r}: its name must be a text that is not empty.")


def check_kind(
    recurrence: Any, datastore: Any, data_path_parameter_name: str | None, path_on_datastore: str | None, polling_interval: Any
) -> None:
    """Raises:
    ValueError: it is neither a recurrence nor a datastore, both, or one with what belongs to the other.
    """
    if recurrence is not None and datastore is not None:
        raise ValueError("Can not specify both a Recurrence and a Datastore")
    if recurrence is None and datastore is None:
        raise ValueError("A schedule needs a Recurrence or a Datastore: give recurrence= or datastore=.")
    if datastore is None and data_path_parameter_name is not None:
        raise ValueError(PATH_PARAMETER)
    if datastore is None and path_on_datastore is not None:
        raise ValueError(PATH)
    if recurrence is not None:
        check_recurrence(recurrence)
    elif polling_interval is not None:
        check_interval(polling_interval)


def check_change(record: ScheduleRecord, given: Mapping[str, Any]) -> None:
    """Raises:
    ValueError: what is given to `Schedule.update` does not fit the kind of the schedule, or has a value that is not possible.
    """
    if given["name"] is not None:
        check_name(given["name"])
    if given["status"] not in (None, "Active", "Disabled"):
        raise ValueError("Status must be either Active or Disabled")
    if given["recurrence"] is not None and given["datastore"] is not None:
        raise ValueError("Can not specify both a Recurrence and a Datastore")
    if record.recurrence is None:
        if given["recurrence"] is not None:
            raise ValueError("Can not specify a recurrence for a Datastore schedule.")
    else:
        if given["datastore"] is not None:
            raise ValueError("Can not specify a Datastore for a Recurrence schedule.")
        if given["data_path_parameter_name"] is not None:
            raise ValueError(PATH_PARAMETER)
        if given["path_on_datastore"] is not None:
            raise ValueError(PATH)
    if given["recurrence"] is not None:
        check_recurrence(given["recurrence"])
    if given["polling_interval"] is not None:
        check_interval(given["polling_interval"])


def check_recurrence(recurrence: Any) -> None:
    """Raises:
    ValueError: it is no `ScheduleRecurrence`, or one that is not possible.
    UsageError: this machine has no data of its time zone.
    """
    if not isinstance(recurrence, ScheduleRecurrence):
        raise ValueError(f"The recurrence must be a ScheduleRecurrence, not {type(recurrence).__name__}.")
    recurrence.validate()
    if recurrence.time_zone is not None:
        _ = recurrence.time_zone.zone


def check_interval(minutes: Any) -> None:
    """Raises:
    ValueError: it is no number of minutes above 0.
    """
    if not isinstance(minutes, (int, float)) or isinstance(minutes, bool) or not 0 < minutes < float("inf"):
        raise ValueError(POLLING)


def checked_overlap(overlap: str | None, datastore: str | None) -> str:
    """The policy as it is kept: skip for recurrences, queue for datastores unless another one is given.

    Raises:
        ValueError: there is no such policy.
    """
    if overlap is None:
        return Overlap.SKIP.value if datastore is None else Overlap.QUEUE.value
    if overlap not in list(Overlap):
        raise ValueError(f"overlap is one of {', '.join(Overlap)}, not {overlap!r}.")
    return str(Overlap(overlap).value)


def datastore_name(workspace: Workspace, datastore: Any) -> str | None:
    """The name of a datastore that is given as the object or by its name.

    Raises:
        ValueError: it holds no blobs. Containers, buckets and folders of this machine do.
    """
    if datastore is None:
        return None
    from batchmill.workspace.azure_datastore import AzureBlobDatastore
    from batchmill.workspace.bucket_datastore import GoogleDatastore, LocalFolderDatastore, S3Datastore
    from batchmill.workspace.datastore import Datastore

    found = Datastore.get(workspace, datastore) if isinstance(datastore, str) else datastore
    if not isinstance(found, (AzureBlobDatastore, S3Datastore, GoogleDatastore, LocalFolderDatastore)):
        raise ValueError(BLOB)
    return found.name


def checked_parameters(
    workspace: Workspace, graph: Graph, given: Mapping[str, Any] | None, data_path_parameter_name: str | None
) -> dict[str, Any]:
    """The values that are given, as JSON.

    Raises:
        Exception: the pipeline has no such parameter (Azure ML: no class of its own).
        TypeError: a value is of the wrong type, or the parameter for the path is none of a path.
    """
    from batchmill.pipeline.submission import UNKNOWN_PARAMETER, parameter_values

    values = parameter_values(workspace, graph, given or {})
    if data_path_parameter_name is not None:
        parameter = graph.parameters.get(data_path_parameter_name)
        if parameter is None:
            raise Exception(UNKNOWN_PARAMETER.format(data_path_parameter_name))
        if parameter.kind != "datapath":
            raise TypeError(f"Pipeline parameter {data_path_parameter_name} takes no path: its default is no DataPath.")
    return {name: values[name] for name in given or {}}
