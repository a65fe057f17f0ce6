"""The error log of a run whose nodes are elsewhere: the coordinator writes it, of what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from batchmill.parallel_run.events import Asked, Engine, Event, InitFailed, NodeGaveUp, ShutdownProblem, Task, TryFailed
from batchmill.parallel_run.run_folder import write_error


class ErrorLogged:
    """An engine, all of whose failures are written into ``user/error.txt`` below the folder of logs."""

    def __init__(self, engine: Engine, logs: Path) -> None:
        self._engine = engine
        self._logs = logs
        self.speculates = engine.speculates

    @property
    def nodes(self) -> Sequence[str]:
        """See `Engine`."""
        return self._engine.nodes

    def start(self) -> None:
        """See `Engine`."""
        self._engine.start()

    def grow(self, count: int) -> Sequence[str]:
        """See `Engine`."""
        return self._engine.grow(count)

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        """See `Engine`."""
        self._engine.give(node, tasks)

    def revoke(self, node: str, token: int) -> None:
        """See `Engine`."""
        self._engine.revoke(node, token)

    def answer(self, asked: Asked, answer: dict[str, Any]) -> None:
        """See `Engine`."""
        self._engine.answer(asked, answer)

    def step(self, timeout: float) -> list[Event]:
        """See `Engine`."""
        return self._logged(self._engine.step(timeout))

    def finish(self, hear: Callable[[list[Event]], None]) -> None:
        """See `Engine`."""
        self._engine.finish(lambda events: hear(self._logged(events)))

    def abort(self) -> None:
        """See `Engine`."""
        self._engine.abort()

    def _logged(self, events: list[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, TryFailed):
                write_error(self._logs, event.node, event.worker, f"mini-batch {event.mini_batch}", event.error)
            elif isinstance(event, InitFailed | ShutdownProblem):
                where = "init()" if isinstance(event, InitFailed) else "shutdown()"
                write_error(self._logs, event.node, event.worker, where, event.error)
            elif isinstance(event, NodeGaveUp):
                write_error(self._logs, event.node, "", "node", event.error)
        return events
