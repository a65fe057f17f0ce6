"""What nodes tell the job, and what the job gives to nodes. Ranges of mini-batches; a record of its own only for exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """A lease: consecutive mini-batches, or one piece (first item, item count) of a single mini-batch.

    ``token`` fences: an outcome is accepted only for the newest token of its mini-batch. ``alone``: nothing else may run on the node.
    """

    token: int
    first: int
    count: int = 1
    piece: tuple[int, int] | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What is known about one failure."""

    error_class: str
    message: str
    traceback: str | None = None
    memory: bool = False
    peak: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker process has finished init()."""

    node: str
    worker: str


@dataclass(frozen=True, slots=True)
class InitFailed:
    """A worker process ended before its first mini-batch."""

    node: str
    worker: str
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class NodeGaveUp:
    """No worker lives on the node and none will be started again."""

    node: str
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class Hungry:
    """The node could use ``want`` more mini-batches."""

    node: str
    want: int


@dataclass(frozen=True, slots=True)
class Done:
    """Consecutive mini-batches (or one piece) that succeeded; their bytes are durable in ``part``."""

    node: str
    worker: str
    token: int
    first: int
    count: int
    piece: tuple[int, int] | None
    part: str
    offset: int
    length: int
    rows: int
    items: int
    ok: int
    short: int
    packed: bytes
    spans: bytes = b""
    notes: Sequence[dict[str, Any]] = ()
    header: str | None = None


@dataclass(frozen=True, slots=True)
class TryFailed:
    """One try of one mini-batch or piece failed."""

    node: str
    worker: str
    token: int
    mini_batch: int
    piece: tuple[int, int] | None
    items: int | None
    item: str | None
    status: str
    error: ErrorFacts
    started: float
    elapsed: float
    run_seconds: float
    printed: tuple[int, int, int, int] | None = None
    """Where its output lies in the process's logs: stdout from, to, stderr from, to; None when it printed nothing or died."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Mini-batches given back without a try: their worker ended, or others are idle."""

    node: str
    token: int
    first: int
    count: int
    piece: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """The disk is full where a worker writes."""

    node: str
    folder: str


@dataclass(frozen=True, slots=True)
class ShutdownProblem:
    """shutdown() of the user's script failed or took too long; the results stand."""

    node: str
    worker: str
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class Asked:
    """A worker asks the run something, and waits for `Engine.answer`; ``number`` tells its questions apart."""

    node: str
    worker: str
    number: int
    question: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node works for the run from now on: one that came later, or in place of a lost one."""

    node: str


@dataclass(frozen=True, slots=True)
class NodePreparing:
    """A node still gets ready, or fetches something for its workers: a run that waits for that does not stand still."""

    node: str
    what: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node is gone, with everything it had not told; ``reason`` in words. What it says later is refused. ``by_itself``: it gave a reason
    of its own (its disk, its store), so it did not die of what it held."""

    node: str
    reason: str
    by_itself: bool = False


@dataclass(frozen=True, slots=True)
class NodeDraining:
    """A node is going to be taken away: it ends what it has begun and gets nothing more."""

    node: str
    reason: str


Event = (
    WorkerReady
    | InitFailed
    | NodeGaveUp
    | NodeJoined
    | NodePreparing
    | NodeLost
    | NodeDraining
    | Hungry
    | Done
    | TryFailed
    | Returned
    | Full
    | ShutdownProblem
    | Asked
)


OUTPUT_HERE = "{batchmill:output}"
"""In arguments and variables of a run: the folder that its scripts write to, which each node of a cluster has for itself."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything a node needs to start workers; plain data, so that it travels."""

    run_id: str
    run_folder: Path
    epoch: int
    plan_folder: Path
    script: Path
    source: Path
    arguments: tuple[str, ...]
    output_dir: Path
    output_action: str
    with_header: bool
    level: str
    workers: int
    node_count: int
    mini_batches: int
    remote: bool
    cache_bytes: int
    retry_timeout: float
    run_timeout: float
    init_timeout: float
    read_timeout: float
    shutdown_timeout: float
    python: str
    environment: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    """Variables that the workers must not inherit: they would lead their interpreter to the packages of another."""
    profiling_module: str | None = None
    resource_monitor_interval: float = 600.0
    memory_limit: int | None = None
    """Bytes that the workers of one node may use together; the largest is stopped when they take more."""
    gpus_per_process: float | None = None
    """How much of a GPU a worker gets; None: one each, as Azure ML gives them out."""
    gpu_ids: tuple[str, ...] | None = None
    """The GPUs of this node, as ``CUDA_VISIBLE_DEVICES`` names them; None: the first ones of the machine."""
    accept_changed: bool = False
    """Replay: give files to the script that were changed since the plan was made (somebody mended them)."""


class Engine(Protocol):
    """Where workers live. ``local`` and ``ray`` pass the same contract suite.

    ``speculates``: whether a straggler may be run a second time on an idle worker.
    """

    speculates: bool

    @property
    def nodes(self) -> Sequence[str]: ...

    def start(self) -> None:
        """Start the nodes and their workers; returns at once."""

    def grow(self, count: int) -> Sequence[str]:
        """Start up to ``count`` nodes more, never beyond the node count of the run; returns their names."""

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        """Hand leases to a node."""

    def revoke(self, node: str, token: int) -> None:
        """Take a lease back: what of it is not begun is forgotten, a worker that runs it is killed. Nothing is charged or told."""

    def answer(self, asked: Asked, answer: dict[str, Any]) -> None:
        """Give a worker what it asked for; nothing happens when it is gone."""

    def step(self, timeout: float) -> list[Event]:
        """Wait up to ``timeout`` seconds for news; bytes of every `Done` are durable."""

    def finish(self, hear: Callable[[list[Event]], None]) -> None:
        """Stop all workers in order: shutdown() of the script runs, within its bound. ``hear`` is told the news as they come,
        several times a second also when there are none."""

    def abort(self) -> None:
        """Kill all workers now."""
