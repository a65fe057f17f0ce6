"""What the script may ask its run while it works: which version of a model it gets, and where the files are.

A question is a JSON object with its ``kind``, an answer is one with what was asked for, or with ``error``: the class and the message of
what the script is to see. While a thread of the script waits, the clock of the current ``init()``, ``run()`` or ``shutdown()`` stands
still: a slow download is not the script's fault.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional

from batchmill.worker.channel import Channel
from batchmill.worker.slots import PAUSED, PAUSED_IN, RUNNING_SINCE, WAITING_SINCE, WIDTH, Slots
from batchmill.worker.step_questions import ask_runner, socket_path

Ask = Callable[[dict[str, Any]], dict[str, Any]]

_ask: Optional[Ask] = None
_known: dict[Any, Any] = {}


class Refusal(Exception):
    """The answer is no: ``kind`` is the class of the error as the script knows it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def answer_with(ask: Optional[Ask]) -> Optional[Ask]:
    """Install what answers the questions of this process; returns what did so before. None: this process belongs to no run."""
    global _ask, _known
    before, _ask = _ask, ask
    _known = {}
    return before


def known() -> dict[Any, Any]:
    """What this process remembers of answers; another run begins with nothing."""
    return _known


def in_run() -> bool:
    """Whether there is anybody to ask: the node of a worker process, or the runner of a script step."""
    return _ask is not None or socket_path() is not None


def ask(question: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question; waits for it.

    Raises:
        Refusal: the run says no, or why it cannot say.
        NotTheWorker: this is a child process of the worker.
        RunnerLost: the runner of the step is gone.
    """
    if _ask is None and socket_path() is None:
        raise LookupError("This process belongs to no run.")
    answer = ask_runner(question) if _ask is None else _ask(question)
    error = answer.get("error")
    if error is not None:
        raise Refusal(error["class"], error["message"])
    return answer


class Questions:
    """Asks over the channel of the worker, and keeps the clock standing meanwhile."""

    def __init__(self, channel: Channel, slots: Slots, slot: int) -> None:
        self._channel = channel
        self._view = slots.values
        self._base = slot * WIDTH
        self._lock = threading.Lock()
        self._waiting = 0

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """See `ask`."""
        self._channel.check_process()
        self._stop_clock()
        try:
            return self._channel.ask(question)
        finally:
            self._start_clock()

    def _stop_clock(self) -> None:
        with self._lock:
            if self._waiting == 0:
                self._view[self._base + WAITING_SINCE] = time.monotonic_ns()
            self._waiting += 1

    def _start_clock(self) -> None:
        """A pause belongs to one call, which its beginning names: a call that begins meanwhile starts with none."""
        view, base = self._view, self._base
        with self._lock:
            self._waiting -= 1
            if self._waiting:
                return
            began = view[base + RUNNING_SINCE]
            before = view[base + PAUSED] if view[base + PAUSED_IN] == began else 0
            view[base + PAUSED] = before + time.monotonic_ns() - max(began, view[base + WAITING_SINCE])
            view[base + PAUSED_IN] = began
            view[base + WAITING_SINCE] = 0
