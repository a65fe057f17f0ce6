"""The heart of a coordinator on a cluster: says that it lives and how far it is, and hears whether the run is to be cancelled."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchmill.errors import BatchmillError, LedgerFencedError
from batchmill.parallel_run.heart import BEAT
from batchmill.parallel_run.run_store import RunStore
from batchmill.records import Counts, RunStatus

SOON = 0.1
SAID_KEPT = 20


class CoordinatorBeat:
    """A `Progress` that writes heartbeats into the run store, one a second, and at once when there is news.

    ``request``: the file whose appearance cancels the run here; it is made when somebody asks for that in the store. `planning` and
    `update` raise `LedgerFencedError` when a later incarnation has beaten: whoever has nothing to commit would not find out.
    """

    def __init__(self, store: RunStore, request: Path) -> None:
        self._store = store
        self._request = request
        self.epoch = 0
        self._status = str(RunStatus.RUNNING)
        self._counts: dict[str, Any] = {}
        self._facts: dict[str, Any] = {"listed": 0, "said": [], "planned": False}
        self._refusal: dict[str, Any] | None = None
        self._replaced = False
        self._news = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="batchmill-beat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self, *, over: bool = True) -> None:
        """The last beat says how it ended, and nothing is written after it; without ``over`` another coordinator goes on, and beats."""
        self._end.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join()
        if over:
            self._facts["over"] = True
            if self._refusal is not None:
                self._facts["refused"] = self._refusal
            self._beat()

    # --- progress ---------------------------------------------------------------------------------------------------------------

    def planning(self, found: int) -> None:
        self._refuse_if_replaced()
        self._facts["listed"] = found

    def announce(self, text: str) -> None:
        self._facts["said"] = [*self._facts["said"], text][-SAID_KEPT:]
        self._news.set()

    def planned(self) -> None:
        """The run has begun: nothing that bad input can stop is left."""
        self._facts["planned"] = True
        self._news.set()

    def started(self, counts: Counts) -> None:
        self._counts = counts.as_dict()
        self.planned()

    def update(self, counts: Counts) -> None:
        self._refuse_if_replaced()
        self._counts = counts.as_dict()

    def ended(self, status: RunStatus, counts: Counts, error: str | None) -> None:
        self._status, self._counts = str(status), counts.as_dict()

    def refused(self, error: BatchmillError) -> None:
        """The run did not begin, or could not go on; the last beat says so."""
        self._refusal = told(error)

    # --- the thread -------------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._end.is_set():
            self._beat()
            with suppress(BatchmillError, OSError):
                if not self._request.exists() and self._store.cancel_requested():
                    self._request.touch()
            self._news.wait(BEAT)
            self._news.clear()
            self._end.wait(SOON)  # what follows the news travels with it

    def _beat(self) -> None:
        with suppress(BatchmillError, OSError):  # the next one may arrive
            last = self._store.alive() if self.epoch else None
            if last is not None and last.epoch > self.epoch:
                self._replaced = True  # one that was only thought dead has nothing to say any more
            else:
                self._store.beat(self.epoch, self._status, self._counts, **self._facts)

    def _refuse_if_replaced(self) -> None:
        if self._replaced:
            raise LedgerFencedError(f"A later incarnation of the coordinator goes on with the run in {self._store.files.place}.")


def told(error: BatchmillError) -> dict[str, Any]:
    """An error as plain data."""
    return {"error": error.message, "cure": error.cure, "class": type(error).__name__, "time": time.time()}
