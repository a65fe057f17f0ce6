"""The follower of a run on a cluster: hands it to its coordinator there, then mirrors what that writes into the run folder of this machine.

It has the face of a `Coordinator`, may end at any moment, and be replaced by another one. Ray is needed only while the run is handed over;
from then on all that is looked at is the run store.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from batchmill.errors import BatchmillError, RunFailedError, UsageError
from batchmill.nodes.cluster_handle import CoordinatorHandle
from batchmill.nodes.submission import Connection, Submission
from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.earlier_runs import note
from batchmill.parallel_run.heart import BEAT, STALE
from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.progress import Progress, Silent
from batchmill.parallel_run.run import error_of
from batchmill.parallel_run.run_identity import installed
from batchmill.parallel_run.run_store import Heartbeat
from batchmill.records import Counts, ItemCounts, MiniBatchCounts, RunStatus
from batchmill.workspace.ray_cluster import ClusterError

LOOK_EVERY, LOOK_FAR_EVERY = 0.03, 0.5
"""Seconds between two looks into a folder, and into an object store."""
LOGS_EVERY, LOGS_SHARE = 2.0, 10
"""Seconds between two looks for logs, and how many times as long as a look: those of 1,000 nodes take a store many requests."""
BEGIN_PATIENCE = 120.0
"""Seconds until the coordinator has to give its first sign of life: Ray may have to start a machine for it."""


class Follower:
    """Holds the run folder while it lives. ``submitted``: from then on the run goes on without it."""

    def __init__(self, run: ClusterRun, progress: Progress | None = None) -> None:
        self.run, self.folder = run, run.folder
        self.progress = progress or Silent()
        self.submitted = False
        self._said: list[str] = []
        self._listed = 0
        self._planned = False
        self._beaten = 0.0
        self._last: tuple[int, int] | None = None
        self._logs_due = 0.0
        self._looked_at: tuple[int, int] | None = None
        self._looked = 0.0
        self._refusal: BatchmillError | None = None

    def prepare(self) -> None:
        """Hand the run over, or find that it goes on there already; returns once it has been planned.

        Raises:
            RunBusyError: another process follows it.
            UsageError: the run cannot begin (if it is new, nothing of it is left).
        """
        _heed_termination()
        self.folder.lock()
        try:
            if self.run.begun:
                self.run.refresh(logs=False)
            if self._status() is RunStatus.COMPLETED:  # since somebody decided to follow it
                self.submitted = True
                return
            if self.run.begun and self.run.alive() and self._beats():
                self.submitted = True
                self._wait_for_plan(None)
                return
        except BaseException:
            self.folder.unlock()
            raise
        self._hand_over()

    def _beats(self) -> bool:
        """Whether the heart of the coordinator still beats, or Ray is about to start it again: the last beat of one that died with its
        cluster is not old yet."""
        last, deadline = self._key(self.run.heartbeat()), time.monotonic() + 3 * BEAT
        while self._key(self.run.heartbeat()) == last:
            if time.monotonic() > deadline:
                return not CoordinatorHandle.gone(self.run.address, self.folder.id)
            time.sleep(self._pause)
        return True

    def _hand_over(self) -> None:
        new = not self.run.begun
        connection = Connection(self.run.address)
        submission = Submission(self.run)
        handle: CoordinatorHandle | None = None
        try:
            if not new:  # a request that came before a new run could begin still counts
                self.folder.cancel_request.unlink(missing_ok=True)
            order = submission.prepare()
            self.run.store.withdraw_cancel()
            self._last = self._key(self.run.heartbeat())
            connection.wait()
            self.run.begin()
            handle = CoordinatorHandle.start(order)
            self.submitted = True
            self._wait_for_plan(handle)
        except BaseException as error:
            refused = isinstance(error, (BatchmillError, OSError))
            if refused and handle is not None:
                handle.end()
            if refused or handle is None:
                submission.withdraw()
            if refused and new:
                submission.undo()
                shutil.rmtree(self.folder.path, ignore_errors=True)
            self.folder.unlock()
            if isinstance(error, OSError):
                where = f" ({error.filename})" if error.filename else ""
                raise UsageError(f"The run cannot begin: {error.strerror}{where}.", cure="Nothing was started.") from error
            if isinstance(error, ClusterError) and not new:
                cure = f"Start that cluster again, or let the run go on on another: batchmill resume {self.folder.id} --compute ray:ADDRESS"
                raise ClusterError(error.message, cure=cure) from error
            raise
        finally:
            connection.leave()

    def _wait_for_plan(self, handle: CoordinatorHandle | None) -> None:
        """Until the coordinator says that the run has begun.

        Raises:
            BatchmillError: it refused, as the class it was.
        """
        self._beaten = time.monotonic()
        while True:
            beat = self._hear()
            if beat is not None and ("refused" in beat.facts or beat.facts.get("planned")):
                break
            if handle is not None and (outcome := handle.outcome(LOOK_EVERY)) is not None:
                if "error" in outcome:
                    raise error_of(outcome)
                return
            self._hand_on_cancel()
            if time.monotonic() - self._beaten > BEGIN_PATIENCE:
                raise RunFailedError(
                    f"The coordinator of run {self.folder.id} gave no sign of life within {BEGIN_PATIENCE:g} seconds.",
                    cure=f"See whether the cluster at {self.run.address} has room for its process, then start again.",
                )
            if handle is None:
                time.sleep(self._pause)
        if "refused" in beat.facts:
            raise error_of(beat.facts["refused"])

    # --- following --------------------------------------------------------------------------------------------------------------

    def carry_out(self) -> Ending:
        """Mirror the run until it has ended; returns how, as its ledger says."""
        _heed_termination()  # Ray has handlers of its own
        started = False
        try:
            self._beaten = time.monotonic()
            while True:
                beat = self._hear()
                counts = _counts(beat.counts) if beat is not None else Counts()
                if counts.mini_batches.total:  # else it has just begun, perhaps again, and knows nothing yet
                    (self.progress.update if started else self.progress.started)(counts)
                    started = True
                self._hand_on_cancel()
                if self._worth_a_look():
                    self._mirror(last=False)
                    status = self._status()
                    if (_for_good(status) and not self._working(beat)) or self._gave_up(beat) or self._lost():
                        break
                time.sleep(self._pause)
            return self._conclude()
        finally:
            self.folder.unlock()

    def _conclude(self) -> Ending:
        self._mirror(last=True)
        ledger = Ledger(self.folder.ledger)
        try:
            status, counts, error = ledger.status, ledger.counts(), ledger.meta("error")
            same = ledger.meta("installed") == installed()
        finally:
            ledger.close()
        ended = status.ended
        ending = Ending(status if ended else RunStatus.INTERRUPTED, error if ended else self._gone, counts)
        if ending.status is RunStatus.COMPLETED and same and self.run.description["settings"]["output_action"] == "append_row":
            note(self.run.description)
        if ended:
            self.folder.cancel_request.unlink(missing_ok=True)
        self.run.names.record(self.folder, ending.status)
        self.progress.ended(ending.status, ending.counts, ending.error)
        return ending

    @property
    def _gone(self) -> str:
        if self._refusal is not None:
            return f"{self._refusal.message} Then: batchmill resume {self.folder.id}"
        return f"The coordinator on the cluster at {self.run.address} gives no sign of life. Go on: batchmill resume {self.folder.id}"

    @property
    def _pause(self) -> float:
        return LOOK_FAR_EVERY if self.run.remote else LOOK_EVERY

    def _hear(self) -> Heartbeat | None:
        """The newest heartbeat of the coordinator that was waited for, with what it said handed on."""
        beat = self.run.heartbeat()
        key = self._key(beat)
        if beat is None or key is None:
            return None
        if key != self._last:
            self._last, self._beaten = key, time.monotonic()
            self._planned = True
        if not self._planned:
            return None  # of an earlier incarnation
        if beat.facts.get("listed", 0) != self._listed:
            self._listed = beat.facts["listed"]
            self.progress.planning(self._listed)
        for text in beat.facts.get("said", ()):
            if text not in self._said:
                self._said.append(text)
                self.progress.announce(text)
        return beat

    @staticmethod
    def _key(beat: Heartbeat | None) -> tuple[int, int] | None:
        return None if beat is None else (beat.epoch, beat.beat)

    def _mirror(self, *, last: bool) -> None:
        """Take over what is new; a store that does not answer now may at the next look."""
        began = time.monotonic()
        logs = last or began >= self._logs_due
        with suppress(BatchmillError):
            self.run.refresh(logs=logs)
            if logs:
                now = time.monotonic()
                self._logs_due = now + max(LOGS_EVERY, LOGS_SHARE * (now - began))

    def _worth_a_look(self) -> bool:
        """Whether the coordinator has said something since the last look, or that was a beat ago."""
        now = time.monotonic()
        if self._looked_at == self._last and now - self._looked < BEAT:
            return False
        self._looked_at, self._looked = self._last, now
        return True

    def _working(self, beat: Heartbeat | None) -> bool:
        """Whether the coordinator of a run that has ended still has to say so."""
        return beat is not None and not beat.facts.get("over") and time.monotonic() - self._beaten < STALE

    def _gave_up(self, beat: Heartbeat | None) -> bool:
        """Whether the coordinator has said that it cannot go on: a resume may."""
        if beat is not None and "refused" in beat.facts:
            self._refusal = error_of(beat.facts["refused"])
        return self._refusal is not None

    def _lost(self) -> bool:
        """No sign of life for long, and Ray knows of no such coordinator any more."""
        if time.monotonic() - self._beaten < STALE:
            return False
        self._beaten = time.monotonic()
        return CoordinatorHandle.gone(self.run.address, self.folder.id)

    def _hand_on_cancel(self) -> None:
        if self.folder.cancel_request.exists():
            with suppress(BatchmillError):
                self.run.cancel()
                self.folder.cancel_request.unlink(missing_ok=True)

    def _status(self) -> RunStatus:
        ledger = Ledger(self.folder.ledger)
        try:
            return ledger.status
        finally:
            ledger.close()


def _heed_termination() -> None:
    """SIGTERM ends a follower as SIGINT does: in order."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _for_good(status: RunStatus) -> bool:
    """Whether the run has ended; a coordinator whose machine was stopped in order is started again elsewhere."""
    return status.ended and status is not RunStatus.INTERRUPTED


def _counts(values: Mapping[str, Any]) -> Counts:
    if not values:
        return Counts()
    return Counts(ItemCounts(**values["items"]), MiniBatchCounts(**values["mini_batches"]))
