"""Making a schedule: checked, kept with what its folder holds now, and its first run started where that is at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batchmill.errors import RegistryError
from batchmill.pipeline.schedule_record import ACTIVE, Outcome, ScheduleRecord
from batchmill.pipeline.schedule_rules import check_kind, check_name, checked_overlap, checked_parameters, datastore_name
from batchmill.pipeline.schedule_turn import schedule_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from batchmill.workspace.workspace import Workspace


def created_schedule(workspace: Workspace, given: Mapping[str, Any], tell: bool) -> ScheduleRecord:
    """Check, keep, and start the first run where it begins at once."""
    import batchmill
    from batchmill.pipeline.datastore_poll import keep_look, marks_of

    recurrence, path = given["recurrence"], given["path_on_datastore"]
    check_name(given["name"])
    check_kind(recurrence, given["datastore"], given["data_path_parameter_name"], path, given["polling_interval"])
    store = datastore_name(workspace, given["datastore"])
    batchmill.Experiment(workspace, given["experiment_name"])
    now = datetime.now(UTC)
    values = {
        **{key: given[key] for key in ("name", "description", "pipeline_id", "pipeline_endpoint_id", "continue_on_step_failure")},
        **{key: given[key] for key in ("data_path_parameter_name", "path_on_datastore")},
        "status": ACTIVE,
        "experiment": given["experiment_name"],
        "recurrence": None if recurrence is None else recurrence.to_dict(),
        "parameters": checked_parameters(workspace, given["graph"], given["pipeline_parameters"], given["data_path_parameter_name"]),
        "datastore": store,
        "polling_interval": None if store is None else given["polling_interval"] or 5,
        "overlap": checked_overlap(given["overlap"], store),
        "anchor": now,
        "considered": now - timedelta(microseconds=1),  # so that the first run, which is due now, is ahead
        "created": now,
    }
    marks = None if store is None else marks_of(workspace, store, path)

    def look(connection: Connection, id: str) -> None:
        if marks is not None:
            keep_look(connection, id, now, marks)

    record = schedule_rows(workspace).add(values, also=look)
    _begin(workspace, record, now)
    if tell:
        tell_provisioned()
    return record


def _begin(workspace: Workspace, record: ScheduleRecord, now: datetime) -> None:
    """The first run of a schedule needs no `batchmill serve`; whoever makes the schedule starts it."""
    from batchmill.pipeline.schedule_fires import ScheduleFires
    from batchmill.pipeline.schedule_turn import take_due
    from batchmill.pipeline.scheduled_run import start_scheduled

    for fire in take_due(workspace, record, now):
        if fire.outcome != Outcome.STARTING:
            continue
        try:
            outcome = start_scheduled(workspace, record, fire)
        except BaseException:  # the database, or Ctrl-C: whoever serves goes on with it
            with suppress(RegistryError):
                ScheduleFires(workspace).let_go(fire)
            raise
        if outcome is Outcome.FAILED:
            note = next((one.note for one in ScheduleFires(workspace).list(record.id) if one.id == fire.id), "")
            text = "The first run of schedule %s (%s) could not be started: %s"
            logging.getLogger("batchmill").warning(text, record.name, record.id, note)


def tell_provisioned() -> None:
    """What Azure ML prints when a schedule is ready; here it is at once."""
    print("Provisioning status: Completed")  # noqa: T201 # Azure ML prints here
