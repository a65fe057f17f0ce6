"""One node of a run on a machine of a cluster: prepares what its workers need, then drives them in a thread of its own.

Nothing here knows how orders, messages and events travel. `NodeHost.give` and `NodeHost.take` may be called from any thread.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors import BatchmillError
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.log_shipper import LogShipper, interval
from batchmill.nodes.node_order import Abort, Answer, Drain, Finish, Message, NodeOrder, Revoke, Tasks
from batchmill.nodes.node_preparation import prepare_node
from batchmill.nodes.output_files import OutputFiles
from batchmill.nodes.plan_mirror import PlanMirror
from batchmill.nodes.scratch import Scratch, Stopped
from batchmill.nodes.segment_sync import SegmentSync
from batchmill.nodes.side_content import KEY, fetch_side, localize
from batchmill.parallel_run.answers import answer_of
from batchmill.parallel_run.events import ErrorFacts, Event, NodeConfig, NodeGaveUp, NodeLost, NodePreparing, Task
from batchmill.parallel_run.run_store import RunStore
from batchmill.storage.shared_store import SharedStore

STEP = 0.25
"""Seconds for which the loop waits for news at most; messages wake it."""
REST = 0.02
PULSE = 10.0
PATIENCE = 4 * 3600.0
"""Seconds between two signs of life while something is fetched or built, and for how long they are given."""
CLOSE_BOUND = 10.0


@dataclass(frozen=True, slots=True)
class _Planned:
    """The plan says here what these leases are about."""

    tasks: tuple[Task, ...]


class NodeHost:
    """A node named ``node0``, ``node1`` ...; no two nodes of one incarnation of a run have the same name, replaced ones included.

    ``scratch``: the folder for what it needs on this machine, instead of one below the temporary folder.
    """

    def __init__(self, name: str, order: NodeOrder, *, scratch: Path | None = None) -> None:
        self.name = name
        self._order = order
        self._root = scratch
        self._changed = threading.Condition()
        self._inbox: list[Message | _Planned] = []
        self._news: list[Event] = []
        self._failure: Exception | None = None
        self._working = False
        self._over = False
        self._aborted = False
        self._revoked: set[int] = set()
        self._taken = time.monotonic()
        self._takers = 0
        self._wake, self._waker = os.pipe()
        for descriptor in (self._wake, self._waker):
            os.set_blocking(descriptor, False)
        self._thread = threading.Thread(target=self._body, name=f"batchmill-{name}", daemon=True)

    def start(self) -> None:
        """Begin in a thread of its own; returns at once."""
        self._thread.start()

    def give(self, messages: Sequence[Message]) -> None:
        """Hand messages over, in their order; they are heeded once the node is prepared (`Abort` at once)."""
        with self._changed:
            self._aborted = self._aborted or any(isinstance(one, Abort) for one in messages)
            self._inbox += messages
            self._rouse()

    def take(self, timeout: float) -> list[Event]:
        """What happened since the last call; waits up to ``timeout`` seconds for something to happen."""
        with self._changed:
            self._takers += 1
            try:
                self._changed.wait_for(lambda: self._news or self._over, timeout)
            finally:
                self._takers -= 1
                self._taken = time.monotonic()
            news, self._news = self._news, []
        return news

    @property
    def ended(self) -> bool:
        """No worker lives any more, and every event has been taken."""
        return self._over and not self._news

    def close(self) -> None:
        """Kill what still runs, and wait until it is gone."""
        self.give([Abort()])
        if self._thread.ident is None:
            self._end()
        else:
            self._thread.join(CLOSE_BOUND)

    # --- the thread -------------------------------------------------------------------------------------------------------------

    def _body(self) -> None:
        """The parent-death signal of the workers hangs on the thread that starts them: this one, which ends after they do."""
        scratch: Scratch | None = None
        try:
            self._order.check_version(self._where)
            scratch = Scratch(self._order.config.run_id, self._order.config.epoch, self.name, self._root)
            self._carry_out(scratch)
        except Stopped:
            pass
        except BatchmillError as error:
            self._give_up(ErrorFacts(type(error).__name__, f"{self._where}: {error.line}"))
        except Exception as error:
            self._give_up(ErrorFacts(type(error).__name__, f"{self._where}: {error}", traceback.format_exc()))
        finally:
            if scratch is not None:
                scratch.close()
            self._end()

    def _end(self) -> None:
        with self._changed:
            if not self._over:
                self._over = True
                os.close(self._wake)
                os.close(self._waker)
            self._changed.notify_all()

    def _carry_out(self, scratch: Scratch) -> None:
        order = self._order
        order.credentials.take(scratch.own / "credentials")
        store = RunStore(order.output, order.config.run_id, order.config.retry_timeout)
        with self._busy("it is being prepared"):
            config = prepare_node(self.name, order, scratch, store.files, self._unwanted)
        outputs = OutputFiles(config.output_dir, store.results) if config.output_dir.is_relative_to(scratch.own) else None
        logs = LogShipper(config.run_folder / "logs", store.files, interval(config.node_count))
        logs.start()
        try:
            self._work(scratch, config, store.files, outputs)
        finally:
            logs.close()

    def _work(self, scratch: Scratch, config: NodeConfig, files: SharedStore, outputs: OutputFiles | None) -> None:
        engine = LocalEngine(
            config,
            most=1,
            first_node=int(self.name.removeprefix("node")),
            parts=lambda name: SegmentSync(files, config.epoch, name, config.retry_timeout, outputs),
        )
        plan = PlanMirror(files, self._order.plan, config.plan_folder, self._planned, self._fail)
        self._working = True
        try:
            self._drive(engine, plan, scratch, files)
        except BaseException:
            engine.abort()
            raise
        finally:
            plan.close()

    def _drive(self, engine: LocalEngine, plan: PlanMirror, scratch: Scratch, files: SharedStore) -> None:
        engine.wake_on(self._wake, self._heard)
        engine.start()
        while not self._unwanted():
            for message in self._messages():
                if isinstance(message, Finish):
                    engine.finish(lambda events: self._hear_last(engine, events, scratch, files))
                    return
                if isinstance(message, Tasks):
                    plan.need(message.tasks)
                elif isinstance(message, Answer):
                    self._answer(engine, message, scratch, files)
                else:
                    self._heed(engine, message)
            events = engine.step(STEP)
            self._tell(events)
            if any(isinstance(event, NodeGaveUp) for event in events):
                break
            if not engine.processes:  # for a moment: then they are replaced, or the node gives up
                self._rest()
        engine.abort()

    def _hear_last(self, engine: LocalEngine, events: list[Event], scratch: Scratch, files: SharedStore) -> None:
        """News while the workers end; a shutdown() may still ask something."""
        self._tell(events)
        for message in self._messages():
            if isinstance(message, Answer):
                self._answer(engine, message, scratch, files)
        if self._unwanted():
            engine.abort()

    def _heed(self, engine: LocalEngine, message: Message | _Planned) -> None:
        if isinstance(message, _Planned):
            engine.give(self.name, [task for task in message.tasks if task.token not in self._revoked])
        elif isinstance(message, Revoke):
            self._revoked.add(message.token)
            engine.revoke(self.name, message.token)
        elif isinstance(message, Drain):
            engine.drain(self.name)

    # --- plan and answers -------------------------------------------------------------------------------------------------------

    def _planned(self, tasks: tuple[Task, ...]) -> None:
        with self._changed:
            self._inbox.append(_Planned(tasks))
            self._rouse()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._rouse()

    def _answer(self, engine: LocalEngine, message: Answer, scratch: Scratch, files: SharedStore) -> None:
        """What an answer names is fetched beside the loop; the answer then comes again, as it holds here."""
        if KEY not in message.answer:
            engine.answer(message.asked, dict(message.answer))
            return

        def fetch(id: str) -> Path:
            return scratch.once(f"side-{id}", lambda folder: fetch_side(files, id, folder), self._unwanted)

        def body() -> None:
            with self._busy(f"{message.asked.worker} waits for files that it asked for"), suppress(Stopped):
                room = scratch.own / "downloads"
                self.give([Answer(message.asked, answer_of(lambda answer: localize(answer, fetch, room), dict(message.answer)))])

        threading.Thread(target=body, name="batchmill-side", daemon=True).start()

    # --- messages and news ------------------------------------------------------------------------------------------------------

    def _messages(self) -> list[Message | _Planned]:
        with self._changed:
            if self._failure is not None:
                raise self._failure
            messages, self._inbox = self._inbox, []
        return messages

    def _rouse(self) -> None:
        """Wake the loop; the condition is held."""
        if not self._over:
            with suppress(BlockingIOError):  # it is full of wakes already
                os.write(self._waker, b"!")

    def _heard(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 1 << 12)

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._inbox, REST)

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            with self._changed:
                self._news += events
                self._changed.notify_all()

    def _give_up(self, facts: ErrorFacts) -> None:
        """Who has never worked will not, if it is tried again; who has may only have lost its store."""
        if not self._aborted:
            self._tell([NodeLost(self.name, facts.message, by_itself=True) if self._working else NodeGaveUp(self.name, facts)])

    def _unwanted(self) -> bool:
        """Aborted, or nobody has listened for so long that nobody will."""
        with self._changed:
            silent = not self._takers and time.monotonic() - self._taken > self._order.silence
            return self._aborted or silent

    @contextmanager
    def _busy(self, what: str) -> Iterator[None]:
        """Tell now and then that this goes on."""
        over = threading.Event()

        def body() -> None:
            began = time.monotonic()
            while not over.wait(PULSE) and time.monotonic() - began < PATIENCE:
                self._tell([NodePreparing(self.name, what)])

        threading.Thread(target=body, name="batchmill-pulse", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    @property
    def _where(self) -> str:
        return f"{self.name} on {socket.gethostname()}"
