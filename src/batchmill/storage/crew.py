"""Threads that carry out one action on each item of a stream, and stop together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
WAITING = 4
"""Items that wait for each thread: enough that none waits for the stream, few enough that nothing piles up."""
LEAVE = 1.0


class Crew:
    """Up to ``threads`` threads; ``stopped`` is set when they shall do nothing more.

    Threads that wait for a store when an error or Ctrl-C stops the crew are left behind after a second: they see ``stopped`` and touch
    nothing any more.
    """

    def __init__(self, threads: int) -> None:
        self.stopped = threading.Event()
        self._most = threads
        self._threads: list[threading.Thread] = []

    def work(self, items: Iterable[T], action: Callable[[T], R], done: Callable[[R], None]) -> None:
        """Call ``action`` with every item, in the order of the stream; ``done`` gets what it returned, in this thread.

        The first exception of an action ends the work and is raised here.
        """
        tasks: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        results: queue.SimpleQueue[tuple[R | None, BaseException | None]] = queue.SimpleQueue()
        under_way = 0
        try:
            for item in items:
                while under_way >= WAITING * self._most or (under_way and not results.empty()):
                    under_way -= _take(results, done)
                tasks.put(item)
                under_way += 1
                if len(self._threads) < min(self._most, under_way):
                    self._start(tasks, action, results)
            while under_way:
                under_way -= _take(results, done)
        except BaseException:
            self.stopped.set()
            raise
        finally:
            for _ in self._threads:
                tasks.put(None)
            self._join()

    def _start(
        self,
        tasks: queue.SimpleQueue[T | None],
        action: Callable[[T], R],
        results: queue.SimpleQueue[tuple[R | None, BaseException | None]],
    ) -> None:
        def work() -> None:
            while (item := tasks.get()) is not None and not self.stopped.is_set():
                try:
                    results.put((action(item), None))
                except BaseException as error:
                    results.put((None, error))

        thread = threading.Thread(target=work, name=f"batchmill-crew-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _join(self) -> None:
        deadline = time.monotonic() + LEAVE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []


def _take(results: queue.SimpleQueue[tuple[R | None, BaseException | None]], done: Callable[[R], None]) -> int:
    result, error = results.get()
    if error is not None:
        raise error
    done(result)  # type: ignore[arg-type] # None is what an action may return, too
    return 1
