"""The job: drives plan, scheduler, engine, ledger and output from the first lease to the published result."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from batchmill.errors import BatchmillError, LedgerFencedError, LedgerInconsistentError
from batchmill.parallel_run.answers import Answers, refusal
from batchmill.parallel_run.durations import Durations
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
    NodePreparing,
    Returned,
    ShutdownProblem,
    TryFailed,
    WorkerReady,
)
from batchmill.parallel_run.instructions import Accept, EndSplit, FailWhole, Grant, Instruction, Revoke, Stop
from batchmill.parallel_run.interrupts import Interrupts
from batchmill.parallel_run.ledger import Ledger, Segment
from batchmill.parallel_run.node_roll import NodeRoll
from batchmill.parallel_run.output import RunOutput
from batchmill.parallel_run.progress import MasterLog, Progress, ProgressLog
from batchmill.parallel_run.recording import Recorder
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import Scheduler
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
        output: RunOutput | None,
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._more_nodes = more_nodes
        self._folder = folder
        self._proven = proven
        self._recorder = Recorder(ledger, item_name)
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
        self._roll = NodeRoll(engine.nodes, folder.id)
        self._durations = Durations()
        self._committed_once = False
        self._moved = self._clock()
        self._told = 0.0
        self._looked = 0.0
        self._told_of_missing = False
        self._shutdown_problems: list[ErrorFacts] = []
        self._committed = self._counts()

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    def run(self) -> Ending:
        """Work until every mini-batch has its fate, or something ends the run."""
        with Interrupts(self._interrupt):
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
            if self._ledger.meta("counts") is None:  # whoever looks meanwhile sees how much there is: the first result may be far away
                with self._ledger.transaction():
                    self._ledger.put(counts=json.dumps(self._committed.as_dict()))
        while not self._scheduler.finished and self._stop is None:
            self._handle(self._engine.step(ANSWER_LOOK_EVERY if self._answers.pending else CANCEL_LOOK_EVERY))
            self._give_answers()
            self._look_around(self._clock())
        if self._stop is not None:
            self._engine.abort()
            return Ending(*self._stop, self._counts())
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
            self._moved = self._clock()
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
        if not self._output.publish(self._unwanted) and self._stop is not None:
            return Ending(*self._stop, counts)
        return Ending(RunStatus.COMPLETED, None, counts)

    def _unwanted(self) -> bool:
        """Whether somebody ends the run while its output is written, which may take hours on a cluster; all the work is done."""
        self._progress.update(self._counts())
        self._look_for_cancel()
        return self._stop is not None and self._stop[0] in (RunStatus.CANCELED, RunStatus.INTERRUPTED)

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
        self._scheduler.now = self._clock()
        instructions: list[Instruction] = []
        for event in events:
            instructions += self._event(event)
        self._act(instructions)

    def _act(self, instructions: list[Instruction]) -> None:
        """Nodes first: they need not wait until what is known is durable."""
        outcomes = False
        for one in instructions:
            if isinstance(one, Grant):
                self._engine.give(one.node, one.tasks)
            elif isinstance(one, Revoke):
                self._master.line(f"Lease {one.token} is taken back from {one.node}: another node was faster.", debug=True)
                self._engine.revoke(one.node, one.token)
            else:
                outcomes = True
        if outcomes:
            self._commit(instructions)

    def _event(self, event: Event) -> list[Instruction]:
        if isinstance(event, Done):
            self._moved = self._scheduler.now
            return self._scheduler.done(event)
        if isinstance(event, TryFailed):
            self._master.line(f"A try of mini batch {event.mini_batch} failed on {event.worker}: {event.error.error_class}", debug=True)
            self._moved = self._scheduler.now
            return self._scheduler.try_failed(event)
        if isinstance(event, Hungry):
            return self._scheduler.hungry(event.node, event.want)
        if isinstance(event, Returned):
            return self._scheduler.returned(event)
        if isinstance(event, Asked):
            self._master.line(f"{event.node}/{event.worker} asks for {event.question}", debug=True)
            self._answers.ask(event)
            return []
        if isinstance(event, NodeJoined | NodeLost | NodeDraining | NodeGaveUp):
            return self._node_event(event)
        self._rare_event(event)
        return []

    def _node_event(self, event: NodeJoined | NodeLost | NodeDraining | NodeGaveUp) -> list[Instruction]:
        """Nodes come and go; a run whose last node is lost waits for others, as long as it would wait for a mini-batch."""
        node = event.node
        if isinstance(event, NodeJoined):
            self._roll.joined(node)
            self._master.line(f"{node} joins.")
            return self._scheduler.node_ready(node)
        if isinstance(event, NodeLost):
            self._roll.lost(event)
            self._master.line(f"{node} is lost ({event.reason}); what it held runs elsewhere.")
            told = self._scheduler.node_draining(node) if event.by_itself else []
            return [*told, *self._scheduler.node_lost(node, event.reason, time.time())]
        if isinstance(event, NodeDraining):
            self._master.line(f"{node} is going to be taken away ({event.reason}); it gets nothing more.")
        else:
            self._gave_up(event)
            told = self._scheduler.node_draining(node)
            return [*told, *self._scheduler.node_lost(node)]  # uncharged: leases that were on their way to it
        return self._scheduler.node_draining(node)

    def _gave_up(self, event: NodeGaveUp) -> None:
        """The run ends with its last node. Until then whoever looks on is told of the first that is missing; the log has all of them."""
        self._master.line(str(event))
        cause = self._roll.gave_up(event, self._engine.nodes)
        if cause is not None:
            self._end(RunStatus.FAILED, cause)
        elif not self._told_of_missing:
            self._told_of_missing = True
            text = f"{event.node} gave up, the run goes on without it: {event.error.error_class}: {event.error.message}"
            self._progress.announce(text)
            with self._ledger.transaction():
                self._ledger.add_warning(text, None, event.node)

    def _rare_event(self, event: WorkerReady | InitFailed | NodePreparing | Full | ShutdownProblem) -> None:
        self._master.line(str(event), debug=isinstance(event, WorkerReady | NodePreparing))
        if isinstance(event, WorkerReady | NodePreparing):
            self._roll.ever_ready |= isinstance(event, WorkerReady)
            self._moved = self._clock()
        elif isinstance(event, InitFailed):
            self._roll.init_failed(event)
        elif isinstance(event, Full):
            self._end(RunStatus.FAILED, f"No space is left in {event.folder}. Free some space, then: batchmill resume {self._folder.id}")
        elif isinstance(event, ShutdownProblem):
            text = f"shutdown() of {event.worker} failed: {event.error.error_class}: {event.error.message}"
            with self._ledger.transaction():
                self._ledger.add_warning(text, None, event.worker)

    def _commit(self, instructions: list[Instruction], *, progress: bool = True) -> None:
        """One transaction for everything that happened since the last one; then the output moves on."""
        with self._ledger.transaction():
            self._recorder.record(instructions)
            values = {"counts": json.dumps(self._counts().as_dict())}
            if progress and not self._committed_once:
                values["deaths"] = "0"
                self._committed_once = True
            self._ledger.put(**values)
        self._committed = self._counts()
        if self._engine.speculates:
            self._durations.hear(one.done for one in instructions if isinstance(one, Accept))
        self._to_output(instructions)
        for one in instructions:
            if isinstance(one, Stop):
                self._end(RunStatus.FAILED, one.message)

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
            self._look_for_cancel()
            if self._more_nodes is not None and (count := self._more_nodes()):
                self._grow(count)
            if self._engine.speculates:
                self._run_late_ones_twice(now)
        limit = self._limits.no_progress if self._roll.ever_ready else self._limits.first_progress
        if now - self._moved > limit:
            self._end(RunStatus.FAILED, self._roll.no_progress(limit))

    def _look_for_cancel(self) -> None:
        if self._folder.cancel_request.exists():
            self._end(RunStatus.CANCELED, None)

    def _run_late_ones_twice(self, now: float) -> None:
        """What stragglers hold, on nodes that have nothing else to do."""
        late = self._durations.late
        if late is not None:
            self._scheduler.now = now
            self._act(self._scheduler.second_runs(late))

    def _grow(self, count: int) -> None:
        """Nodes of the compute target that were busy are ours now."""
        for node in self._engine.grow(count):
            self._roll.joined(node)
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


def feed_output(ledger: Ledger, output: RunOutput) -> None:
    """Give the output everything the ledger holds from its front on."""
    for mini_batch, _, _, ended in ledger.splits():
        if ended:
            output.add(mini_batch, 1, [piece[2] for piece in ledger.pieces(mini_batch) if piece[2] is not None])
    for mini_batch, _ in ledger.failed():
        output.add(mini_batch, 1, ())
    for first, count, segment, _, _, _ in ledger.ranges(output.front):
        output.add(first, count, (segment,))
        output.advance()
