"""The run folder of a run on a cluster, in its output store: ``OUTPUT/.batchmill/<run id>/``. Where each thing lies."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from batchmill.errors import ObjectMissingError
from batchmill.storage.object_store import RETRY_TIMEOUT
from batchmill.storage.shared_store import SharedStore, shared_store

FOLDER = ".batchmill"
SETTINGS = "settings.json"
LEDGER = "ledger"
PACKS = "packs"
PLAN = "plan"
PUBLISHED = f"{PLAN}/published"
"""Names the folder of the plan that holds: of several incarnations that plan, whoever creates this is the one whose plan does."""
SNAPSHOT = "snapshot.zip"
PARTS = "parts"
LOGS = "logs"
DEAD_LETTERS = "dead_letters.jsonl"
ALIVE = "alive.json"
CANCEL = "cancel"
SIDE = "side"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of the coordinator. ``beat`` counts up within an epoch: a reader whose clock is another one looks whether it
    moves. ``time`` is the coordinator's (Unix time, s)."""

    epoch: int
    beat: int
    status: str
    time: float
    counts: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def plan_place(files: SharedStore) -> str | None:
    """The folder in which the published plan of a run lies; None where there is none yet."""
    try:
        return files.read(PUBLISHED).decode()
    except ObjectMissingError:
        return None


class RunStore:
    """What coordinator, nodes and followers of one run share.

    ``files`` is the run folder, ``parts`` the folder of result bytes in it (names of parts in the ledger are relative to that),
    ``results`` the output itself. ``output`` is a folder or a URL, datastores and names already resolved.
    """

    def __init__(self, output: str, run_id: str, retry_timeout: float = RETRY_TIMEOUT) -> None:
        self.results: SharedStore = shared_store(output, retry_timeout)
        self.files: SharedStore = self.results.below(f"{FOLDER}/{run_id}")
        self.parts: SharedStore = self.files.below(PARTS)
        self._beats = 0

    def beat(self, epoch: int, status: str, counts: dict[str, Any], **facts: Any) -> None:
        """Give a sign of life."""
        self._beats += 1
        beat = Heartbeat(epoch, self._beats, status, time.time(), counts, facts)
        self.files.put(ALIVE, json.dumps(asdict(beat)).encode(), durable=False)

    def alive(self) -> Heartbeat | None:
        """The last sign of life, if there ever was one that this version can read."""
        try:
            return Heartbeat(**json.loads(self.files.read(ALIVE)))
        except (ObjectMissingError, ValueError, TypeError):
            return None

    def request_cancel(self) -> None:
        """Ask the coordinator to end the run."""
        self.files.put(CANCEL, b"cancel\n")

    def cancel_requested(self) -> bool:
        """Whether somebody asked for that."""
        try:
            self.files.read(CANCEL, 0, 1)
        except ObjectMissingError:
            return False
        return True

    def withdraw_cancel(self) -> None:
        """A run that is resumed goes on."""
        self.files.delete(CANCEL)

    def remove_spent(self) -> None:
        """What nobody needs once the run is completed: result bytes and folders that answers named."""
        for folder in (PARTS, SIDE):
            self.files.clear(folder)
        self.files.delete(CANCEL)
