"""Suspects: mini-batches that were running whenever the coordinator died, and may have taken it down (decision 8)."""

from __future__ import annotations

import json
import time
from pathlib import Path

from batchmill.parallel_run.events import ErrorFacts
from batchmill.parallel_run.instructions import Instruction
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.scheduler import COORDINATOR_DIED, Scheduler
from batchmill.worker.slots import in_flight

DEATHS_BEFORE_SUSPICION = 3
DIED_WITH_IT = ErrorFacts(
    COORDINATOR_DIED, "The coordinator died again while this mini-batch ran alone. Look for what takes the whole machine down (memory?)."
)


def suspect(slots_folder: Path, ledger: Ledger, scheduler: Scheduler) -> list[Instruction]:
    """After three deaths without a commit between, what was in flight is suspect and runs alone; nothing is charged before.
    When a coordinator dies again while a suspect runs alone, that is a try of it, and charged; returns what that makes of it."""
    slots = sorted(slots_folder.glob("epoch*"), key=lambda path: int(path.name[5:]))
    found = in_flight(str(slots[-1])) if slots else []
    for path in slots:
        path.unlink()
    suspects = [k for k in json.loads(ledger.meta("suspects") or "[]") if scheduler.is_open(k)]
    guilty = found[0] if len(found) == 1 and found[0] in suspects else None
    if int(ledger.meta("deaths") or 0) >= DEATHS_BEFORE_SUSPICION:
        suspects = sorted({*suspects, *(k for k in found if k < scheduler.total)})
    with ledger.transaction():
        ledger.put(suspects=json.dumps(suspects))
    scheduler.suspect(suspects)
    return [] if guilty is None else scheduler.charge(guilty, DIED_WITH_IT, time.time())
