"""Waiting for runs: how often they are looked at, what is printed meanwhile, and the errors it ends with (specification G6)."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.run_artifacts import RunArtifacts
from batchmill.workspace.exceptions import ActivityFailedException, ExperimentExecutionException

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import RegisteredRun

STREAMED = re.compile(r"(user_logs/.+|azureml-logs/[0-9]{2}.+|logs/job_progress_overview\..+)\.txt")
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
FOREVER = sys.maxsize


class Patience:
    """How long to wait yet, in seconds, and when to look again: soon at first, then less and less often."""

    def __init__(self, seconds: float = FOREVER) -> None:
        self._began = time.monotonic()
        self._seconds = seconds
        self._pause = FIRST_PAUSE

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        return self._seconds - self.elapsed

    def over(self) -> bool:
        return self.left <= 0

    def pause(self) -> None:
        time.sleep(max(0.0, min(self._pause, self.left)))
        self._pause = min(self._pause * 1.3, LONGEST_PAUSE)


class LogStream:
    """Prints the log of a run while it grows: that of the launcher, not those of all its workers."""

    def __init__(self, artifacts: RunArtifacts) -> None:
        self._artifacts = artifacts
        self._printed: dict[str, int] = {}
        self._current: str | None = None

    def copy(self, *, ended: bool = False) -> None:
        """Print the whole lines that are new; with ``ended`` all that is left, from the datastore where this machine has no log."""
        local = self._artifacts.local()
        for name in sorted(local):
            if STREAMED.fullmatch(name):
                self._tell(name, _from(local[name], self._printed.get(name, 0)), ended)
        if ended:
            for name in self._artifacts.stored():
                if STREAMED.fullmatch(name) and name not in self._printed:
                    self._tell(name, self._artifacts.read(name) or b"", ended)

    def _tell(self, name: str, data: bytes, ended: bool) -> None:
        whole = data if ended else data[: data.rfind(b"\n") + 1]
        if name != self._current and (whole or name not in self._printed):
            say()
            say(f"Streaming {name}")
            say("=" * (len(name) + 10))
            self._current = name
        self._printed[name] = self._printed.get(name, 0) + len(whole)
        text = whole.decode("utf-8", "replace")
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
        sys.stdout.flush()


def _from(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:  # the folder of the run is being removed
        return b""


def say(text: object = "") -> None:
    """One line on stdout, where Azure ML prints."""
    print(text, flush=True)  # noqa: T201


def say_title(title: str) -> None:
    """A title with a line below it."""
    say()
    say(title)
    say("=" * len(title))


@contextmanager
def unless_interrupted(who: str, id: str) -> Iterator[None]:
    """Ctrl-C ends the waiting, not the run."""
    try:
        yield
    except KeyboardInterrupt:
        raise ExperimentExecutionException(
            f"The output streaming for the run interrupted. But {who} {id} goes on in its own process. "
            f"Follow it: batchmill resume {id}; end it: batchmill runs cancel {id}"
        ) from None


def told_error(error: dict[str, Any]) -> str:
    """The error of a run as JSON, as it is printed and raised."""
    return json.dumps(error, indent=4)


def raise_failed(error: dict[str, Any]) -> None:
    """Raise the error of a run.

    Raises:
        ActivityFailedException: always.
    """
    text = told_error(error)
    raise ActivityFailedException(f"Activity Failed:\n{text}", error_details=text)


def timed_out(patience: Patience) -> None:
    """Say that the patience has ended, in the words of Azure ML."""
    say(f"Timed out of waiting. Elapsed time: {patience.elapsed:.1f}")


def wait_silently(look: Callable[[], RegisteredRun], patience: Patience) -> bool:
    """Wait until a run has ended, or nobody works at it any more; False where the patience ended first."""
    from batchmill.pipeline.run_status_words import has_ended

    while not has_ended(look()):
        if patience.over():
            return False
        patience.pause()
    return True
