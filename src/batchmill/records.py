"""The plain data that crosses rooms. Frozen, no behaviour beyond arithmetic on their own fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class RunStatus(StrEnum):
    """Status words of a run (SDK words are mapped at the SDK's border)."""

    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    INTERRUPTED = "Interrupted"

    @property
    def ended(self) -> bool:
        """True where nothing more happens without a new command."""
        return self not in (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Items (files or rows). ``total`` and ``not_run`` are None until every mini-batch of a table has been read once."""

    total: int | None = None
    succeeded: int = 0
    failed: int = 0
    not_run: int | None = None


@dataclass(frozen=True, slots=True)
class MiniBatchCounts:
    """Mini-batches: total = succeeded + failed + not_run; ``retried`` counts those that needed more than one try."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    not_run: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """The fates of a run's items and mini-batches."""

    items: ItemCounts = field(default_factory=ItemCounts)
    mini_batches: MiniBatchCounts = field(default_factory=MiniBatchCounts)

    def as_dict(self) -> dict[str, dict[str, int | None]]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What ``runs list`` and ``runs show`` print about one run."""

    id: str
    name: str
    status: RunStatus
    output: str | None
    counts: Counts
    started: str | None
    ended: str | None
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status.value,
            "output": self.output,
            "counts": self.counts.as_dict(),
            "started": self.started,
            "ended": self.ended,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One line of ``dead_letters.jsonl``: an item (or, with ``item`` None, several items) that failed for good."""

    id: int
    mini_batch: int
    item: str | None
    position: int | None
    items_failed: int
    attempt: int
    worker: str
    error_class: str
    message: str
    traceback: str | None
    peak_memory: int | None
    replayed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What a line of the file holds."""
        return asdict(self) | {"replayed": bool(self.replayed)}
