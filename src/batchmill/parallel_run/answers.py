"""Answers to what workers ask, found in threads beside the loop of the job: a model may take minutes to arrive."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from batchmill.errors import BatchmillError
from batchmill.parallel_run.events import Asked

Question = dict[str, Any]
Answer = dict[str, Any]

THREADS = 4
PATIENCE = 4 * 3600.0
"""Seconds for which a run that waits for an answer counts as moving."""


class Answers:
    """Workers that ask the same while the answer is being found share it.

    Args:
        find: finds the answer to a question; called in a thread. What it raises is told to the worker.
        bind: called in the thread of the loop before an answer is given, with question and answer: what the first answer says of a name
            must be durable before any worker acts on it.
    """

    def __init__(self, find: Callable[[Question], Answer], bind: Callable[[Question, Answer], None] | None = None) -> None:
        self._find = find
        self._bind = bind
        self._waiting: defaultdict[str, list[Asked]] = defaultdict(list)
        self._since = 0.0
        self._questions: deque[tuple[str, Question]] = deque()
        self._found: SimpleQueue[tuple[str, Question, Answer]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0

    @property
    def pending(self) -> bool:
        """Somebody waits for an answer."""
        return bool(self._waiting)

    @property
    def excusing(self) -> bool:
        """Somebody waits, and an answer has come or a first question been asked not too long ago: nothing else can be expected to move."""
        return self.pending and time.monotonic() - self._since < PATIENCE

    def ask(self, asked: Asked) -> None:
        """Begin to find the answer; never waits."""
        if not self._waiting:
            self._since = time.monotonic()
        key = json.dumps(asked.question, sort_keys=True)
        first = key not in self._waiting
        self._waiting[key].append(asked)
        if not first:
            return
        with self._lock:
            self._questions.append((key, asked.question))
            if self._threads < THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="batchmill-answers", daemon=True).start()

    def ready(self) -> list[tuple[Asked, Answer]]:
        """The answers that were found since the last call, with those who wait for them."""
        told: list[tuple[Asked, Answer]] = []
        while not self._found.empty():
            key, question, answer = self._found.get()
            self._since = time.monotonic()
            if self._bind is not None and "error" not in answer:
                self._bind(question, answer)
            told += [(asked, answer) for asked in self._waiting.pop(key, ())]
        return told

    def refuse(self, reason: str) -> list[tuple[Asked, Answer]]:
        """Everybody who waits, with the answer that there will be none."""
        waiting, self._waiting = self._waiting, defaultdict(list)
        return [(asked, refusal("RuntimeError", reason)) for several in waiting.values() for asked in several]

    def _work(self) -> None:
        """Body of a thread, which ends when there is no question left, or with the process."""
        while True:
            with self._lock:
                if not self._questions:
                    self._threads -= 1
                    return
                key, question = self._questions.popleft()
            self._found.put((key, question, answer_of(self._find, question)))


def answer_of(find: Callable[[Question], Answer], question: Question) -> Answer:
    """The answer to a question; what finding it raises becomes a refusal."""
    try:
        return find(question)
    except BatchmillError as error:
        return refusal(type(error).__name__, error.line)
    except Exception as error:  # a defect, or a store's client in trouble: the script is told, and its try fails
        return refusal(type(error).__name__, f"{type(error).__name__}: {error}")


def refusal(kind: str, message: str) -> Answer:
    """The answer that makes the script see an error: its class, by name, and its message."""
    return {"error": {"class": kind, "message": message}}
