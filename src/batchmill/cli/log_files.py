"""The log files of a run's entry script: printed as they are, followed while they grow, cut to one mini-batch."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from batchmill.cli.terminal import reader_left, styled
from batchmill.errors import UsageError
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.worker.delivery import SPAN

KINDS = ("stdout", "stderr", "entry_script_log", "error")
CHUNK = 1 << 20
LOOK_EVERY = 0.2


class LogFiles:
    """All log files of the entry script, or those of one worker process; remembers how far each was printed."""

    def __init__(self, folder: RunFolder, worker: str | None = None) -> None:
        self._folder = folder
        self._user = folder.logs / "user"
        node, _, process = worker.rpartition("/") if worker else ("", "", "")
        self._node, self._process = node, process
        self._printed: dict[Path, int] = {}
        self._current: Path | None = None

    @property
    def seen(self) -> bool:
        """Whether there was any file."""
        return bool(self._printed)

    def copy(self) -> bool:
        """Print what was not printed yet; returns whether there was anything."""
        return sum(self._copy_one(path) for path in self._files()) > 0

    def follow(self) -> None:
        """Print what is added until the run has ended.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        run = Run(self._folder)
        while run.alive:
            run.refresh()
            if not self.copy():
                time.sleep(LOOK_EVERY)
            if reader_left(sys.stdout):
                raise BrokenPipeError
        run.refresh()
        self.copy()

    def workers(self) -> list[str]:
        """``node0/process000`` and so on."""
        paths = sorted((self._user / "stdout").glob("*/*"))
        return [f"{path.parent.name}/{path.name.split('.')[0]}" for path in paths]

    def _files(self) -> Iterator[Path]:
        for kind in KINDS:
            for path in sorted((self._user / kind).glob("*/*")):
                mine = not self._process or path.name.split(".")[0] == self._process
                if path.is_file() and mine and (not self._node or path.parent.name == self._node):
                    yield path

    def _copy_one(self, path: Path) -> bool:
        start = self._printed.setdefault(path, 0)
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= start:
                return False
            if path != self._current:
                if self._current is not None:
                    _write(b"\n")
                _heading(str(path.relative_to(self._folder.logs)))
                self._current = path
            file.seek(start)
            while chunk := file.read(CHUNK):
                _write(chunk)
                self._printed[path] += len(chunk)
        return True


def tell_mini_batch(run: Run, mini_batch: int) -> None:
    """Print what the failed tries of one mini-batch died of, and what its successful try printed."""
    ledger = Ledger(run.folder / "ledger.sqlite")
    try:
        total = ledger.counts().mini_batches.total
        if mini_batch >= total:
            raise UsageError(f"Run {run.id} has no mini-batch {mini_batch}.", cure=f"Its {total} mini-batches are counted from 0.")
        tries = list(ledger.tries(mini_batch))
        record = ledger.record_of(mini_batch)
    finally:
        ledger.close()
    for one in tries:
        _tell_try(run, one)
    if record is not None:
        _tell_success(run, mini_batch, *record)
    elif not tries:
        print(f"Mini-batch {mini_batch} has not ended yet.")


def _tell_try(run: Run, one: dict[str, Any]) -> None:
    items = "" if one["piece_first"] is None else f", items {one['piece_first']} to {one['piece_first'] + one['piece_count'] - 1}"
    _heading(f"try {one['attempt']}{items}: {one['status']} on {one['node']}/{one['worker']} after {one['elapsed']:.3g} s")
    print(f"{one['error_class']}: {one['message']}")
    if one["traceback"]:
        print(one["traceback"].rstrip())
    if one["printed"]:
        _tell_printed(run, one["node"], one["worker"], json.loads(one["printed"]))
    print(flush=True)


def _tell_success(run: Run, mini_batch: int, node: str, worker: str, spans: bytes) -> None:
    _heading(f"mini-batch {mini_batch}: done on {node}/{worker}")
    found = next((span for span in SPAN.iter_unpack(spans) if span[0] == mini_batch), None)
    if found is None:
        print("It printed nothing.", flush=True)
        return
    _tell_printed(run, node, worker, found[1:])


def _tell_printed(run: Run, node: str, worker: str, where: Sequence[int]) -> None:
    """What lies between stdout from, to, stderr from, to."""
    for kind, start, stop in (("stdout", where[0], where[1]), ("stderr", where[2], where[3])):
        if stop > start:
            _heading(kind)
            _copy_span(run.folder / "logs" / "user" / kind / node / f"{worker}.{kind}.txt", start, stop)


def _copy_span(path: Path, start: int, stop: int) -> None:
    try:
        with path.open("rb") as file:
            file.seek(start)
            while start < stop and (chunk := file.read(min(CHUNK, stop - start))):
                _write(chunk)
                start += len(chunk)
    except FileNotFoundError:
        print(f"(the file {path} is gone)")


def _heading(text: str) -> None:
    print(styled(f"==> {text} <==", sys.stdout, bold=True), flush=True)


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
