"""`PipelineEndpoint`: one name for several published pipelines, its versions (Azure ML: ``azureml.pipeline.core.PipelineEndpoint``)."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batchmill.errors import RegistryError
from batchmill.pipeline.kept_rows import KeptRows
from batchmill.pipeline.published_pipeline import ACTIVE, DISABLED, PublishedPipeline
from batchmill.pipeline.submit_url import ENDPOINT_SUBMIT, submit_url
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.pipeline_run import PipelineRun
    from batchmill.workspace.workspace import Workspace

TABLE, ARCHIVED = "pipeline_endpoints", "Archived"
TAKEN = "PipelineEndpoint already exists with the given name. Please choose a unique value."


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """What is kept of an endpoint; ``versions``: version -> id of the published pipeline."""

    id: str
    name: str
    description: str | None
    status: str
    default_version: str
    versions: dict[str, str]
    created: datetime
    modified: datetime


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """One version of an endpoint."""

    version: str
    pipeline: PublishedPipeline


class PipelineEndpoint:
    """An endpoint; what it says is what the registry holds now.

    >>> endpoint = PipelineEndpoint.publish(ws, "scoring", "by the hour", pipeline)    # doctest: +SKIP
    >>> endpoint.add_default(better_pipeline)                                          # doctest: +SKIP
    >>> endpoint.submit("production").wait_for_completion()                            # doctest: +SKIP
    'Finished'
    """

    def __init__(self, workspace: Workspace, record: EndpointRecord) -> None:
        self._workspace, self._last = workspace, record

    @staticmethod
    def publish(workspace: Workspace, name: str, description: str | None, pipeline: Any, **_azure: Any) -> PipelineEndpoint:
        """Make an endpoint whose version 0, its default, is ``pipeline``; one that is not published yet is published.

        Raises:
            ValueError: ``pipeline`` is neither, or the name is taken.
        """
        with _free(workspace, name):
            published = _published(pipeline, name, description)
            values = {"name": name, "description": description, "status": ACTIVE, "default_version": "0", "versions": {"0": published.id}}
            return PipelineEndpoint(workspace, _rows(workspace).add(values))

    @staticmethod
    def get(workspace: Workspace, id: str | None = None, name: str | None = None, **_azure: Any) -> PipelineEndpoint:
        """The endpoint of that id or name.

        Raises:
            Exception: neither is given (Azure ML: no class of its own).
            UserErrorException: there is none.
        """
        if id is None and name is None:
            raise Exception("Please, enter either id or name to get PipelineEndpoint")
        found = _rows(workspace).list(id=id, name=name)
        alive = [one for one in found if one.status != ARCHIVED or id is not None]
        if not alive:
            raise UserErrorException(
                f"There is no pipeline endpoint {id or name!r} in workspace {workspace.name}. List them: batchmill pipelines endpoints."
            )
        return PipelineEndpoint(workspace, alive[0])

    @staticmethod
    def list(workspace: Workspace, active_only: bool = True, max_results: int = 100, **_azure: Any) -> builtins.list[PipelineEndpoint]:
        """The endpoints, newest first; without those that are disabled or archived unless ``active_only`` is False."""
        found = _rows(workspace).list(status=ACTIVE if active_only else None)
        return [PipelineEndpoint(workspace, one) for one in found[:max_results]]

    # --- what it is ----------------------------------------------------------------------------------------------------------------

    @property
    def _record(self) -> EndpointRecord:
        self._last = _rows(self._workspace).get(self._last.id) or self._last
        return self._last

    @property
    def workspace(self) -> Workspace:
        return self._workspace

    @property
    def id(self) -> str:
        return self._last.id

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def description(self) -> str | None:
        return self._record.description

    @property
    def status(self) -> str:
        """Active, Disabled or Archived."""
        return self._record.status

    @property
    def default_version(self) -> str:
        return self._record.default_version

    @property
    def endpoint(self) -> str:
        """Where a service takes requests to submit it; ``/VERSION`` behind it chooses one."""
        return submit_url(self._workspace, ENDPOINT_SUBMIT, self.id)

    @property
    def swaggerurl(self) -> str:
        """Where a service describes it."""
        return f"{self.endpoint}/swagger.json"

    @property
    def pipeline_version_list(self) -> builtins.list[PipelineVersion]:
        return self.list_versions()

    def get_default_version(self) -> str:
        """The version that is submitted where none is named."""
        return self.default_version

    def get_pipeline(self, version: str | None = None) -> PublishedPipeline:
        """The pipeline of a version, of the default one by default.

        Raises:
            ValueError: there is no such version.
        """
        record = self._record
        asked = record.default_version if version is None else str(version)
        if asked not in record.versions:
            raise ValueError(f"Version {asked}, pipeline not found in pipelineEndpoint {record.name}")
        return PublishedPipeline.get(self._workspace, record.versions[asked])

    def list_versions(self) -> builtins.list[PipelineVersion]:
        """All versions, in the order of their numbers."""
        versions = sorted(self._record.versions.items(), key=lambda pair: int(pair[0]))
        return [PipelineVersion(version, PublishedPipeline.get(self._workspace, kept)) for version, kept in versions]

    def get_all_versions(self) -> builtins.list[PipelineVersion]:
        """As `list_versions`, under the older name."""
        return self.list_versions()

    def list_pipelines(self, active_only: bool = True) -> builtins.list[PublishedPipeline]:
        """The pipelines of all versions; without the disabled ones unless ``active_only`` is False."""
        found = [one.pipeline for one in self.list_versions()]
        return [one for one in found if not active_only or one.status == ACTIVE]

    def get_all_pipelines(self, active_only: bool = True) -> builtins.list[PublishedPipeline]:
        """As `list_pipelines`, under the older name."""
        return self.list_pipelines(active_only)

    # --- changing it ---------------------------------------------------------------------------------------------------------------

    def add(self, pipeline: Any) -> None:
        """Make a pipeline the next version.

        Raises:
            ValueError: it is a version already, or no pipeline.
        """
        self._add(pipeline, default=False)

    def add_default(self, pipeline: Any) -> None:
        """Make a pipeline the next version, and that the default.

        Raises:
            ValueError: it is a version already, or no pipeline.
        """
        self._add(pipeline, default=True)

    def _add(self, pipeline: Any, *, default: bool) -> None:
        published = _published(pipeline, self.name, self.description)

        def added(record: EndpointRecord) -> dict[str, Any]:
            if published.id in record.versions.values():
                raise ValueError(f"Cannot add pipeline , pipeline id {published.id} exists in PipelineEndpoint {{{record.name}}}")
            version = str(max(map(int, record.versions), default=-1) + 1)
            return {"versions": record.versions | {version: published.id}} | ({"default_version": version} if default else {})

        self._change(added)

    def set_default_version(self, version: str) -> None:
        """Choose the default version.

        Raises:
            ValueError: there is no such version.
        """

        def chosen(record: EndpointRecord) -> dict[str, Any]:
            if str(version) not in record.versions:
                there = ", ".join(record.versions)
                raise ValueError(
                    f"Cannot set version {version}, does not exist in pipeline endpoint {record.name}. Its versions are {there}."
                )
            return {"default_version": str(version)}

        self._change(chosen)

    def set_default(self, pipeline: PublishedPipeline) -> None:
        """Make the version of a published pipeline the default.

        Raises:
            ValueError: it is none of the versions.
        """

        def chosen(record: EndpointRecord) -> dict[str, Any]:
            version = next((number for number, kept in record.versions.items() if kept == pipeline.id), None)
            if version is None:
                raise ValueError(
                    f"Cannot set pipeline id {pipeline.id}, does not exist in pipeline endpoint {record.name}. Add it first: add()."
                )
            return {"default_version": version}

        self._change(chosen)

    def set_name(self, name: str) -> None:
        """Give it another name.

        Raises:
            ValueError: the name is taken.
        """
        if name != self.name:
            with _free(self._workspace, name):
                self._change({"name": name})

    def enable(self) -> None:
        """Let it be submitted again.

        Raises:
            ValueError: it is archived, and its name was taken since.
        """
        with _free(self._workspace, self.name, but=self.id):
            self._change({"status": ACTIVE})

    def disable(self) -> None:
        """Let it be submitted no more."""
        self._change({"status": DISABLED})

    def archive(self) -> None:
        """Put it away; its name is free for another one."""
        self._change({"status": ARCHIVED})

    def reactivate(self, name: str) -> None:
        """Take it back from the archive, under a name that is free.

        Raises:
            ValueError: the name is taken.
        """
        with _free(self._workspace, name, but=self.id):
            self._change({"status": ACTIVE, "name": name})

    def _change(self, change: Mapping[str, Any] | Callable[[EndpointRecord], Mapping[str, Any]]) -> None:
        changed = _rows(self._workspace).change(self.id, change)
        if changed is None:
            raise UserErrorException(f"There is no pipeline endpoint {self.id} in workspace {self._workspace.name} any more.")
        self._last = changed

    # --- submitting it -------------------------------------------------------------------------------------------------------------

    def submit(
        self,
        experiment_name: str,
        pipeline_parameters: Mapping[str, Any] | None = None,
        _workflow_provider: Any = None,
        _service_endpoint: Any = None,
        parent_run_id: str | None = None,
        pipeline_version: str | None = None,
    ) -> PipelineRun:
        """Start a run of a version, by default of the default one, and return at once.

        Raises:
            ValueError: the endpoint is not active, or there is no such version.
        """
        import batchmill

        return self.submit_to(
            batchmill.Experiment(self._workspace, experiment_name),
            pipeline_parameters=pipeline_parameters,
            parent_run_id=parent_run_id,
            pipeline_version=pipeline_version,
        )

    def submit_to(
        self,
        experiment: Experiment,
        *,
        properties: Mapping[str, Any] | None = None,
        pipeline_version: str | None = None,
        **options: Any,
    ) -> PipelineRun:
        """Start a run in an experiment; see `submit` and `PublishedPipeline.submit_to`."""
        record = self._record
        if record.status != ACTIVE:
            raise ValueError(f"Status must be Active, its {record.status}")
        version = record.default_version if pipeline_version is None else str(pipeline_version)
        told = {"azureml.pipelineendpointid": self.id, "azureml.pipelineversion": version, **(properties or {})}
        return self.get_pipeline(version).submit_to(experiment, properties=told, **options)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        from dataclasses import asdict

        return asdict(self._record) | {"endpoint": self.endpoint}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PipelineEndpoint) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        facts = f"PipelineEndpoint(Name: {self.name},\nId: {self.id},\nStatus: {self.status},\n"
        return f"{facts}Default version: {self.default_version},\nEndpoint: {self.endpoint})"

    __repr__ = __str__


def _published(pipeline: Any, name: str, description: str | None) -> PublishedPipeline:
    from batchmill.pipeline.pipeline import Pipeline

    if isinstance(pipeline, PublishedPipeline):
        return pipeline
    if isinstance(pipeline, Pipeline):
        return pipeline.publish(name=name, description=description)
    raise ValueError("pipeline should be either type Pipeline or PublishedPipeline")


def _rows(workspace: Workspace) -> KeptRows[EndpointRecord]:
    return KeptRows(workspace, TABLE, EndpointRecord)


def _taken(workspace: Workspace, name: str, but: str | None) -> bool:
    return any(one.status != ARCHIVED and one.id != but for one in _rows(workspace).list(name=name))


@contextmanager
def _free(workspace: Workspace, name: str, but: str | None = None) -> Iterator[None]:
    """Refuse a name that is none, or that another endpoint has, also one that gets it in this very moment."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"A pipeline endpoint cannot be called {name!r}: its name must be a text that is not empty.")
    if _taken(workspace, name, but):
        raise ValueError(TAKEN)
    try:
        yield
    except RegistryError:
        if _taken(workspace, name, but):
            raise ValueError(TAKEN) from None
        raise
