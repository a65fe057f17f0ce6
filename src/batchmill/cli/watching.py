"""What a person sees while a run runs: a bar on a terminal, a plain line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from batchmill.cli.pace import Pace
from batchmill.cli.terminal import is_terminal, number, tell
from batchmill.parallel_run.progress import Progress, Silent, duration
from batchmill.records import Counts, RunStatus

LINE_EVERY = 5.0


class Watcher(Progress, Protocol):
    """A progress that leaves the terminal as it found it."""

    def close(self) -> None:
        """Stop showing; may be called twice."""


class Nothing(Silent):
    """``--quiet``."""

    def close(self) -> None:
        """There is nothing to clear."""


class Lines:
    """Plain lines, one every few seconds."""

    def __init__(self, title: str, every: float = LINE_EVERY) -> None:
        self._title = title
        self._every = every
        self._told = time.monotonic()
        self._pace = Pace()

    def planning(self, found: int) -> None:
        """The listing goes on."""
        if self._due():
            tell(f"{self._title}: {number(found)} items listed")

    def announce(self, text: str) -> None:
        """Say it at once."""
        tell(f"{self._title}: {text}")

    def started(self, counts: Counts) -> None:
        """The plan is made."""
        tell(opening(self._title, counts))
        self._pace.see(counts, time.monotonic())
        self._told = time.monotonic()

    def update(self, counts: Counts) -> None:
        """Tell, if it is time."""
        self._pace.see(counts, time.monotonic())
        if self._due():
            tell(", ".join(numbers(counts, self._pace)))

    def ended(self, status: RunStatus, counts: Counts, error: str | None) -> None:
        """The summary says it."""

    def close(self) -> None:
        """Lines stay."""

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._told < self._every:
            return False
        self._told = now
        return True


def watcher(title: str, *, quiet: bool) -> Watcher:
    """The right watcher for this stderr; ``title`` names the run."""
    if quiet:
        return Nothing()
    if not is_terminal(sys.stderr):
        return Lines(title)
    from batchmill.cli.bar import Bar

    return Bar(title)


def opening(title: str, counts: Counts) -> str:
    """The first line: which run, how much there is to do, and what was done before."""
    batches, items = counts.mini_batches, counts.items
    what = f"{number(batches.total)} mini-batches" if items.total is None else f"{_items(items.total)} in {_mini_batches(batches.total)}"
    done = batches.succeeded + batches.failed
    return f"{title}: {what}" + (f", {number(done)} done before" if done else "")


def numbers(counts: Counts, pace: Pace) -> list[str]:
    """The phrases of a progress line."""
    batches, items = counts.mini_batches, counts.items
    done, ended = batches.succeeded + batches.failed, items.succeeded + items.failed
    rate, left = pace.items_per_second(), pace.seconds_left(counts)
    phrases = [f"{number(done)}/{number(batches.total)} mini-batches", f"{number(ended)} items"]
    if rate is not None:
        phrases.append(f"{rate:,.0f} items/s" if rate >= 10 else f"{rate:.1f} items/s")
    phrases += [f"{number(items.failed)} failed", f"{number(batches.retried)} retried"]
    if left is not None:
        phrases.append(f"{duration(left)} left")
    return phrases


def _items(total: int) -> str:
    return "1 item" if total == 1 else f"{number(total)} items"


def _mini_batches(total: int) -> str:
    return "1 mini-batch" if total == 1 else f"{number(total)} mini-batches"
