"""Files that scripts write into their output folder, where that folder is only the node's own: they go to the output of the run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from batchmill.storage.crew import Crew
from batchmill.storage.shared_store import SharedStore

THREADS = 16
FRESH = 20_000_000
"""Nanoseconds before a look at a file in which a change may leave its time as it was: such a file is looked at again."""


class OutputFiles:
    """Uploads what has changed since the last time; ``results`` is the output of the run. Files that were removed stay there.

    A file that processes of several nodes write is the one of whoever wrote last, as with any object store.
    """

    def __init__(self, folder: Path, results: SharedStore) -> None:
        self._folder = str(folder)
        self._results = results
        self._sent: dict[str, tuple[int, int]] = {}
        self._alone = threading.Lock()

    def upload(self) -> None:
        """Every file that was written before this call is in the output when it returns; several threads may call it.

        Raises:
            StoreError: the output cannot be written; `upload` again goes on with what is left.
        """
        with self._alone:
            Crew(THREADS).work(self._changed(), self._send, self._note)

    def _changed(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for name, facts in _files(self._folder, ""):
            state = (facts.st_size, facts.st_mtime_ns)
            if self._sent.get(name) != state:
                yield name, state

    def _send(self, what: tuple[str, tuple[int, int]]) -> tuple[str, tuple[int, int] | None]:
        name, state = what
        settled = time.time_ns() - state[1] > FRESH
        try:
            self._results.put_file(name, Path(self._folder, name))
        except FileNotFoundError:
            settled = False  # removed or renamed by its script
        return name, state if settled else None

    def _note(self, sent: tuple[str, tuple[int, int] | None]) -> None:
        name, state = sent
        if state is not None:
            self._sent[name] = state


def _files(folder: str, before: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files below a folder by their relative names; a script may remove them meanwhile."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{before}{entry.name}/")
        elif entry.is_file():
            try:
                yield before + entry.name, entry.stat()
            except FileNotFoundError:
                continue
