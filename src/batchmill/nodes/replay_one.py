"""One mini-batch of a run again, in this very process, so that a debugger can be attached. Nothing of the run is changed."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from batchmill.errors import UsageError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.feeding import known_failures, mounts_of
from batchmill.nodes.gpus import GpuIndexes, gpu_ids
from batchmill.nodes.worker_setup import worker_environment
from batchmill.parallel_run.answers import answer_of
from batchmill.parallel_run.cluster_run import bring_plan
from batchmill.parallel_run.events import NodeConfig
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_places import source_folder
from batchmill.parallel_run.script_answers import not_kept
from batchmill.parallel_run.snapshot import check_script
from batchmill.worker.foreground import Foreground, Outcome, Place, source_of
from batchmill.worker.plan_file import PlanFile
from batchmill.worker.questions import Ask
from batchmill.worker.source import Slice

LOG_FORMAT = "%(asctime)s|%(levelname)s|%(name)s|%(message)s"


@dataclass(frozen=True, slots=True)
class Problem:
    """What the script raised. ``where`` is ``import``, ``init()``, ``run()`` or ``shutdown()``, or ``reading``."""

    where: str
    error: BaseException
    script: str

    @property
    def text(self) -> str:
        """``ValueError: not an image``, in one line."""
        return " ".join(f"{type(self.error).__name__}: {self.error}".split())

    @property
    def traceback(self) -> str:
        """The traceback, from the script on."""
        trace = self.error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != self.script:
            trace = trace.tb_next
        begin: TracebackType | None = trace or self.error.__traceback__
        return "".join(traceback.format_exception(type(self.error), self.error, begin))


@dataclass(slots=True)
class Replayed:
    """How it went; ``outcome`` is None where ``run()`` was not reached or raised."""

    mini_batch: int
    part: Slice | None = None
    outcome: Outcome | None = None
    problem: Problem | None = None

    @property
    def good(self) -> bool:
        """Every item has its row, and nothing was raised."""
        return self.problem is None and self.outcome is not None and self.outcome.failed == 0


def replay_one(folder: RunFolder, mini_batch: int, announce: Callable[[Slice], None]) -> Replayed:
    """Run one mini-batch of a planned run with the script as it is now; ``announce`` is called before the script is imported.

    This process runs it, so of the environment that the run names only the variables count.

    Raises:
        UsageError: there is no such mini-batch, or the script cannot be used.
    """
    plan = _plan(folder, mini_batch)
    coordinator = Coordinator(folder)
    script = check_script(coordinator.description["script"])
    coordinator.epoch, coordinator.plan = 0, plan
    ask = _ask(folder, coordinator)
    source = Path(source_folder(coordinator.description) or script.parent)
    with tempfile.TemporaryDirectory(prefix="batchmill-replay-") as temporary:
        room = Path(temporary)
        for name in ("output", "logs", "work"):
            (room / name).mkdir()
        config = coordinator.node_config(source)
        variables = {**coordinator.names.variables(), **config.environment}
        config = dataclasses.replace(config, run_folder=room, output_dir=room / "output", environment=variables)
        replayed = Replayed(mini_batch)
        try:
            replayed.part = _read(folder, config, mini_batch, room)
        except Exception as error:
            replayed.problem = Problem("reading", error, str(script))
            return replayed
        announce(replayed.part)
        logging.basicConfig(level=config.level, format=LOG_FORMAT)
        with Foreground(_place(config, room, ask)) as process:
            logging.getLogger("batchmill.entry_script").propagate = True  # to the terminal: the log folder is temporary
            _run(process, config, replayed)
        return replayed


def _plan(folder: RunFolder, mini_batch: int) -> PlanFile:
    bring_plan(folder)
    try:
        plan = PlanFile(folder.plan)
    except FileNotFoundError:
        raise UsageError(f"Run {folder.id} has no plan.", cure=f"First: batchmill resume {folder.id}") from None
    if not 0 <= mini_batch < plan.mini_batches:
        raise UsageError(
            f"Run {folder.id} has no mini-batch {mini_batch}.", cure=f"It has {plan.mini_batches:,} mini-batches, numbered from 0."
        )
    return plan


def _read(folder: RunFolder, config: NodeConfig, mini_batch: int, room: Path) -> Slice:
    if not config.remote:
        return source_of(PlanFile(folder.plan), unchecked=True).read(mini_batch)
    from batchmill.storage.prefetch import Prefetcher

    arrived = threading.Event()
    cache = room / "cache"
    plan = PlanFile(folder.plan, mounts_of(PlanFile(folder.plan), cache))
    prefetcher = Prefetcher(PlanFile(folder.plan), cache, config.cache_bytes, config.retry_timeout, wake=arrived.set, as_now=True)
    prefetcher.want(mini_batch)
    while not (ready := prefetcher.ready()):  # ends in any case: every fetch has its own time limit
        arrived.wait(config.retry_timeout)
        arrived.clear()
    known = known_failures(ready[0][1])
    return source_of(plan, unchecked=True).read(mini_batch, 0, None, known)


def _ask(folder: RunFolder, coordinator: Coordinator) -> Ask:
    """Questions are answered as the run was answered; what it never asked is looked up, and not kept, nor is what it logs."""
    ledger = Ledger(folder.ledger)
    try:
        coordinator.names.recall(ledger)
        coordinator.names.connect()
    finally:
        ledger.close()
    answer = coordinator.names.answer
    return lambda question: answer_of(not_kept if "telling" in question else answer, question)


def _place(config: NodeConfig, room: Path, ask: Ask) -> Place:
    environment = worker_environment(config)
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    gpu = GpuIndexes(gpu_ids(config.gpu_ids, environment), config.gpus_per_process).take()
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return Place(
        str(config.script),
        str(config.source),
        working_dir=str(room / "work"),
        log_dir=str(room / "logs"),
        output_dir=str(config.output_dir),
        arguments=config.arguments,
        environment=environment,
        level=config.level,
        ask=ask,
    )


def _run(process: Foreground, config: NodeConfig, replayed: Replayed) -> None:
    """Everything a worker does for its first mini-batch and at its end; an interrupt by the user passes through."""
    where = "import"
    assert replayed.part is not None
    try:
        process.load()
        where = "init()"
        process.init()
        where = "run()"
        append = config.output_action == "append_row"
        replayed.outcome = process.run(replayed.part, replayed.mini_batch, append=append, with_header=config.with_header)
        where = "shutdown()"
        process.shutdown()
    except (Exception, SystemExit) as error:
        replayed.problem = Problem(where, error, process.place.script)
