"""`Pipeline`: steps that run as one (Azure ML: ``azureml.pipeline.core.Pipeline``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import DatasetSource, Graph, InputPort, Node, PathSource
from batchmill.pipeline.graph_builder import build_graph
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.pipeline.experiment import Experiment
    from batchmill.pipeline.pipeline_run import PipelineRun
    from batchmill.pipeline.published_pipeline import PublishedPipeline
    from batchmill.workspace.run_index import RegisteredRun
    from batchmill.workspace.workspace import Workspace

NEW_RUNS = "(Consumers of this data will generate new runs.)"
RUNS = "(This step will run and generate new outputs)"
MAY_BE_REUSED = "(This step is eligible to reuse a previous run's output)"


class Pipeline:
    """Steps, in what order they run, and what flows between them: fixed when it is constructed, submitted as often as you like.

    Args:
        workspace: where it runs.
        steps: a step, or a list of steps, lists and `StepSequence`. A list runs side by side what nothing else orders; steps that make what
            these read, or that they run after, are added by themselves.
        default_datastore: where outputs go that name no datastore (default: the default one of the workspace).
        default_source_directory: the folder of scripts whose steps name none.
        resolve_closure: False takes only the steps that are listed.

    Raises:
        ValueError: something is no step; two steps make the same output; two parameters of one name have different defaults; a keyword is
            not known.

    Example:
        >>> pipeline = Pipeline(ws, steps=[PythonScriptStep("score.py", compute_target="local")])  # doctest: +SKIP
        >>> pipeline.submit("digits").wait_for_completion(show_output=False)                        # doctest: +SKIP
        'Finished'
    """

    def __init__(
        self,
        workspace: Workspace,
        steps: Any,
        description: str | None = None,
        default_datastore: Any = None,
        default_source_directory: str | None = None,
        resolve_closure: bool = True,
        **kwargs: Any,
    ) -> None:
        for name in kwargs:
            if not name.startswith("_") and name != "enable_email_notification":
                raise ValueError(f"parameter {name} is not recognized for Pipeline ")
        self.workspace = workspace
        self.description = description
        built = build_graph(
            steps,
            default_datastore=_name_of(default_datastore) or workspace.default_datastore_name,
            default_source=default_source_directory,
            description=description,
            closure=resolve_closure,
        )
        self._graph, self._datasets, self._errors = built.graph, built.datasets, list(built.errors)
        self._announced = False

    @property
    def graph(self) -> Graph:
        """What was constructed; sources are folders still, not snapshots."""
        return self._graph

    def validate(self) -> list[str]:
        """What keeps it from running, one text each, nothing if it is fine; prints the steps and the data that they read."""
        if not self._errors:
            for node in self._graph.nodes:
                _say(f"Step {node.name} is ready to be created [{node.id}]")
            for name, number, _ in _data(self._graph):
                _say(f"Data reference {name} is ready to be created [{number}], {NEW_RUNS}")
        return list(self._errors)

    def submit(
        self,
        experiment_name: str,
        pipeline_parameters: Mapping[str, Any] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        parent_run_id: str | None = None,
        credential_passthrough: bool | None = None,
        **kwargs: Any,
    ) -> PipelineRun:
        """Start a run and return at once; it lives in a process of its own.

        Args:
            experiment_name: what the run belongs to; made where it is new.
            pipeline_parameters: values by name; others have their defaults.
            continue_on_step_failure: run what does not depend on a step that failed.
            regenerate_outputs: reuse no earlier step.

        Raises:
            UserErrorException: the pipeline is not fine (`validate`); nothing was started.
            Exception: it has no such parameter.
            TypeError: a parameter is of the wrong type.
            ComputeTargetException: there is no such compute target.
        """
        import batchmill

        experiment = batchmill.Experiment(self.workspace, experiment_name)
        return self.submit_to(
            experiment,
            pipeline_parameters=pipeline_parameters,
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
            parent_run_id=parent_run_id,
            **kwargs,
        )

    def submit_to(
        self,
        experiment: Experiment,
        *,
        tags: Mapping[str, Any] | None = None,
        pipeline_parameters: Mapping[str, Any] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        parent_run_id: str | None = None,
        display_name: str | None = None,
        **_azure: Any,
    ) -> PipelineRun:
        """Start a run in an experiment; see `submit`."""
        from batchmill.pipeline.pipeline_run import PipelineRun
        from batchmill.pipeline.submission import submit_graph

        run: RegisteredRun = submit_graph(
            self.workspace,
            self._ready(),
            experiment.name,
            parameters=pipeline_parameters,
            tags=tags,
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
            parent=parent_run_id,
            name=display_name,
        )
        self._announce(regenerate_outputs)
        submitted = PipelineRun(experiment, run.id)
        submitted.say_submitted()
        return submitted

    def publish(
        self,
        name: str | None = None,
        description: str | None = None,
        version: str | None = None,
        continue_on_step_failure: bool | None = None,
    ) -> PublishedPipeline:
        """Keep the pipeline as it is now, scripts included, to be submitted by its id, from endpoints and schedules.

        Raises:
            UserErrorException: the pipeline is not fine (`validate`).
        """
        from batchmill.pipeline.published_pipeline import publish_graph

        graph = self._ready()
        self._announce(False)
        return publish_graph(
            self.workspace,
            graph,
            name=name,
            description=description,
            version=version,
            continue_on_step_failure=continue_on_step_failure,
        )

    @staticmethod
    def load_yaml(workspace: Workspace, filename: str, _workflow_provider: Any = None, _service_endpoint: Any = None) -> Pipeline:
        """The pipeline that a YAML file says.

        Raises:
            ValueError: the file does not say one; the text names the key.
        """
        from batchmill.pipeline.pipeline_yaml import load_pipeline

        return load_pipeline(workspace, filename)

    def _ready(self) -> Graph:
        """The graph as it can be kept: sources copied, datasets saved, so that the user's objects know their ids."""
        from batchmill.pipeline.submission import with_snapshots

        if self._errors:
            raise UserErrorException("The pipeline cannot run: " + "; ".join(self._errors) + ". Nothing was started.")
        for dataset in self._datasets:
            dataset.save(self.workspace)
        return with_snapshots(self.workspace, self._graph)

    def _announce(self, regenerate: bool) -> None:
        """What Azure ML prints when a pipeline object is first submitted, or shall run anew."""
        if self._announced and not regenerate:
            return
        self._announced = True
        for node in self._graph.nodes:
            _say(f"Created step {node.name} [{node.id}][{node.module}], {MAY_BE_REUSED if _eligible(node, regenerate) else RUNS}")
        for name, number, node in _data(self._graph):
            _say(f"Created data reference {name} for StepId [{node.id}][{number}], {NEW_RUNS}")

    def __repr__(self) -> str:
        steps = ", ".join(node.name for node in self._graph.nodes)
        return f"Pipeline(Steps: {steps})"


def _say(line: str) -> None:
    print(line)  # noqa: T201 - Azure ML prints these lines


def _eligible(node: Node, regenerate: bool) -> bool:
    return node.allow_reuse and not regenerate


def _data(graph: Graph) -> Iterator[tuple[str, str, Node]]:
    """What is read from outside: its name, an id of eight hexadecimal digits, and the first step that reads it."""
    seen = set()
    for node in graph.nodes:
        for port in node.inputs:
            name = _data_name(port)
            if name is not None and name not in seen:
                seen.add(name)
                yield name, hashlib.sha256(f"data\0{name}".encode()).hexdigest()[:8], node


def _data_name(port: InputPort) -> str | None:
    if isinstance(port.source, DatasetSource):
        return port.source.name or port.name
    return port.name if isinstance(port.source, PathSource) else None


def _name_of(datastore: Any) -> str | None:
    return datastore if datastore is None or isinstance(datastore, str) else str(datastore.name)
