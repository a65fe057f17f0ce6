"""`PublishedPipeline`: a pipeline kept as it was (Azure ML: ``azureml.pipeline.core.PublishedPipeline``)."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import Graph
from batchmill.pipeline.kept_rows import KeptRows
from batchmill.pipeline.submit_url import PIPELINE_SUBMIT, submit_url
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.pipeline_run import PipelineRun
    from batchmill.workspace.workspace import Workspace

ACTIVE, DISABLED = "Active", "Disabled"
SDK = "SDK"
"""The source of what people submit in Python; others print for themselves."""
TABLE = "published_pipelines"


@dataclass(frozen=True, slots=True)
class Publication:
    """What is kept of a published pipeline; ``graph_id`` is the id of its graph, snapshots included."""

    id: str
    name: str
    description: str | None
    version: str | None
    status: str
    graph_id: str
    continue_on_step_failure: bool | None
    created: datetime
    modified: datetime


class PublishedPipeline:
    """A published pipeline; ``Pipeline.publish`` makes one. Later changes of source folders do not matter to it.

    >>> published = pipeline.publish(name="hourly scoring")     # doctest: +SKIP
    >>> published.submit(ws, "scoring").wait_for_completion()    # doctest: +SKIP
    'Finished'
    """

    def __init__(self, workspace: Workspace, record: Publication) -> None:
        self._workspace, self._record = workspace, record

    @property
    def workspace(self) -> Workspace:
        return self._workspace

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def description(self) -> str | None:
        return self._record.description

    @property
    def version(self) -> str | None:
        return self._record.version

    @property
    def status(self) -> str:
        """Active or Disabled, as it is now."""
        found = _rows(self._workspace).get(self.id)
        self._record = self._record if found is None else found
        return self._record.status

    @property
    def created(self) -> datetime:
        """When it was published (UTC)."""
        return self._record.created

    @property
    def graph_id(self) -> str:
        return self._record.graph_id

    @property
    def continue_on_step_failure(self) -> bool | None:
        return self._record.continue_on_step_failure

    @property
    def endpoint(self) -> str:
        """Where a service takes requests to submit it."""
        return submit_url(self._workspace, PIPELINE_SUBMIT, self.id)

    @property
    def graph(self) -> Graph:
        """What is run."""
        from batchmill.pipeline.submission import kept_graph

        return kept_graph(self._workspace, self.graph_id)

    @property
    def total_run_steps(self) -> int:
        return len(self.graph.nodes)

    def get_step_names(self) -> builtins.list[str]:
        """The names of its steps, in their order."""
        return [node.name for node in self.graph.nodes]

    def submit(
        self,
        workspace: Workspace,
        experiment_name: str,
        pipeline_parameters: Mapping[str, Any] | None = None,
        _workflow_provider: Any = None,
        _service_endpoint: Any = None,
        parent_run_id: str | None = None,
        continue_on_step_failure: bool | None = None,
    ) -> PipelineRun:
        """Start a run and return at once.

        Raises:
            UserErrorException: the pipeline is disabled.
            Exception: it has no such parameter.
            TypeError: a parameter is of the wrong type.
        """
        import batchmill

        return self.submit_to(
            batchmill.Experiment(workspace, experiment_name),
            pipeline_parameters=pipeline_parameters,
            parent_run_id=parent_run_id,
            continue_on_step_failure=continue_on_step_failure,
        )

    def submit_to(
        self,
        experiment: Experiment,
        *,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        pipeline_parameters: Mapping[str, Any] | None = None,
        parent_run_id: str | None = None,
        continue_on_step_failure: bool | None = None,
        regenerate_outputs: bool = False,
        display_name: str | None = None,
        source: str = SDK,
        run_id: str | None = None,
        **_azure: Any,
    ) -> PipelineRun:
        """Start a run in an experiment; see `submit`. ``run_id``: of the new run, which may not be there yet."""
        from batchmill.pipeline.pipeline_run import PipelineRun
        from batchmill.pipeline.submission import submit_graph

        self.require_active()
        failures = self.continue_on_step_failure if continue_on_step_failure is None else continue_on_step_failure
        run = submit_graph(
            self._workspace,
            self.graph,
            experiment.name,
            graph_id=self.graph_id,
            parameters=pipeline_parameters,
            tags=tags,
            properties={"azureml.pipelineid": self.id, **(properties or {})},
            continue_on_step_failure=bool(failures),
            regenerate_outputs=regenerate_outputs,
            parent=parent_run_id,
            name=display_name or self.name,
            source=source,
            pipeline=self.id,
            run_id=run_id,
        )
        submitted = PipelineRun(experiment, run.id)
        if source == SDK:
            submitted.say_submitted()
        return submitted

    def require_active(self) -> None:
        """Raises:
        UserErrorException: the pipeline is disabled.
        """
        if self.status != ACTIVE:
            raise UserErrorException(f"Pipeline {self.name} ({self.id}) is disabled and cannot be submitted. Enable it: enable().")

    def enable(self) -> None:
        """Let it be submitted again."""
        self._become(ACTIVE)

    def disable(self) -> None:
        """Let it be submitted no more. Schedules that use it are not changed: each of their fires fails until it is enabled; a warning
        names them (Azure ML refuses)."""
        from batchmill.pipeline.schedule import Schedule

        using = Schedule.list(self._workspace, pipeline_id=self.id)
        if using:
            named = ", ".join(f"{one.name} ({one.id})" for one in using)
            logging.getLogger("batchmill").warning(
                "Pipeline %s is disabled while schedules use it: %s. Their runs fail until it is enabled.", self.name, named
            )
        self._become(DISABLED)

    def _become(self, status: str) -> None:
        changed = _rows(self._workspace).change(self.id, {"status": status})
        if changed is None:
            raise UserErrorException(f"There is no published pipeline {self.id} in workspace {self._workspace.name} any more.")
        self._record = changed

    @staticmethod
    def get(workspace: Workspace, id: str, _workflow_provider: Any = None, _service_endpoint: Any = None) -> PublishedPipeline:
        """The published pipeline of that id.

        Raises:
            UserErrorException: there is none.
        """
        record = _rows(workspace).get(id)
        if record is None:
            raise UserErrorException(
                f"There is no published pipeline {id} in workspace {workspace.name}. List them: batchmill pipelines list --all."
            )
        return PublishedPipeline(workspace, record)

    @staticmethod
    def list(workspace: Workspace, active_only: bool = True, _service_endpoint: Any = None) -> builtins.list[PublishedPipeline]:
        """The published pipelines, newest first; without the disabled ones unless ``active_only`` is False."""
        return [PublishedPipeline(workspace, one) for one in _rows(workspace).list(status=ACTIVE if active_only else None)]

    @staticmethod
    def get_all(workspace: Workspace, active_only: bool = True, _service_endpoint: Any = None) -> builtins.list[PublishedPipeline]:
        """As `list`, under the older name."""
        return PublishedPipeline.list(workspace, active_only)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        from dataclasses import asdict

        return asdict(self._record) | {"status": self.status, "steps": self.get_step_names(), "endpoint": self.endpoint}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublishedPipeline) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return f"Pipeline(Name: {self.name},\nId: {self.id},\nStatus: {self.status},\nEndpoint: {self.endpoint})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        facts = {"Name": self.name, "Id": self.id, "Status": self.status, "Endpoint": self.endpoint}
        cells = "".join(f"<td>{escape(value)}</td>" for value in facts.values())
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in facts)}</tr><tr>{cells}</tr></table>"


def publish_graph(
    workspace: Workspace,
    graph: Graph,
    *,
    name: str | None = None,
    description: str | None = None,
    version: str | None = None,
    continue_on_step_failure: bool | None = None,
) -> PublishedPipeline:
    """Publish a graph whose sources are snapshots (`batchmill.pipeline.submission.with_snapshots`)."""
    from batchmill.pipeline.submission import keep_graph

    kept = keep_graph(workspace, graph)
    values = {
        "name": name or graph.description or f"Pipeline of {', '.join(node.name for node in graph.nodes[:3])}",
        "description": description if description is not None else graph.description,
        "version": version,
        "status": ACTIVE,
        "graph_id": kept,
        "continue_on_step_failure": continue_on_step_failure,
    }
    return PublishedPipeline(workspace, _rows(workspace).add(values))


def _rows(workspace: Workspace) -> KeptRows[Publication]:
    return KeptRows(workspace, TABLE, Publication)
