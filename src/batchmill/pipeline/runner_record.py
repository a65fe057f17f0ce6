"""What a runner writes into the registry, through outages of the database; and its log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batchmill.errors import RegistryError
from batchmill.workspace.url_credentials import hide_credentials

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import NewRun, RegisteredRun
    from batchmill.workspace.registry import Registry

T = TypeVar("T")
OUTAGE = 600.0  # seconds that a database may be out of reach until the runner gives up
PAUSE = 0.5


class RunnerLog:
    """``runner.txt``: what the runner did, one line each. Any thread may write."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def say(self, text: str) -> None:
        """Add a line, or several; what cannot be written, on a full disk say, holds nobody up."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError), self._lock, self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{moment} {hide_credentials(text)}\n")


class RunnerRecord:
    """The registry as a runner uses it: a database that is restarted meanwhile is waited for."""

    def __init__(self, registry: Registry, log: RunnerLog) -> None:
        self._registry, self._log = registry, log

    def run(self, id: str) -> RegisteredRun | None:
        return self.patiently(lambda: self._registry.run(id))

    def steps(self, id: str) -> list[RegisteredRun]:
        """The runs of the steps of a pipeline run."""
        from batchmill.workspace.registered_run import STEP_RUN

        return self.patiently(lambda: self._registry.runs(parent=id, kind=STEP_RUN, limit=None))

    def add(self, new: list[NewRun]) -> list[RegisteredRun]:
        return self.patiently(lambda: self._registry.add_runs(new))

    def change(self, id: str, **changes: Any) -> RegisteredRun | None:
        """As `Registry.change_run`; an error is shown to everybody, whatever a script or a library put into it."""
        if changes.get("error") is not None:
            changes["error"] = hide_credentials(changes["error"])
        return self.patiently(lambda: self._registry.change_run(id, **changes))

    def patiently(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns, which may be done again: it is while the database is out of reach.

        Raises:
            RegistryError: for too long.
        """
        return patiently(ask, self._log.say)


def patiently(ask: Callable[[], T], tell: Callable[[str], None] = lambda text: None) -> T:
    """As `RunnerRecord.patiently`; ``tell`` is told what is wrong."""
    deadline, told = time.monotonic() + OUTAGE, ""
    while True:
        try:
            return ask()
        except RegistryError as error:
            if time.monotonic() > deadline:
                raise
            if error.line != told:
                tell(error.line)
            told = error.line
            time.sleep(PAUSE)
