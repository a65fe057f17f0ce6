"""An experiment: a name under which the runs of a workspace are kept together (Azure ML: ``azureml.core.Experiment``)."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.run_kinds import Labels, labels, started_here
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.pipeline.experiment_run import ExperimentRun
    from batchmill.workspace.registered_run import RegisteredExperiment
    from batchmill.workspace.workspace import Workspace

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,254}", re.ASCII)


class Experiment:
    """An experiment, made when it is first named.

    >>> experiment = Experiment(ws, "digits")                      # doctest: +SKIP
    >>> run = experiment.submit(pipeline)                          # doctest: +SKIP
    >>> run.wait_for_completion()                                  # doctest: +SKIP
    'Finished'

    Raises:
        UserErrorException: the name cannot be used: it has 1 to 255 letters, digits, '-', '_' and '.', the first a letter or digit.
    """

    DEFAULT = "Default"
    """The experiment of runs that were started without one."""

    def __init__(self, workspace: Workspace, name: str, _skip_name_validation: bool = False, **azure: Any) -> None:
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise UserErrorException(
                f"An experiment cannot be called {name!r}: a name has 1 to 255 letters, digits, '-', '_' and '.', "
                "and begins with a letter or digit."
            )
        self._workspace, self._name = workspace, name
        workspace.registry.experiment(name)

    @classmethod
    def named(cls, workspace: Workspace, name: str) -> Experiment:
        """The experiment of that name, without a look whether it is there."""
        made = cls.__new__(cls)
        made._workspace, made._name = workspace, name
        return made

    @property
    def _record(self) -> RegisteredExperiment:
        return self._workspace.registry.experiment(self._name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def workspace(self) -> Workspace:
        return self._workspace

    @property
    def id(self) -> str:
        """Its own id (a UUID as text)."""
        return self._record.id

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._record.tags)

    @property
    def workspace_object(self) -> Workspace:
        """Its workspace, under the older name."""
        return self._workspace

    def tag(self, key: str, value: str | None = None) -> None:
        """Give it a tag, or change the one of that name."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Add tags, or change those of the same names; the others stay."""
        self._workspace.registry.change_experiment(self._name, {key: "" if value is None else value for key, value in tags.items()})

    def remove_tags(self, tags: str | Iterable[str]) -> dict[str, str]:
        """Take tags away; returns those that are left."""
        names = [tags] if isinstance(tags, str) else list(tags)
        return dict(self._workspace.registry.change_experiment(self._name, drop_tags=names).tags)

    def submit(self, config: Any, tags: Mapping[str, Any] | None = None, **kwargs: Any) -> ExperimentRun:
        """Start a run and return at once; it lives in a process of its own.

        Args:
            config: a pipeline, a published pipeline, a pipeline endpoint, or a `ScriptRunConfig`.
            tags: tags of the run.
            **kwargs: of pipelines ``pipeline_parameters``, ``continue_on_step_failure``, ``regenerate_outputs``, ``parent_run_id``; of
                endpoints ``pipeline_version`` too.

        Raises:
            UserErrorException: ``config`` is nothing that can be run.
        """
        from batchmill.workspace.run_configuration import ScriptRunConfig

        submit_to = getattr(config, "submit_to", None)
        if callable(submit_to):
            run: ExperimentRun = submit_to(self, tags=tags, **kwargs)
            return run
        if isinstance(config, ScriptRunConfig):
            from batchmill.pipeline.script_run import submit_script

            return submit_script(config, self, tags=tags, **kwargs)
        raise UserErrorException(
            f"An object of type {type(config).__name__} cannot be submitted: give a Pipeline, a PublishedPipeline, a PipelineEndpoint "
            "or a ScriptRunConfig."
        )

    def start_logging(
        self, outputs: Any = None, snapshot_directory: str | None = None, display_name: str | None = None, **azure: Any
    ) -> ExperimentRun:
        """A run that this process carries out itself: log to it, and end it with ``complete()``; or use it in a ``with`` statement."""
        return started_here(self, display_name or self._name)

    def get_runs(
        self, type: str | None = None, tags: Labels = None, properties: Labels = None, include_children: bool = False
    ) -> Iterator[ExperimentRun]:
        """Its runs, newest first, each as the class of its kind; step runs only with ``include_children``."""
        from batchmill.pipeline.experiment_run import ExperimentRun

        return ExperimentRun.list(self, type, tags, properties, include_children=include_children)

    @staticmethod
    def list(
        workspace: Workspace, experiment_name: str | None = None, view_type: str = "ActiveOnly", tags: Labels = None
    ) -> builtins.list[Experiment]:
        """The experiments of a workspace, by name; of that name only, and with these tags, where they are given."""
        wanted = labels(tags) or {}
        found = [Experiment.named(workspace, name) for name in workspace.registry.experiments() if experiment_name in (None, name)]
        return [one for one in found if not wanted or _has(one.tags, wanted)]

    @staticmethod
    def get(workspace: Workspace, name: str) -> Experiment:
        """The experiment of that name.

        Raises:
            UserErrorException: there is none.
        """
        if name not in workspace.registry.experiments():
            raise UserErrorException(
                f"There is no experiment '{name}' in workspace {workspace.name}. It is made when a run is submitted to it."
            )
        return Experiment.named(workspace, name)

    def refresh(self) -> None:
        """What it says is what the registry holds, always."""

    def get_portal_url(self) -> str:
        """Where to look: the folder of the workspace."""
        return self._workspace.folder.absolute().as_uri()

    def get_docs_url(self) -> str:
        """Where it is described."""
        return "docs/how-to/pipelines.md"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and (other.name, other.workspace) == (self.name, self.workspace)

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self.workspace.name})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        import html

        names, cells = ("Name", "Workspace"), (self.name, self.workspace.name)
        head = "".join(f"<th>{name}</th>" for name in names)
        return f"<table><tr>{head}</tr><tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr></table>"


def _has(tags: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    return all(key in tags and value in (None, tags[key]) for key, value in wanted.items())
