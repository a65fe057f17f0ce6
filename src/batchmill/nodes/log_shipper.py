"""The logs of a node on their way into the run store, while it works: a file that has changed is put again, a large one less often."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors import BatchmillError, ObjectMissingError
from batchmill.parallel_run.cluster_run import cluster_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_store import DEAD_LETTERS, LOGS
from batchmill.storage.shared_store import SharedStore

EVERY = 2.0
"""Seconds between two looks at the files."""
SLOW = 1 << 20
"""Bytes of a file for which a put of it every `EVERY` seconds is still fine: a file twice as large is put half as often."""
NODES = 16
"""Nodes that look every `EVERY` seconds; twice as many look half as often, so that a store has no more to do for a large cluster."""
LONGEST = 60.0
AT_ONCE = 8
"""Files on their way at once: a put takes an object store its time, whatever the size."""
LAST_SECONDS = 20.0

OF_ALL_NODES = ("user/error.txt",)
"""Files in which all nodes of a local run write; on a cluster the coordinator writes them, of what it is told."""


@dataclass(slots=True)
class _Shipped:
    mark: tuple[int, int]
    at: float


class LogShipper:
    """Puts the files below the folder ``logs`` into the folder of that name of a run store, in a thread of its own."""

    def __init__(self, logs: Path, files: SharedStore, every: float = EVERY, leave_out: Sequence[str] = OF_ALL_NODES) -> None:
        self._logs = logs
        self._files = files
        self._every = every
        self._leave_out = leave_out
        self._shipped: dict[str, _Shipped] = {}
        self._away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._body, name="batchmill-logs", daemon=True)
        self.problem: str | None = None
        """Why the last try to put a file failed; the next look tries again."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Put what is new, now that nothing is written any more; a store that is away costs logs, not results."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(LAST_SECONDS)
        if not self._thread.is_alive():
            self.ship(time.monotonic(), last=True)

    def ship(self, now: float, *, last: bool = False) -> list[str]:
        """Put the files that have changed and whose turn it is (``last``: all that have changed); returns their names."""
        chosen = {name: mark for name, mark in self._look().items() if self._due(name, mark, now, last)}
        self._away = False
        with ThreadPoolExecutor(AT_ONCE, "batchmill-logs") as threads:
            put = [name for name, there in zip(chosen, threads.map(self._put, chosen), strict=True) if there]
        self._shipped |= {name: _Shipped(chosen[name], now) for name in put}
        return put

    def _due(self, name: str, mark: tuple[int, int], now: float, last: bool) -> bool:
        before = self._shipped.get(name)
        return before is None or (before.mark != mark and (last or now - before.at >= pause(mark[0], self._every)))

    def _put(self, name: str) -> bool:
        """Whether it is there now; one that was removed since the look is not missed, and a store that is away is not asked again."""
        if self._away:
            return False
        try:
            self._files.put_file(f"{LOGS}/{name}", self._logs / name, durable=False)
        except FileNotFoundError:
            return False
        except (BatchmillError, OSError) as error:
            self.problem, self._away = str(error), True
            return False
        return True

    def _body(self) -> None:
        while not self._stop.wait(self._every):
            self.ship(time.monotonic())

    def _look(self) -> dict[str, tuple[int, int]]:
        """Size and time of the last change of each file that is to be shipped; empty ones are not worth it."""
        found = {}
        for folder, _, names in os.walk(self._logs):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self._logs).as_posix()
                try:
                    state = path.stat()
                except OSError:
                    continue
                if state.st_size and relative not in self._leave_out:
                    found[relative] = (state.st_size, state.st_mtime_ns)
        return dict(sorted(found.items()))


def bring_back(folder: RunFolder, files: SharedStore) -> None:
    """Fetch the logs of a coordinator that ended elsewhere in so far as they are appended to: what is shipped replaces them.

    Raises:
        StoreError: the store does not answer.
    """
    overview = f"job_progress_overview.{time.strftime('%Y%m%d%H', time.gmtime())}.txt"
    for name in (*OF_ALL_NODES, overview, f"sys/metrics/{folder.id}/progress.csv"):
        path = folder.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(ObjectMissingError):
            files.fetch(f"{LOGS}/{name}", path)


def send_back(folder: RunFolder) -> None:
    """Put the logs and dead letters of a run on a cluster that were written on this machine into its store; others do not have one."""
    run = cluster_run(folder)
    if run is not None:
        LogShipper(folder.logs, run.store.files, leave_out=()).ship(time.monotonic(), last=True)
        if folder.dead_letters.exists():
            run.store.files.put_file(DEAD_LETTERS, folder.dead_letters)


def interval(nodes: int) -> float:
    """Seconds between two looks, on each of that many nodes.

    >>> interval(4), interval(64), interval(1000)
    (2.0, 8.0, 60.0)
    """
    return min(LONGEST, EVERY * max(1.0, nodes / NODES))


def pause(size: int, every: float = EVERY) -> float:
    """Seconds between two puts of a file of that many bytes that changes all the time.

    >>> pause(100), pause(4 << 20)
    (2.0, 8.0)
    """
    return every * max(1.0, size / SLOW)
