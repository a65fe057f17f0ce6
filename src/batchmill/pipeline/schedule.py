"""`Schedule`: runs of a published pipeline by the clock, or when files come (Azure ML: ``azureml.pipeline.core.schedule.Schedule``)."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.recurrence import ScheduleRecurrence
from batchmill.pipeline.schedule_creation import created_schedule, tell_provisioned
from batchmill.pipeline.schedule_due import upcoming
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import ACTIVE, DISABLED, Fire, Outcome, ScheduleRecord
from batchmill.pipeline.schedule_rules import check_change, checked_overlap, checked_parameters, datastore_name
from batchmill.pipeline.schedule_turn import schedule_rows
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from batchmill.pipeline.graph import Graph
    from batchmill.pipeline.pipeline_run import PipelineRun
    from batchmill.workspace.workspace import Workspace


class Schedule:
    """A schedule; ``batchmill serve`` fires it. What it says is what the registry holds now.

    >>> hourly = ScheduleRecurrence("Hour", 1)                                                             # doctest: +SKIP
    >>> Schedule.create(ws, "hourly", pipeline_id=published.id, experiment_name="scoring", recurrence=hourly)  # doctest: +SKIP
    """

    def __init__(self, workspace: Workspace, record: ScheduleRecord) -> None:
        self._workspace, self._last = workspace, record

    @staticmethod
    def create(
        workspace: Workspace,
        name: str,
        pipeline_id: str,
        experiment_name: str,
        recurrence: ScheduleRecurrence | None = None,
        description: str | None = None,
        pipeline_parameters: Mapping[str, Any] | None = None,
        wait_for_provisioning: bool = False,
        wait_timeout: int = 3600,
        datastore: Any = None,
        polling_interval: float = 5,
        data_path_parameter_name: str | None = None,
        continue_on_step_failure: bool | None = None,
        path_on_datastore: str | None = None,
        _workflow_provider: Any = None,
        _service_endpoint: Any = None,
        *,
        overlap: str | None = None,
    ) -> Schedule:
        """Make a schedule of a published pipeline, Active at once; without start_time its first run begins at once too.

        Args:
            recurrence: when it fires; or
            datastore: a container, bucket or folder that is looked at every ``polling_interval`` minutes for files that come or change,
                in ``path_on_datastore`` (default: its root), not below. Files that are there now start nothing.
            data_path_parameter_name: the `DataPath` parameter that gets the path of the file; with it each file has a run of its own.
            pipeline_parameters: values for the runs; others have their defaults.
            overlap: what happens to a fire while a run of the schedule is not over: "skip" (default for recurrences), "queue" (default for
                datastores) or "replace".

        Raises:
            ValueError: recurrence and datastore, or a value, are not possible.
            UserErrorException: there is no such pipeline, or it is disabled.
            Exception: the pipeline has no such parameter.
        """
        from batchmill.pipeline.published_pipeline import PublishedPipeline

        pipeline = PublishedPipeline.get(workspace, pipeline_id)
        pipeline.require_active()
        values = locals() | {"graph": pipeline.graph, "pipeline_endpoint_id": None}
        return Schedule(workspace, created_schedule(workspace, values, wait_for_provisioning))

    @staticmethod
    def create_for_pipeline_endpoint(
        workspace: Workspace,
        name: str,
        pipeline_endpoint_id: str,
        experiment_name: str,
        recurrence: ScheduleRecurrence | None = None,
        description: str | None = None,
        pipeline_parameters: Mapping[str, Any] | None = None,
        wait_for_provisioning: bool = False,
        wait_timeout: int = 3600,
        datastore: Any = None,
        polling_interval: float = 5,
        data_path_parameter_name: str | None = None,
        continue_on_step_failure: bool | None = None,
        path_on_datastore: str | None = None,
        _workflow_provider: Any = None,
        _service_endpoint: Any = None,
        *,
        overlap: str | None = None,
    ) -> Schedule:
        """As `create`, for the version that is the default of an endpoint whenever it fires."""
        from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint

        endpoint = PipelineEndpoint.get(workspace, id=pipeline_endpoint_id)
        if endpoint.status != ACTIVE:
            raise UserErrorException(f"Pipeline endpoint {endpoint.name} ({endpoint.id}) is {endpoint.status}. Enable it: enable().")
        values = locals() | {"graph": endpoint.get_pipeline().graph, "pipeline_id": None}
        return Schedule(workspace, created_schedule(workspace, values, wait_for_provisioning))

    # --- finding -------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def get(workspace: Workspace, id: str, _workflow_provider: Any = None, _service_endpoint: Any = None) -> Schedule:
        """The schedule of that id.

        Raises:
            UserErrorException: there is none.
        """
        record = schedule_rows(workspace).get(id)
        if record is None:
            raise UserErrorException(f"There is no schedule {id} in workspace {workspace.name}. List them: batchmill schedules list --all.")
        return Schedule(workspace, record)

    @staticmethod
    def list(
        workspace: Workspace,
        active_only: bool = True,
        pipeline_id: str | None = None,
        pipeline_endpoint_id: str | None = None,
        **_azure: Any,
    ) -> builtins.list[Schedule]:
        """The schedules, newest first, of a pipeline or an endpoint where one is given; disabled ones too with ``active_only=False``."""
        wanted = {"pipeline_id": pipeline_id, "pipeline_endpoint_id": pipeline_endpoint_id, "status": ACTIVE if active_only else None}
        return [Schedule(workspace, record) for record in schedule_rows(workspace).list(**wanted)]

    @staticmethod
    def get_all(
        workspace: Workspace,
        active_only: bool = True,
        pipeline_id: str | None = None,
        pipeline_endpoint_id: str | None = None,
        **_azure: Any,
    ) -> builtins.list[Schedule]:
        """As `list`, under the older name."""
        return Schedule.list(workspace, active_only, pipeline_id, pipeline_endpoint_id)

    @staticmethod
    def get_schedules_for_pipeline_id(workspace: Workspace, pipeline_id: str, **_azure: Any) -> builtins.list[Schedule]:
        """All schedules of a published pipeline, disabled ones too."""
        return Schedule.list(workspace, False, pipeline_id=pipeline_id)

    @staticmethod
    def get_schedules_for_pipeline_endpoint_id(workspace: Workspace, pipeline_endpoint_id: str, **_azure: Any) -> builtins.list[Schedule]:
        """All schedules of an endpoint, disabled ones too."""
        return Schedule.list(workspace, False, pipeline_endpoint_id=pipeline_endpoint_id)

    @staticmethod
    def load_yaml(workspace: Workspace, filename: str, **_azure: Any) -> dict[str, Any]:
        """What a YAML file says of a schedule, by the names of the arguments of `create`.

        Raises:
            ValueError: it has no section ``Schedule:``.
        """
        from batchmill.pipeline.schedule_yaml import load_schedule

        return load_schedule(workspace, filename)

    # --- what it is ----------------------------------------------------------------------------------------------------------------

    @property
    def kept(self) -> ScheduleRecord:
        """What was kept of it when it was last looked at; asks no database."""
        return self._last

    @property
    def record(self) -> ScheduleRecord:
        """What is kept of it, now."""
        self._last = schedule_rows(self._workspace).get(self._last.id) or self._last
        return self._last

    @property
    def workspace(self) -> Workspace:
        return self._workspace

    @property
    def id(self) -> str:
        return self._last.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def description(self) -> str | None:
        return self.record.description

    @property
    def pipeline_id(self) -> str | None:
        return self._last.pipeline_id

    @property
    def pipeline_endpoint_id(self) -> str | None:
        return self._last.pipeline_endpoint_id

    @property
    def experiment_name(self) -> str:
        return self._last.experiment

    @property
    def status(self) -> str:
        """Active or Disabled."""
        return self.record.status

    @property
    def recurrence(self) -> ScheduleRecurrence | None:
        """When it fires; None where it looks at a datastore."""
        return self.record.rule

    @property
    def pipeline_parameters(self) -> dict[str, Any]:
        return dict(self.record.parameters)

    @property
    def datastore_name(self) -> str | None:
        return self.record.datastore

    @property
    def polling_interval(self) -> float | None:
        """Minutes between two looks at the datastore."""
        minutes = self.record.polling_interval
        return int(minutes) if minutes is not None and minutes == int(minutes) else minutes

    @property
    def data_path_parameter_name(self) -> str | None:
        return self.record.data_path_parameter_name

    @property
    def path_on_datastore(self) -> str | None:
        return self.record.path_on_datastore

    @property
    def continue_on_step_failure(self) -> bool | None:
        return self.record.continue_on_step_failure

    @property
    def overlap(self) -> str:
        """What happens to a fire while a run is not over: skip, queue or replace."""
        return self.record.overlap

    @property
    def next_time(self) -> datetime | None:
        """When it fires next (UTC); None for datastore schedules and disabled ones."""
        return upcoming(self.record, datetime.now(UTC))

    def fires(self, limit: int | None = None) -> builtins.list[Fire]:
        """Its fires, newest first: also those that were missed or skipped, each with its reason."""
        return ScheduleFires(self._workspace).list(self.id, limit)

    def get_pipeline_runs(self, _workflow_provider: Any = None, _service_endpoint: Any = None) -> builtins.list[PipelineRun]:
        """The runs that it has started, newest first."""
        import batchmill
        from batchmill.pipeline.pipeline_run import PipelineRun

        ids = [fire.run_id for fire in self.fires() if fire.outcome == Outcome.STARTED and fire.run_id is not None]
        there = [run for run in map(self._workspace.registry.run, ids) if run is not None]  # a run may have been removed since
        return [PipelineRun(batchmill.Experiment(self._workspace, run.experiment or self.experiment_name), run.id) for run in there]

    def get_last_pipeline_run(self, _workflow_provider: Any = None, _service_endpoint: Any = None) -> PipelineRun | None:
        """The newest of `get_pipeline_runs`; None where there is none yet."""
        return next(iter(self.get_pipeline_runs()), None)

    # --- changing it ---------------------------------------------------------------------------------------------------------------

    def update(
        self,
        name: str | None = None,
        description: str | None = None,
        recurrence: ScheduleRecurrence | None = None,
        pipeline_parameters: Mapping[str, Any] | None = None,
        status: str | None = None,
        wait_for_provisioning: bool = False,
        wait_timeout: int = 3600,
        datastore: Any = None,
        polling_interval: float | None = None,
        data_path_parameter_name: str | None = None,
        continue_on_step_failure: bool | None = None,
        path_on_datastore: str | None = None,
        *,
        overlap: str | None = None,
    ) -> None:
        """Change what is given. The grid of a new recurrence without start_time begins now, with no run at once.

        Raises:
            ValueError: it does not fit the kind of the schedule, or is not possible.
        """
        record, given = self.record, locals()
        check_change(record, given)
        changes: dict[str, Any] = {
            key: given[key] for key in ("name", "description", "status", "polling_interval") if given[key] is not None
        }
        changes |= {key: given[key] for key in ("data_path_parameter_name", "path_on_datastore") if given[key] is not None}
        if continue_on_step_failure is not None:
            changes["continue_on_step_failure"] = continue_on_step_failure
        if pipeline_parameters is not None or data_path_parameter_name is not None:
            wanted = record.parameters if pipeline_parameters is None else pipeline_parameters
            changes["parameters"] = checked_parameters(self._workspace, self._graph(), wanted, data_path_parameter_name)
        if overlap is not None:
            changes["overlap"] = checked_overlap(overlap, record.datastore)
        if datastore is not None:
            changes["datastore"] = datastore_name(self._workspace, datastore)
        now = datetime.now(UTC)
        if recurrence is not None:
            changes |= {"recurrence": recurrence.to_dict(), "anchor": now, "considered": now}
        if status == ACTIVE and record.status != ACTIVE:
            changes["considered"] = now
        self._change(record, changes, now)
        if wait_for_provisioning:
            tell_provisioned()

    def _graph(self) -> Graph:
        from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint
        from batchmill.pipeline.published_pipeline import PublishedPipeline

        if self.pipeline_id is not None:
            return PublishedPipeline.get(self._workspace, self.pipeline_id).graph
        return PipelineEndpoint.get(self._workspace, id=self.pipeline_endpoint_id).get_pipeline().graph

    def _change(self, record: ScheduleRecord, changes: dict[str, Any], now: datetime) -> None:
        from batchmill.pipeline.datastore_poll import keep_look, marks_of

        wakes = changes.get("status") == ACTIVE and record.status != ACTIVE
        store = changes.get("datastore", record.datastore)
        looks = store is not None and (wakes or "datastore" in changes or "path_on_datastore" in changes)
        folder = changes.get("path_on_datastore", record.path_on_datastore)
        marks = marks_of(self._workspace, str(store), folder) if looks else None  # what is there now starts nothing

        def look(connection: Connection, id: str) -> None:
            if marks is not None:
                keep_look(connection, id, now, marks)

        changed = schedule_rows(self._workspace).change(self.id, changes, also=look)
        if changed is None:
            raise UserErrorException(f"There is no schedule {self.id} in workspace {self._workspace.name} any more.")
        self._last = changed

    def enable(self, wait_for_provisioning: bool = False, wait_timeout: int = 3600, **_azure: Any) -> None:
        """Let it fire again, from now on: what it would have done meanwhile is not made up."""
        self.update(status=ACTIVE, wait_for_provisioning=wait_for_provisioning)

    def disable(self, wait_for_provisioning: bool = False, wait_timeout: int = 3600, **_azure: Any) -> None:
        """Let it fire no more; runs go on, fires that wait are skipped."""
        self.update(status=DISABLED, wait_for_provisioning=wait_for_provisioning)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``, as it was when it was last looked at."""
        from dataclasses import asdict

        return asdict(self.kept) | {"next_time": upcoming(self.kept, datetime.now(UTC))}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        record = self.record
        target = f"Pipeline Id: {record.pipeline_id}" if record.pipeline_id else f"Pipeline Endpoint Id: {record.pipeline_endpoint_id}"
        rule = record.rule
        when = f"Recurrence Details: Runs {rule}" if rule is not None else f"Datastore Details: {record.watched}"
        return f"Pipeline(Name: {record.name},\nId: {record.id},\nStatus: {record.status},\n{target},\n{when})"  # Azure ML: "Pipeline", too

    __repr__ = __str__
