"""What a run would be: its plan, made in a folder that vanishes, and some of its mini-batches, run for real and thrown away."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from batchmill.errors import DiskFullError, InputError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.gpus import gpu_count, gpu_processes
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.watch import high_water
from batchmill.parallel_run.answers import Answers
from batchmill.parallel_run.cores import usable_cores
from batchmill.parallel_run.estimate import Machine, Measured, Sample, Work, spread
from batchmill.parallel_run.events import (
    Asked,
    Done,
    ErrorFacts,
    Event,
    Full,
    InitFailed,
    NodeGaveUp,
    Returned,
    Task,
    TryFailed,
    WorkerReady,
)
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.memory import usable_memory
from batchmill.parallel_run.named_things import check_reading, names_things
from batchmill.parallel_run.names import Names
from batchmill.parallel_run.plan import PlanSummary, check_output_outside, make_plan
from batchmill.parallel_run.run import write_description
from batchmill.parallel_run.run_folder import RunFolder, home
from batchmill.parallel_run.run_places import source_folder
from batchmill.parallel_run.snapshot import check_script, take_snapshot
from batchmill.settings import RunSettings, parse_size
from batchmill.worker.delivery import RECORD
from batchmill.worker.plan_file import PlanFile

LEFTOVER_AGE = 60.0
LOOK_EVERY = 0.25
ANSWER_LOOK_EVERY = 0.01
PARTS = 8
SHARE_OF_PART = 4
LEAST_BUSY = 0.05
"""Seconds of work below which nothing can be said about the use of cores."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A planned run that will not be carried out. ``rows`` is None where only reading tells."""

    folder: RunFolder
    settings: RunSettings
    plan: PlanFile
    summary: PlanSummary
    rows: int | None


@contextmanager
def preview(settings: RunSettings, progress: Callable[[int], None] | None = None) -> Iterator[Preview]:
    """The plan of a run; everything that was made is removed on leaving.

    Raises:
        UsageError: what `batchmill run` would refuse.
    """
    if not settings.inputs and not settings.rank_mini_batch_count:
        raise InputError("No input was given.", cure="Name a folder, a file, a glob, @list.txt or a URL with --input; nothing was started.")
    script = check_script(settings.script)
    check_reading(settings)
    check_output_outside(settings)
    with _temporary_folder() as folder:
        names = Names(settings, Path.cwd(), None)
        names.place(settings.output or "")
        workspace = str(names.workspace.name) if names_things(settings) else None
        write_description(folder, settings, script, str(folder.output_folder()), workspace)
        ledger = Ledger(folder.ledger, write=True)
        ledger.begin(id=folder.id)
        ledger.claim()
        names.bind(ledger)
        ledger.close()
        planned = settings.model_copy(update={"inputs": names.inputs()})
        summary = make_plan(planned, folder.plan, definitions=names.definitions(), progress=progress)
        plan = PlanFile(folder.plan)
        if plan.mini_batches == 0:
            raise InputError("The inputs hold no items.", cure="Check --input; nothing was started.")
        yield Preview(folder, settings, plan, summary, _rows(plan))


def _previews() -> Path:
    return home() / "previews"


@contextmanager
def _temporary_folder() -> Iterator[RunFolder]:
    """In the home, where a run would be: a plan may need room. What a killed preview left is removed by the next one."""
    _remove_leftovers()
    path = _previews() / f"preview-{secrets.token_hex(4)}"
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.lock()
    try:
        for sub in (folder.parts, folder.slots, folder.logs, folder.output_folder()):
            sub.mkdir()
        yield folder
    finally:
        shutil.rmtree(path, ignore_errors=True)
        folder.unlock()
        with suppress(OSError):
            _previews().rmdir()


def _remove_leftovers() -> None:
    for path in _previews().glob("preview-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFTOVER_AGE and not RunFolder(path).alive():
                shutil.rmtree(path, ignore_errors=True)


def _rows(plan: PlanFile) -> int | None:
    """The rows of a table, where its plan knows all of them."""
    if plan.header["kind"] != "table" or plan.header["cut"]["rule"] != "slices":
        return None
    total = 0
    for number in range(plan.mini_batches):
        rows = plan.mini_batch(number).rows
        if rows is None:
            return None
        total += rows
    return total


# --- the trial ------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Failure:
    """A sampled mini-batch (None: init()) that failed, with its number of items where known."""

    mini_batch: int | None
    items: int | None
    error: ErrorFacts


@dataclass(slots=True)
class Trial:
    """What the samples showed."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    items_failed: int = 0
    tried: int = 0
    startup: float = 0.0
    work_seconds: float = 0.0
    memory: int = 0
    cpu_seconds: float = 0.0
    workers: int = 1

    def measured(self) -> Measured:
        """The numbers that an estimate needs."""
        busy = sum(sample.elapsed for sample in self.samples)
        share = self.cpu_seconds / busy if busy > LEAST_BUSY else None
        return Measured(self.samples, self.workers, self.startup, self.work_seconds, self.memory, share)


def try_out(shown: Preview, wanted: int) -> tuple[Trial, Work, Machine]:
    """Run ``wanted`` mini-batches, spread over the plan, once each, with the workers that the run would have.

    Raises:
        SnapshotError: the script's folder cannot be copied.
        DiskFullError: the disk of the home is full.
    """
    coordinator = Coordinator(shown.folder)
    coordinator.plan = shown.plan
    coordinator.ledger = Ledger(shown.folder.ledger, write=True)
    coordinator.epoch = coordinator.ledger.claim()
    coordinator.names.bind(coordinator.ledger)
    coordinator.find_interpreter()
    take_snapshot(
        Path(coordinator.description["script"]), source_folder(coordinator.description), shown.folder.snapshot, coordinator.data_places()
    )
    config = coordinator.node_config(shown.folder.snapshot)
    numbers = spread(shown.plan.mini_batches, wanted)
    config = replace(config, mini_batches=-(-len(numbers) // config.node_count), resource_monitor_interval=0.0)
    engine = LocalEngine(config)
    workers = min(config.workers, config.mini_batches) * config.node_count
    run = _Trial(engine, numbers, workers, Answers(coordinator.names.answer, coordinator.names.keep_answer))
    try:
        run.carry_out(_parts(shown, numbers))
    except BaseException:
        engine.abort()
        raise
    finally:
        coordinator.ledger.close()
    workers = config.workers * config.node_count
    machine = Machine(usable_cores(), usable_memory(), gpu_processes(gpu_count(config.environment), config.gpus_per_process))
    return run.trial, _work(shown, workers, remote=config.remote), machine


def _work(shown: Preview, workers: int, *, remote: bool) -> Work:
    plan, settings = shown.plan, shown.settings
    given = parse_size(settings.mini_batch_size)
    rule = plan.header["cut"]["rule"]
    size: int | None = None
    unit: str | None = None
    if rule in ("count", "blocks"):
        size, unit = int(plan.header["cut"]["size"]), "files" if rule == "count" else "bytes"
    elif rule == "slices" and given is not None and given[0] == "rows":
        size, unit = given[1], "rows"
    items = plan.items if plan.items is not None else shown.rows
    table = plan.header["kind"] == "table"
    return Work(plan.mini_batches, items, workers, size, unit, float(settings.run_invocation_timeout), remote, table)


def _parts(shown: Preview, tried: Sequence[int]) -> list[int]:
    """Mini-batches of which a part is run, to tell the time per item from the time per mini-batch; rather others than those run whole,
    whose files are in the cache of the system by then."""
    if shown.settings.partition_keys or shown.plan.header["cut"]["rule"] == "groups":
        return []
    count = min(PARTS, len(tried))
    used = set(tried)
    others = [number for number in spread(shown.plan.mini_batches, 2 * len(tried) + 1) if number not in used]
    return others[:: max(1, len(others) // count)][:count] or list(tried[:count])


class _Trial:
    """Drives the engine: wait for the workers, give the samples, then the parts."""

    def __init__(self, engine: LocalEngine, numbers: Sequence[int], workers: int, answers: Answers) -> None:
        self._answers = answers
        self.trial = Trial(workers=workers, tried=len(numbers))
        self._engine = engine
        self._numbers = numbers
        self._token = 0
        self._open: dict[int, tuple[int, tuple[int, int] | None]] = {}
        self._ready = 0
        self._seen: set[str] = set()
        self._gave_up = False

    def carry_out(self, parts: Sequence[int]) -> None:
        began = time.monotonic()
        self._engine.start()
        self._until(lambda: self._ready >= self.trial.workers)
        self.trial.startup = time.monotonic() - began
        before = self._cpu()
        if not self._gave_up:
            began = time.monotonic()
            self._give([(number, None) for number in self._numbers])
            self._until(lambda: not self._open)
            self.trial.work_seconds = time.monotonic() - began
        items = [sample.items for sample in self.trial.samples]
        if parts and items and min(items) >= SHARE_OF_PART and not self._gave_up and not self.trial.failures:
            piece = (0, max(1, min(items) // SHARE_OF_PART))
            self._give([(number, piece) for number in parts])
            self._until(lambda: not self._open)
        self._measure(before)
        if self._gave_up:
            self._engine.abort()
        else:
            self._engine.finish(self._hear)

    def _give(self, pieces: Sequence[tuple[int, tuple[int, int] | None]]) -> None:
        nodes = self._engine.nodes
        for position, (number, piece) in enumerate(pieces):
            self._token += 1
            self._open[self._token] = (number, piece)
            self._engine.give(nodes[position % len(nodes)], [Task(self._token, number, 1, piece)])

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached() and not self._gave_up:
            self._hear(self._engine.step(ANSWER_LOOK_EVERY if self._answers.pending else LOOK_EVERY))

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            self._event(event)
        for asked, answer in self._answers.ready():
            self._engine.answer(asked, answer)

    def _event(self, event: Event) -> None:
        if isinstance(event, Asked):
            self._answers.ask(event)
        elif isinstance(event, WorkerReady):
            self._ready += 1
        elif isinstance(event, Done):
            self._done(event)
        elif isinstance(event, TryFailed):
            self._try_failed(event)
        elif isinstance(event, Returned) and event.token in self._open:
            self._engine.give(event.node, [Task(event.token, event.first, event.count, event.piece)])
        elif isinstance(event, (InitFailed, NodeGaveUp)):
            self.trial.failures.append(Failure(None, None, event.error))
            self._gave_up = True
        elif isinstance(event, Full):
            raise DiskFullError(f"No space is left in {event.folder}.", cure="Make room; nothing was started.")

    def _done(self, event: Done) -> None:
        whole = self._open.pop(event.token)[1] is None
        _, _, items, ok, _, _, elapsed, run_seconds = RECORD.unpack_from(event.packed)
        who = f"{event.node}/{event.worker}"
        self.trial.samples.append(Sample(items, elapsed, run_seconds, first=who not in self._seen, part=not whole))
        self._seen.add(who)
        if whole and ok < items:
            self.trial.items_failed += items - ok
            message = next((note["message"] for note in event.notes if "message" in note), f"{items - ok} items have no result")
            self.trial.failures.append(Failure(event.first, items - ok, ErrorFacts("ItemsFailed", str(message))))

    def _try_failed(self, event: TryFailed) -> None:
        whole = self._open.pop(event.token)[1] is None
        self.trial.memory = max(self.trial.memory, event.error.peak or 0)
        if whole:  # a part that fails says nothing about the run: no item of it stands for itself
            self.trial.items_failed += event.items or 1
            self.trial.failures.append(Failure(event.mini_batch, event.items, event.error))

    # --- processes --------------------------------------------------------------------------------------------------------------

    def _cpu(self) -> dict[int, float]:
        """Seconds that each worker process computed, or wanted to."""
        return {pid: seconds for _, pid in self._engine.processes if (seconds := busy_seconds(pid)) is not None}

    def _measure(self, before: dict[int, float]) -> None:
        self.trial.cpu_seconds = sum(seconds - before.get(pid, seconds) for pid, seconds in self._cpu().items())
        peaks = [high_water(pid) or 0 for _, pid in self._engine.processes]
        self.trial.memory = max([self.trial.memory, *peaks])


def busy_seconds(pid: int) -> float | None:
    """CPU time of a process and, on Linux, the time its threads waited for a core: on a busy machine that is demand, too."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError):
            computed, waited, _ = path.read_text().split()
            nanoseconds += int(computed) + int(waited)
    return max(float(times.user + times.system), nanoseconds / 1e9)
