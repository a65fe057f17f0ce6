"""The run of a fire: started once under the id that the fire has had since it was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError, RegistryError
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, Fire, Outcome, ScheduleRecord
from batchmill.pipeline.schedule_turn import DISABLED_MEANWHILE

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

SCHEDULE_ID = "azureml.scheduleid"
FIRE_ID = "batchmill.scheduledfire"


def start_scheduled(workspace: Workspace, record: ScheduleRecord, fire: Fire) -> Outcome:
    """Start the run of a fire that this process holds, unless it is there already; returns what came of it.

    A pipeline that cannot be submitted makes the fire Failed, with the reason in its note; the next fire tries again. A schedule that was
    disabled since has no run: Skipped.

    Raises:
        RegistryError: the database is out of reach; the fire can be started again.
    """
    fires, note = ScheduleFires(workspace), None
    try:
        if workspace.registry.run(str(fire.run_id)) is None:
            if record.status != ACTIVE:
                fires.settle(fire, Outcome.SKIPPED, DISABLED_MEANWHILE)
                return Outcome.SKIPPED
            _submit(workspace, record, fire)
        else:
            _look_after(workspace, str(fire.run_id))
    except RegistryError:
        raise
    except Exception as error:  # Azure ML raises a plain Exception for unknown parameters
        note = error.line if isinstance(error, BatchmillError) else str(error)
        if workspace.registry.run(str(fire.run_id)) is None:
            fires.settle(fire, Outcome.FAILED, note)
            return Outcome.FAILED
        note = f"its process did not start at once: {note}"  # the run is there, and is taken up as one that was interrupted
    fires.settle(fire, Outcome.STARTED, note)
    return Outcome.STARTED


def _submit(workspace: Workspace, record: ScheduleRecord, fire: Fire) -> None:
    import batchmill
    from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint
    from batchmill.pipeline.published_pipeline import PublishedPipeline

    target: Any
    if record.pipeline_id is not None:
        target = PublishedPipeline.get(workspace, record.pipeline_id)
    else:
        target = PipelineEndpoint.get(workspace, id=record.pipeline_endpoint_id)
    target.submit_to(
        batchmill.Experiment(workspace, record.experiment),
        pipeline_parameters=parameters_of(record, fire),
        continue_on_step_failure=record.continue_on_step_failure,
        properties={SCHEDULE_ID: record.id, FIRE_ID: fire.id},
        source="Schedule",
        run_id=fire.run_id,
    )


def parameters_of(record: ScheduleRecord, fire: Fire) -> dict[str, Any]:
    """The values of the schedule, and the path that the fire is for."""
    if record.data_path_parameter_name is None or not fire.path:
        return record.parameters
    return record.parameters | {record.data_path_parameter_name: {"datastore": record.datastore, "path": fire.path}}


def _look_after(workspace: Workspace, run_id: str) -> None:
    """The run was added by a process that died, maybe before it had started the one that works at it."""
    from batchmill.pipeline.runner import start_runner

    run = workspace.registry.run(run_id)
    if run is not None and run.status in ("Queued", "Running") and not run.held:
        start_runner(workspace, run_id)  # if another one has begun in this very moment, this one ends at once
