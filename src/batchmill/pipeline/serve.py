"""Serving a workspace: its schedules fire, and runs of pipelines whose process has died are taken up again.

Any number of processes may serve one workspace, and each may be killed at any moment: what is decided is written down first, in one
transaction, and what was written down is carried out by whoever lives.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from batchmill.errors import BatchmillError, RegistryError, RunBusyError
from batchmill.pipeline.datastore_poll import poll, to_look_at
from batchmill.pipeline.schedule_fires import ScheduleFires
from batchmill.pipeline.schedule_record import Fire, Outcome, ScheduleRecord
from batchmill.pipeline.schedule_turn import schedule_rows, take_due, take_queued
from batchmill.pipeline.schedule_watch import ScheduleWatch
from batchmill.pipeline.scheduled_run import start_scheduled
from batchmill.pipeline.serving import Serving
from batchmill.records import RunStatus
from batchmill.workspace.holder import BEAT
from batchmill.workspace.registered_run import PIPELINE_RUN, SCRIPT_RUN

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

TURN = 1.0
"""Seconds between two looks at the schedules."""
MOST_TRIES = 3
MOST_TOLD = 5
CARE = 5.0
"""Seconds between two looks at runs that nobody works at any more."""


def utc_now() -> datetime:
    """The moment."""
    return datetime.now(UTC)


class Server:
    """Serves one workspace; `turn` is one look at all there is to do, `run` goes on until it is told to end.

    ``now`` is the clock of the schedules, ``say`` takes one line for each thing that was done.
    """

    def __init__(self, workspace: Workspace, say: Callable[[str], None], now: Callable[[], datetime] = utc_now) -> None:
        self._workspace, self._say, self._now = workspace, say, now
        self._in_hand: deque[Fire] = deque()
        self._told: dict[str, str] = {}
        self._tried: dict[str, tuple[int, int]] = {}
        self._broken: BaseException | None = None
        self._watch = ScheduleWatch(workspace, say)
        self._stop: threading.Event | None = None
        self._serving: Serving | None = None
        self._beaten = float("-inf")

    # --- one look ------------------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Look once: schedules, datastores, runs that are to be taken up."""
        self.look_at_datastores()
        self.fire()
        self.take_up_runs()

    def fire(self) -> None:
        """Take what is due, then start it. Between two starts what has become due meanwhile is taken, so that nothing grows late."""
        self._in_hand.extend(ScheduleFires(self._workspace).orphans())
        self._take()
        taken = monotonic()
        while self._in_hand and not self._ends():
            fire = self._in_hand.popleft()
            try:
                self._start(fire)
            except RegistryError:
                self._in_hand.appendleft(fire)
                raise
            if monotonic() - taken > TURN:
                self._beat()
                self._take()
                taken = monotonic()

    def _take(self) -> None:
        for record in self._watch.due(self._now()):
            found = take_due(self._workspace, record, self._now())
            self._in_hand.extend(fire for fire in found if fire.outcome == Outcome.STARTING)
            self._tell(record, found)
            self._watch.remember(schedule_rows(self._workspace).get(record.id) or record)
        self._in_hand.extend(take_queued(self._workspace))

    def _beat(self) -> None:
        """Say, from time to time, that this process lives and works at the fires in its hand."""
        if monotonic() - self._beaten > BEAT.total_seconds() / 2:
            if self._serving is not None:
                self._serving.beat()
            ScheduleFires(self._workspace).beat([fire.id for fire in list(self._in_hand)])
            self._beaten = monotonic()

    def _ends(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _start(self, fire: Fire) -> None:
        record = schedule_rows(self._workspace).get(fire.schedule_id)
        if record is None:
            return
        outcome = start_scheduled(self._workspace, record, fire)
        about = f" for {fire.path}" if fire.path else ""
        if outcome is Outcome.STARTED:
            self._say(f"Schedule {record.name} ({record.id}) started run {fire.run_id}{about}: {fire.reason}.")
        elif outcome is Outcome.FAILED:
            note = next((one.note for one in ScheduleFires(self._workspace).list(record.id) if one.id == fire.id), "")
            self._say(f"Schedule {record.name} ({record.id}) could not start a run{about}: {note}")

    def _tell(self, record: ScheduleRecord, fires: list[Fire]) -> None:
        missed = [fire for fire in fires if fire.outcome == Outcome.MISSED]
        if missed:
            first, last = missed[-1].planned, missed[0].planned
            self._say(
                f"Schedule {record.name} ({record.id}) missed {len(missed)} fires, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC."
            )
        kept = [fire for fire in fires if fire.outcome in (Outcome.SKIPPED, Outcome.QUEUED)]
        for fire in kept[:MOST_TOLD]:
            about = f" for {fire.path}" if fire.path else ""
            self._say(f"Schedule {record.name} ({record.id}): {fire.outcome.lower()}{about}, {fire.note}.")
        if len(kept) > MOST_TOLD:
            more = f"{len(kept) - MOST_TOLD:,} more"
            self._say(f"Schedule {record.name} ({record.id}): {more} like these. See batchmill schedules fires {record.id}")

    def look_at_datastores(self) -> None:
        """Look at the folders whose time it is; what is found is started by `fire`."""
        for schedule_id in to_look_at(self._workspace, self._now()):
            record = schedule_rows(self._workspace).get(schedule_id)
            if record is not None and not self._ends():
                found = poll(self._workspace, record, self._now(), self._say)
                self._in_hand.extend(fire for fire in found if fire.outcome == Outcome.STARTING)
                self._tell(record, found)

    def take_up_runs(self) -> None:
        """Take up runs of pipelines and scripts whose process has died. Parallel runs of ``batchmill run`` are left to who began them."""
        from batchmill.pipeline.runner import resume_run

        registry = self._workspace.registry
        for run in registry.runs(kind=(PIPELINE_RUN, SCRIPT_RUN), status=(RunStatus.QUEUED, RunStatus.RUNNING), limit=None):
            if run.live_status != RunStatus.INTERRUPTED or not run.details.get("graph") or not self._may_try(run):
                continue
            with suppress(RunBusyError):  # somebody else was faster
                resume_run(self._workspace, run.id)
                self._say(f"Run {run.id} ({run.name}) was interrupted, and goes on.")

    def _may_try(self, run: RegisteredRun) -> bool:
        """A runner that dies before it takes the run up, which its own count of deaths does not see, is not started for ever."""
        attempts, times = self._tried.get(run.id, (run.attempts, 0))
        times = times + 1 if attempts == run.attempts else 1
        self._tried[run.id] = (run.attempts, times)
        if times == MOST_TRIES + 1:
            self._say(f"Run {run.id} ({run.name}) cannot be taken up: its process ends at once. See {run.folder}/runner.txt")
        return times <= MOST_TRIES

    # --- for ever ------------------------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set. A database that is out of reach is waited for; a defect ends it."""
        self._stop, self._serving = stop, Serving(self._workspace)
        self._serving.begin()
        looker = threading.Thread(target=self._look_on, args=(stop,), name="batchmill-datastores", daemon=True)
        looker.start()
        cared = float("-inf")
        try:
            while not stop.is_set():
                if self._patiently(self.fire) and monotonic() - cared > CARE:
                    self._patiently(self.take_up_runs)
                    cared = monotonic()
                self._patiently(self._beat)
                stop.wait(TURN)
        finally:
            stop.set()
            looker.join(timeout=5)
            with suppress(RegistryError):
                self._serving.end()
        if self._broken is not None:
            raise self._broken

    def _look_on(self, stop: threading.Event) -> None:
        """A store that does not answer must not hold the clock up."""
        try:
            while not stop.is_set():
                self._patiently(self.look_at_datastores)
                stop.wait(TURN)
        except BaseException as error:
            self._broken = error
            stop.set()

    def _patiently(self, work: Callable[[], None]) -> bool:
        """Do it; False where it could not be done. The same trouble is told once."""
        name = work.__qualname__
        try:
            work()
        except BatchmillError as error:
            if self._told.get(name) != error.line:
                self._told[name] = error.line
                self._say(error.line)
            return False
        self._told.pop(name, None)
        return True
