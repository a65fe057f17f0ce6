"""One node of a run on a machine of a cluster: prepares what its workers need, then drives them in a thread of its own.

Nothing here knows how orders, messages and events travel. `NodeHost.give` and `NodeHost.take` may be called from any thread.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from batchmill.errors import BatchmillError, UsageError
from batchmill.nodes.gpus import gpu_count, gpu_processes
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.node_order import Abort, Answer, Drain, Finish, Message, NodeOrder, Revoke, Tasks
from batchmill.nodes.node_setup import default_workers
from batchmill.nodes.path_proof import check_proofs
from batchmill.nodes.plan_mirror import fetch_plan
from batchmill.nodes.published_snapshot import fetch_snapshot
from batchmill.nodes.scratch import Scratch, Stopped
from batchmill.parallel_run.events import ErrorFacts, Event, NodeConfig, NodeGaveUp
from batchmill.parallel_run.run_store import RunStore
from batchmill.workspace.environment_preparation import Interpreter

STEP = 0.02
CLOSE_BOUND = 10.0


class NodeHost:
    """A node named ``node0``, ``node1`` ...; no two nodes of one incarnation of a run have the same name, replaced ones included.

    ``scratch``: the folder for what it needs on this machine, instead of one below the temporary folder.
    """

    def __init__(self, name: str, order: NodeOrder, *, scratch: Path | None = None) -> None:
        self.name = name
        self._order = order
        self._root = scratch
        self._changed = threading.Condition()
        self._inbox: list[Message] = []
        self._news: list[Event] = []
        self._over = False
        self._aborted = False
        self._taken = time.monotonic()
        self._takers = 0
        self._thread = threading.Thread(target=self._body, name=f"batchmill-{name}", daemon=True)

    def start(self) -> None:
        """Begin in a thread of its own; returns at once."""
        self._thread.start()

    def give(self, messages: Sequence[Message]) -> None:
        """Hand messages over, in their order; they are heeded once the node is prepared (`Abort` at once)."""
        with self._changed:
            self._aborted = self._aborted or any(isinstance(one, Abort) for one in messages)
            self._inbox += messages
            self._changed.notify_all()

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
        if self._thread.ident is not None:
            self._thread.join(CLOSE_BOUND)

    # --- the thread -------------------------------------------------------------------------------------------------------------

    def _body(self) -> None:
        """The parent-death signal of the workers hangs on the thread that starts them: this one, which ends after they do."""
        scratch: Scratch | None = None
        try:
            self._order.check_version(f"Node {self.name} on {socket.gethostname()}")
            scratch = Scratch(self._order.config.run_id, self._order.config.epoch, self.name, self._root)
            self._carry_out(scratch)
        except Stopped:
            pass
        except BatchmillError as error:
            self._give_up(ErrorFacts(type(error).__name__, f"{self._where()}: {error.line}"))
        except Exception as error:
            self._give_up(ErrorFacts(type(error).__name__, f"{self._where()}: {error}", traceback.format_exc()))
        finally:
            if scratch is not None:
                scratch.close()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _carry_out(self, scratch: Scratch) -> None:
        order = self._order
        order.credentials.take(scratch.own / "credentials")
        store = RunStore(order.output, order.config.run_id, order.config.retry_timeout)
        config = self._prepare(scratch, store)
        engine = LocalEngine(config, most=1, first_node=int(self.name.removeprefix("node")))
        try:
            self._drive(engine)
        except BaseException:
            engine.abort()
            raise

    def _prepare(self, scratch: Scratch, store: RunStore) -> NodeConfig:
        """Everything that the workers need, on this machine."""
        order = self._order
        unseen = check_proofs(order.proofs)
        if unseen:
            raise UsageError(
                f"{', '.join(unseen)} cannot be seen there, or is another folder there.",
                cure="Nodes of a cluster read and write object stores, or folders that every node has mounted at the same path.",
            )
        source = scratch.once("snapshot", lambda folder: fetch_snapshot(store.files, folder), self._unwanted)
        plan = scratch.once("plan", lambda folder: fetch_plan(store.files, order.plan, folder, self._unwanted), self._unwanted)
        interpreter = order.environment.interpreter() if order.environment is not None else None
        if self._unwanted():
            raise Stopped
        config = with_interpreter(order.config, interpreter)
        config = replace(
            config,
            run_folder=scratch.own,
            plan_folder=plan,
            source=source,
            script=scratch.shared / config.script,
            output_dir=scratch.own / config.output_dir,
            workers=config.workers or _workers(config),
        )
        for folder in (config.output_dir, config.run_folder / "parts", config.run_folder / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        return config

    def _drive(self, engine: LocalEngine) -> None:
        engine.start()
        while True:
            for message in self._messages():
                if isinstance(message, Finish):
                    engine.finish(lambda events: self._hear_last(engine, events))
                    return
                self._heed(engine, message)
            if self._unwanted():
                engine.abort()
                return
            if engine.processes:
                self._tell(engine.step(STEP))
            else:
                self._tell(engine.step(0))
                self._rest()

    def _hear_last(self, engine: LocalEngine, events: list[Event]) -> None:
        """News while the workers end; a shutdown() may still ask something."""
        self._tell(events)
        for message in self._messages():
            if isinstance(message, Answer):
                self._heed(engine, message)
        if self._unwanted():
            engine.abort()

    def _heed(self, engine: LocalEngine, message: Message) -> None:
        if isinstance(message, Tasks):
            engine.give(self.name, message.tasks)
        elif isinstance(message, Answer):
            engine.answer(message.asked, dict(message.answer))
        elif isinstance(message, Revoke):
            engine.revoke(self.name, message.token)
        elif isinstance(message, Drain):
            engine.drain(self.name)

    # --- messages and news ------------------------------------------------------------------------------------------------------

    def _messages(self) -> list[Message]:
        with self._changed:
            messages, self._inbox = self._inbox, []
        return messages

    def _rest(self) -> None:
        """No worker lives: wait for a message."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox, STEP)

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            with self._changed:
                self._news += events
                self._changed.notify_all()

    def _give_up(self, facts: ErrorFacts) -> None:
        if not self._aborted:
            self._tell([NodeGaveUp(self.name, facts)])

    def _unwanted(self) -> bool:
        """Aborted, or nobody has listened for so long that nobody will."""
        with self._changed:
            silent = not self._takers and time.monotonic() - self._taken > self._order.silence
            return self._aborted or silent

    def _where(self) -> str:
        return f"{self.name} on {socket.gethostname()}"


def with_interpreter(config: NodeConfig, interpreter: Interpreter | None) -> NodeConfig:
    """The config for an interpreter of this machine (None: this one); its variables stand behind those of the user."""
    if interpreter is None:
        return replace(config, python=sys.executable)
    environment = {**interpreter.variables, **config.environment}
    hidden = tuple(name for name, value in environment.items() if not value and name not in config.environment)
    return replace(config, python=interpreter.python, environment=environment, hidden=hidden)


def _workers(config: NodeConfig) -> int:
    """As many as this machine bears, where nobody said how many."""
    gpus = gpu_count(config.environment) if config.gpu_ids is None else len(config.gpu_ids)
    return default_workers(1, gpu_processes(gpus, config.gpus_per_process), None)
