"""A run and its steps at one moment, as tables of people and programs show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.run_facts import NODE_ID, REUSED_RUN_ID, error_of, graph_of, interruption, label_of
from batchmill.records import RunStatus
from batchmill.workspace.registered_run import NOT_STARTED, PIPELINE_RUN, SCRIPT_RUN, RegisteredRun

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

REUSE, PARALLEL_RUN_ID, WAITS_FOR = "reuse", "parallel_run", "waiting_for"
"""What the details of a step run say: why it was reused or runs again, the id of its parallel run, what it waits for."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step. ``status`` is ours, or NotStarted; ``seconds``: how long it has been running; ``reuse``: why it was reused, or runs."""

    id: str
    name: str
    status: str
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    reuse: str | None
    error: str | None
    waits_for: str | None
    compute: str | None
    attempts: int
    reused_run: str | None
    parallel_run: str | None
    counts: dict[str, Any] | None
    folder: str

    @property
    def remark(self) -> str:
        """What there is to say of it, in one line: its error, what it waits for, how far it is, why it was reused or runs again."""
        return " ".join(str(self.error or self.waits_for or "; ".join(filter(None, (self.progress, self.reuse)))).split())

    @property
    def progress(self) -> str | None:
        """How far a parallel run is: ``3/12 mini-batches, 48 items, 1 failed``."""
        if self.counts is None or self.reused_run is not None:
            return None
        batches, items = self.counts["mini_batches"], self.counts["items"]
        done, ended = batches["succeeded"] + batches["failed"], items["succeeded"] + items["failed"]
        failed = f", {items['failed']:,} failed" if items["failed"] else ""
        return f"{done:,}/{batches['total']:,} mini-batches, {ended:,} items{failed}" if batches["total"] else None


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run of a pipeline or of a script, with its steps in the order of the graph."""

    id: str
    name: str
    kind: str
    experiment: str | None
    status: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    error: str | None
    folder: str
    parameters: dict[str, Any]
    tags: dict[str, str]
    properties: dict[str, str]
    source: str | None
    pipeline: str | None
    steps: tuple[StepReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; moments as ISO 8601."""
        return _plain(asdict(self))  # type: ignore[no-any-return]


def report_of(workspace: Workspace, run: RegisteredRun) -> RunReport:
    """How a run stands now."""
    now = datetime.now(UTC)
    rows = workspace.registry.runs(parent=run.id, limit=None) if run.kind in (PIPELINE_RUN, SCRIPT_RUN) else []
    status = run.live_status
    return RunReport(
        run.id,
        run.name,
        run.kind,
        run.experiment,
        status,
        run.created,
        run.started,
        run.ended,
        _seconds(run, status, now),
        _error(run),
        run.folder,
        dict(run.details.get("parameters") or {}),
        dict(run.tags),
        dict(run.properties),
        run.details.get("source"),
        run.details.get("pipeline"),
        tuple(step_report(row, now) for row in _in_order(workspace, run, rows)),
    )


def step_report(run: RegisteredRun, now: datetime) -> StepReport:
    """How the run of a step stands."""
    status = run.live_status
    open_ = status in (NOT_STARTED, RunStatus.QUEUED, RunStatus.RUNNING)
    return StepReport(
        run.id,
        run.name,
        status,
        run.started,
        run.ended,
        _seconds(run, status, now),
        _text(run.details.get(REUSE)),
        _error(run) if not open_ else None,
        _text(run.details.get(WAITS_FOR)) if open_ else None,
        run.compute,
        int(run.details.get("attempt") or 0),
        label_of(run, REUSED_RUN_ID),
        parallel_run_of(run),
        _counts(run),
        run.folder,
    )


def parallel_run_of(run: RegisteredRun) -> str | None:
    """The id of the parallel run that carries out a step, also while it runs; None for other steps."""
    known = _text(run.details.get(PARALLEL_RUN_ID))
    if known is not None or not run.folder or label_of(run, REUSED_RUN_ID):
        return known
    try:
        return Path(run.folder, PARALLEL_RUN_ID).read_text().strip() or None
    except OSError:
        return None


def _counts(run: RegisteredRun) -> dict[str, Any] | None:
    """The fates of the items of a parallel run, as far as they are known."""
    if run.details.get("counts") or run.status != RunStatus.RUNNING:
        return run.details.get("counts")
    parallel = parallel_run_of(run)
    if parallel is None:
        return None
    from batchmill.parallel_run.run import Run
    from batchmill.parallel_run.run_folder import RunFolder, runs_folder

    folder = RunFolder(runs_folder() / parallel)
    return Run(folder).counts.as_dict() if folder.settings.exists() else None


def _error(run: RegisteredRun) -> str | None:
    if run.error is not None:
        return run.error
    return interruption(run) if error_of(run) is not None and run.live_status == RunStatus.INTERRUPTED else None


def _in_order(workspace: Workspace, run: RegisteredRun, rows: list[RegisteredRun]) -> list[RegisteredRun]:
    """As in the graph; several runs of one node by their age."""
    graph = graph_of(workspace, run) if rows else None
    places = {} if graph is None else {node.id: place for place, node in enumerate(graph.nodes)}
    return sorted(rows, key=lambda row: (places.get(label_of(row, NODE_ID) or "", len(places)), row.created, row.id))


def _seconds(run: RegisteredRun, status: str, now: datetime) -> float | None:
    if run.started is None:
        return None
    ended = run.ended or (now if status == RunStatus.RUNNING else run.heartbeat or run.modified)
    return max(0.0, (ended - run.started).total_seconds())


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
