"""The job: drives plan, scheduler, engine, ledger and output from the first lease to the published result."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from batchmill.errors import BatchmillError, LedgerFencedError, LedgerInconsistentError
from batchmill.parallel_run.answers import Answers, refusal
from batchmill.parallel_run.events import (
    Asked,
    Done,
    Engine,
    ErrorFacts,
    Event,
    Full,
    Hungry,
    InitFailed,
    NodeDraining,
    NodeGaveUp,
    NodeJoined,
    NodeLost,
    Returned,
    ShutdownProblem,
    TryFailed,
    WorkerReady,
)
from batchmill.parallel_run.ledger import Ledger, Segment
from batchmill.parallel_run.output import OrderedOutput
from batchmill.parallel_run.progress import MasterLog, Progress, ProgressLog
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import (
    Accept,
    BeginSplit,
    EndSplit,
    FailPiece,
    FailWhole,
    Grant,
    Instruction,
    RecordTry,
    Scheduler,
    Stop,
)
from batchmill.records import Counts, RunStatus
from batchmill.storage.files import disk_is_full

NO_RESULT = "There is no succeeded mini batch item returned from run(). Please check 'response: run()' in https://aka.ms/batch-inference-documentation"
TELL_EVERY = 0.1
CANCEL_LOOK_EVERY = 0.25
ANSWER_LOOK_EVERY = 0.01


@dataclass(frozen=True, slots=True)
class Ending:
    """How one incarnation ended."""

    status: RunStatus
    error: str | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the whole job, in seconds."""

    no_progress: float
    first_progress: float


class Job:
    """One incarnation of one run."""

    def __init__(
        self,
        folder: RunFolder,
        ledger: Ledger,
        scheduler: Scheduler,
        engine: Engine,
        output: OrderedOutput | None,
        items_total: int | None,
        limits: Limits,
        progress: Progress,
        *,
        proven: bool = True,
        level: str = "INFO",
        item_name: Callable[[int, int], str] | None = None,
        charged: Iterable[Instruction] = (),
        answers: Answers | None = None,
        more_nodes: Callable[[], int] | None = None,
    ) -> None:
        self._more_nodes = more_nodes
        self._folder = folder
        self._proven = proven
        self._item_name = item_name
        self._charged = list(charged)
        self._answers = answers or Answers(_knows_nothing)
        self._ledger = ledger
        self._scheduler = scheduler
        self._engine = engine
        self._output = output
        self._items_total = items_total
        self._limits = limits
        self._progress = progress
        self._log = ProgressLog(folder.logs, folder.id)
        self._master = MasterLog(folder.logs, level)
        self._stop: tuple[RunStatus, str | None] | None = None
        self._alive: set[str] = set(engine.nodes)
        self._lost: NodeLost | None = None
        self._init_failures = 0
        self._ever_ready = False
        self._committed_once = False
        self._moved = time.monotonic()
        self._told = 0.0
        self._looked = 0.0
        self._shutdown_problems: list[ErrorFacts] = []
        self._committed = self._counts()

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    def run(self) -> Ending:
        """Work until every mini-batch has its fate, or something ends the run."""
        with _Signals(self._interrupt):
            self._progress.started(self._counts())
            batches = self._counts().mini_batches
            self._master.line(f"{batches.not_run} of {batches.total} mini batches are to be run on {len(self._engine.nodes)} nodes.")
            try:
                ending = self._work()
            except LedgerFencedError:
                self._engine.abort()
                raise
            except (BatchmillError, OSError) as error:
                self._engine.abort()
                ending = Ending(RunStatus.FAILED, self._cause(error), self._committed)
            except BaseException:
                self._engine.abort()
                raise
            finally:
                if self._output is not None:
                    self._output.close()
        self._master.line(f"The job ends as {ending.status}. {ending.error or ''}".rstrip())
        return ending

    def _work(self) -> Ending:
        if self._charged:
            self._commit(self._charged, progress=False)
        if (message := self._scheduler.check_thresholds()) is not None:
            self._stop = (RunStatus.FAILED, message)
        elif not self._scheduler.finished:
            self._engine.start()
            for node in self._engine.nodes:
                self._scheduler.node_ready(node)
        while not self._scheduler.finished and self._stop is None:
            self._handle(self._engine.step(ANSWER_LOOK_EVERY if self._answers.pending else CANCEL_LOOK_EVERY))
            self._give_answers()
            self._look_around(time.monotonic())
        if self._stop is not None:
            self._engine.abort()
            status, message = self._stop
            return Ending(status, message, self._counts())
        self._engine.finish(self._hear_last)
        return self._finish()

    def _hear_last(self, events: list[Event]) -> None:
        """News while the workers end. Whoever interrupts now does not have to wait for what a shutdown() asked for."""
        self._handle(events)
        self._give_answers()
        if self._stop is not None or self._folder.cancel_request.exists():
            for asked, answer in self._answers.refuse("The run was interrupted before the answer was found."):
                self._engine.answer(asked, answer)

    def _give_answers(self) -> None:
        if self._answers.excusing:
            self._moved = time.monotonic()
        for asked, answer in self._answers.ready():
            self._engine.answer(asked, answer)

    def _cause(self, error: BatchmillError | OSError) -> str:
        if isinstance(error, BatchmillError):
            return str(error)
        if disk_is_full(error, self._folder.path):
            return f"No space is left in {self._folder.path} ({error}). Free some space, then: batchmill resume {self._folder.id}"
        return f"{type(error).__name__}: {error}. Mend it, then: batchmill resume {self._folder.id}"

    def _finish(self) -> Ending:
        if self._proven:
            self._prove()
        counts = self._counts()
        if self._output is None:
            return Ending(RunStatus.COMPLETED, None, counts)
        self._output.advance()
        if counts.items.succeeded == 0:
            return Ending(RunStatus.FAILED, NO_RESULT, counts)
        if not self._output.intact():
            self._rebuild()
        self._output.publish()
        return Ending(RunStatus.COMPLETED, None, counts)

    def _rebuild(self) -> None:
        """Somebody removed the growing output under us; the parts still have every byte."""
        assert self._output is not None
        self._output.close()
        self._output.front = self._output.length = 0
        self._output.open(0, 0)
        feed_output(self._ledger, self._output)
        self._output.advance()
        with self._ledger.transaction():
            self._ledger.add_warning("The output was removed while the run was writing it; it was rebuilt from the parts.")

    def _prove(self) -> None:
        """Counters against the rows of the ledger: one fate for every mini-batch and item, or the run fails."""
        scheduler = self._scheduler
        ended, items, ok = self._ledger.sums()
        expected = (scheduler.total, scheduler.items_read, scheduler.items_ok)
        if (ended, items, ok) != expected or (self._items_total is not None and items != self._items_total):
            raise LedgerInconsistentError(
                f"Ledger inconsistent: {ended} mini-batches, {items} items and {ok} successes are recorded, {expected[0]}, "
                f"{self._items_total if self._items_total is not None else expected[1]} and {expected[2]} were expected.",
                cure=f"Please report this, with {self._folder.ledger}.",
            )

    # --- events -----------------------------------------------------------------------------------------------------------------

    def _handle(self, events: Iterable[Event]) -> None:
        instructions: list[Instruction] = []
        for event in events:
            instructions += self._event(event)
        for instruction in instructions:
            if isinstance(instruction, Grant):
                self._engine.give(instruction.node, instruction.tasks)
        if any(not isinstance(one, Grant) for one in instructions):
            self._commit(instructions)

    def _event(self, event: Event) -> list[Instruction]:
        if isinstance(event, Done):
            self._moved = time.monotonic()
            return self._scheduler.done(event)
        if isinstance(event, TryFailed):
            self._master.line(f"A try of mini batch {event.mini_batch} failed on {event.worker}: {event.error.error_class}", debug=True)
            self._moved = time.monotonic()
            return self._scheduler.try_failed(event)
        if isinstance(event, Hungry):
            return self._scheduler.hungry(event.node, event.want)
        if isinstance(event, Returned):
            return self._scheduler.returned(event)
        if isinstance(event, Asked):
            self._master.line(f"{event.node}/{event.worker} asks for {event.question}", debug=True)
            self._answers.ask(event)
            return []
        if isinstance(event, NodeJoined | NodeLost | NodeDraining):
            return self._node_event(event)
        self._rare_event(event)
        return []

    def _node_event(self, event: NodeJoined | NodeLost | NodeDraining) -> list[Instruction]:
        """Nodes come and go; a run whose last node is lost waits for others, as long as it would wait for a mini-batch."""
        if isinstance(event, NodeJoined):
            self._alive.add(event.node)
            self._master.line(f"{event.node} joins.")
            return self._scheduler.node_ready(event.node)
        if isinstance(event, NodeDraining):
            self._master.line(f"{event.node} is going to be taken away ({event.reason}); it gets nothing more.")
            return self._scheduler.node_draining(event.node)
        self._alive.discard(event.node)
        self._lost = event
        self._master.line(f"{event.node} is lost ({event.reason}); what it held runs elsewhere.")
        return self._scheduler.node_lost(event.node)

    def _rare_event(self, event: WorkerReady | InitFailed | NodeGaveUp | Full | ShutdownProblem) -> None:
        self._master.line(str(event), debug=isinstance(event, WorkerReady))
        if isinstance(event, WorkerReady):
            self._ever_ready = True
            self._moved = time.monotonic()
        elif isinstance(event, InitFailed):
            self._init_failures += 1
        elif isinstance(event, NodeGaveUp):
            self._alive.discard(event.node)
            if not self._alive:
                error = event.error
                what = "init() of the entry script failed" if not self._ever_ready else "no worker process stays alive"
                self._end(RunStatus.FAILED, f"{what} {self._init_failures} times, the last time with {error.error_class}: {error.message}")
        elif isinstance(event, Full):
            self._end(RunStatus.FAILED, f"No space is left in {event.folder}. Free some space, then: batchmill resume {self._folder.id}")
        elif isinstance(event, ShutdownProblem):
            text = f"shutdown() of {event.worker} failed: {event.error.error_class}: {event.error.message}"
            with self._ledger.transaction():
                self._ledger.add_warning(text, None, event.worker)

    def _commit(self, instructions: list[Instruction], *, progress: bool = True) -> None:
        """One transaction for everything that happened since the last one; then the output moves on."""
        ledger = self._ledger
        with ledger.transaction():
            for one in instructions:
                if isinstance(one, Accept):
                    ledger.add_done(one.done)
                    ledger.add_notes(one.done, one.attempt)
                elif isinstance(one, RecordTry):
                    ledger.add_try(one.event, one.attempt)
                elif isinstance(one, BeginSplit):
                    ledger.add_split(one.mini_batch, one.items, 0, ended=False)
                elif isinstance(one, FailPiece):
                    ledger.add_failed_piece(one.event.mini_batch, one.piece, one.event.worker)
                    self._letter(one.event, 1, one.piece[0], one.attempt)
                elif isinstance(one, FailWhole):
                    ledger.add_failed(one.event.mini_batch, one.items)
                    self._letter(one.event, one.items, 0 if one.items == 1 else None, one.attempt)
                elif isinstance(one, EndSplit):
                    ledger.add_split(one.mini_batch, one.items, one.ok, ended=True)
            values = {"counts": json.dumps(self._counts().as_dict())}
            if progress and not self._committed_once:
                values["deaths"] = "0"
                self._committed_once = True
            ledger.put(**values)
        self._committed = self._counts()
        self._to_output(instructions)
        for one in instructions:
            if isinstance(one, Stop):
                self._end(RunStatus.FAILED, one.message)

    def _letter(self, event: TryFailed, items: int, position: int | None, attempt: int) -> None:
        item = event.item if items == 1 else None
        if items == 1 and item is None and position is not None and self._item_name is not None:
            unread = event.items is None and event.status.startswith("LOAD")
            item = self._item_name(event.mini_batch, -1 if unread else position)  # no worker could say
        error = event.error
        self._ledger.add_letter(
            event.mini_batch, item, position, items, attempt, event.worker, error.error_class, error.message, error.traceback, error.peak
        )

    def _to_output(self, instructions: list[Instruction]) -> None:
        if self._output is None:
            return
        for one in instructions:
            if isinstance(one, Accept) and one.done.piece is None:
                done = one.done
                self._output.add(done.first, done.count, (Segment(done.part, done.offset, done.length, done.header),))
            elif isinstance(one, EndSplit):
                self._output.add(one.mini_batch, 1, [piece[2] for piece in self._ledger.pieces(one.mini_batch) if piece[2] is not None])
            elif isinstance(one, FailWhole):
                self._output.add(one.event.mini_batch, 1, ())
        self._output.advance()
        proven = self._output.proven()
        if proven is not None:
            with self._ledger.transaction():
                self._ledger.put(output_front=str(proven[0]), output_length=str(proven[1]))

    # --- looking around ---------------------------------------------------------------------------------------------------------

    def _look_around(self, now: float) -> None:
        if now - self._told >= TELL_EVERY:
            self._told = now
            counts = self._counts()
            self._progress.update(counts)
            self._log.update(counts)
        if now - self._looked >= CANCEL_LOOK_EVERY:
            self._looked = now
            if self._folder.cancel_request.exists():
                self._end(RunStatus.CANCELED, None)
            if self._more_nodes is not None and (count := self._more_nodes()):
                self._grow(count)
        limit = self._limits.no_progress if self._ever_ready else self._limits.first_progress
        if now - self._moved > limit:
            self._end(RunStatus.FAILED, self._no_progress(limit))

    def _no_progress(self, limit: float) -> str:
        if self._alive or self._lost is None:
            return f"No mini-batch ended within {limit:g} seconds (progress_update_timeout)."
        return (
            f"No node is left, and none joined within {limit:g} seconds (progress_update_timeout). {self._lost.node} was lost last "
            f"({self._lost.reason}). Give the cluster nodes again, then: batchmill resume {self._folder.id}"
        )

    def _grow(self, count: int) -> None:
        """Nodes of the compute target that were busy are ours now."""
        for node in self._engine.grow(count):
            self._alive.add(node)
            self._master.line(f"{node} joins.")
            self._scheduler.node_ready(node)

    def _interrupt(self, number: int) -> None:
        self._end(RunStatus.INTERRUPTED, f"Interrupted by {signal.Signals(number).name}.")

    def _end(self, status: RunStatus, message: str | None) -> None:
        if self._stop is None:
            self._stop = (status, message)

    def _counts(self) -> Counts:
        return self._scheduler.counts(self._items_total)

    def log_last(self, counts: Counts) -> None:
        self._log.update(counts, last=True)


def _knows_nothing(question: dict[str, Any]) -> dict[str, Any]:
    return refusal("RuntimeError", "This run has no workspace to answer from.")


def feed_output(ledger: Ledger, output: OrderedOutput) -> None:
    """Give the output everything the ledger holds from its front on."""
    for mini_batch, _, _, ended in ledger.splits():
        if ended:
            output.add(mini_batch, 1, [piece[2] for piece in ledger.pieces(mini_batch) if piece[2] is not None])
    for mini_batch, _ in ledger.failed():
        output.add(mini_batch, 1, ())
    for first, count, segment, _, _, _ in ledger.ranges(output.front):
        output.add(first, count, (segment,))
        output.advance()


class _Signals:
    """SIGINT and SIGTERM end the run in order while this is entered; a second SIGINT is left to Python."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self._act = act
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals to the main thread only
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._act(number)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
