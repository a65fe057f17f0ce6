"""Which run on a cluster writes into an output: a note beside it, for whoever would write there too, on whatever machine.

The lock of the output decides; the note says whose it is, and keeps others out where locks do not reach from machine to machine.
"""

from __future__ import annotations

import json

from batchmill.errors import ObjectMissingError, OutputBusyError
from batchmill.parallel_run.heart import Heart
from batchmill.parallel_run.run_store import FOLDER, RunStore

NOTE = f"{FOLDER}/holder.json"


class OutputHolder:
    """The run ``run_id``, called ``name``, that wants the output in which its ``store`` lies."""

    def __init__(self, store: RunStore, run_id: str, name: str) -> None:
        self._store = store
        self._run_id, self._name = run_id, name

    def refuse_if_held(self) -> None:
        """Look whether another run works there.

        Raises:
            OutputBusyError: one does.
        """
        other = self._other()
        if other is not None and Heart(other[0], RunStore(self._store.results.place, other[0]).alive).beats():
            raise _busy(self._store.results.place, other)

    def named(self, error: OutputBusyError) -> OutputBusyError:
        """The same error with the name of the run that holds the lock, where that is known."""
        other = self._other()
        return error if other is None else _busy(self._store.results.place, other)

    def take(self) -> None:
        """The output is ours now."""
        self._store.results.put(NOTE, json.dumps([self._run_id, self._name]).encode())

    def leave(self) -> None:
        """The note is gone, if it was ours."""
        if self.ours:
            self._store.results.delete(NOTE)

    @property
    def ours(self) -> bool:
        """Whether this run was the last one that took the output."""
        last = self._last()
        return last is not None and last[0] == self._run_id

    def _other(self) -> tuple[str, str] | None:
        last = self._last()
        return None if last is None or last[0] == self._run_id else last

    def _last(self) -> tuple[str, str] | None:
        try:
            run_id, name = json.loads(self._store.results.read(NOTE))
        except (ObjectMissingError, ValueError):
            return None
        return run_id, name


def _busy(place: str, other: tuple[str, str]) -> OutputBusyError:
    return OutputBusyError(
        f"The output folder {place} is being written by run {other[0]} ({other[1]}).",
        cure="Wait for it, cancel it, or choose another --output; nothing was started.",
    )
