"""What a run tells while it runs: to whoever watches (a bar, plain lines, nothing) and to its own logs."""

from __future__ import annotations

import csv
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from batchmill.records import Counts, RunStatus

LOG_EVERY = 1.0


class Progress(Protocol):
    """A watcher of one run."""

    def planning(self, found: int) -> None:
        """So many items have been listed."""

    def announce(self, text: str) -> None:
        """Something a person should know before it takes its time, such as the disk that grouping needs."""

    def started(self, counts: Counts) -> None:
        """The plan is made; work begins."""

    def update(self, counts: Counts) -> None:
        """Called a few times a second."""

    def ended(self, status: RunStatus, counts: Counts, error: str | None) -> None:
        """The run ended."""


class Silent:
    """Shows nothing."""

    def planning(self, found: int) -> None:
        pass

    def announce(self, text: str) -> None:
        pass

    def started(self, counts: Counts) -> None:
        pass

    def update(self, counts: Counts) -> None:
        pass

    def ended(self, status: RunStatus, counts: Counts, error: str | None) -> None:
        pass


class ProgressLog:
    """``job_progress_overview.<hour>.txt`` and ``sys/metrics/<id>/progress.csv`` (specification E2)."""

    COLUMNS = ("Datetime", "Total Tasks", "Scheduled Tasks", "Completed Tasks", "Failed Tasks", "Elapsed Time", "Estimated Remaining Time")

    def __init__(self, logs: Path, run_id: str) -> None:
        self._logs = logs
        self._csv = logs / "sys" / "metrics" / run_id / "progress.csv"
        self._began = time.monotonic()
        self._wrote = -LOG_EVERY
        self._done_before: int | None = None
        if not self._csv.exists():
            self._row(self.COLUMNS)

    def _row(self, values: tuple[object, ...]) -> None:
        self._csv.parent.mkdir(parents=True, exist_ok=True)
        with self._csv.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)

    def update(self, counts: Counts, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._wrote < LOG_EVERY:
            return
        self._wrote = now
        batches = counts.mini_batches
        done = batches.succeeded + batches.failed
        if self._done_before is None:
            self._done_before = done
        elapsed = now - self._began
        fresh = done - self._done_before
        remaining = (
            duration(elapsed / fresh * batches.not_run) if fresh and batches.not_run else "0:00:00" if not batches.not_run else "N/A"
        )
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._row((stamp, batches.total, batches.total, batches.succeeded, batches.failed, duration(elapsed), remaining))
        path = self._logs / f"job_progress_overview.{time.strftime('%Y%m%d%H', time.gmtime())}.txt"
        with path.open("a", encoding="utf-8") as file:
            file.write(
                f"{stamp} Processed {done} of {batches.total} mini batches in {duration(elapsed)}. Estimate remaining {remaining}.\n"
            )


class MasterLog:
    """``sys/master_role.<time>.txt``: what the coordinator did, a line each."""

    def __init__(self, logs: Path, level: str) -> None:
        self._path = logs / "sys" / f"master_role.{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.txt"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._debug = level == "DEBUG"

    def line(self, text: str, *, debug: bool = False) -> None:
        """Write a line; those marked ``debug`` only at the level DEBUG."""
        if debug and not self._debug:
            return
        with suppress(OSError), self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def duration(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
