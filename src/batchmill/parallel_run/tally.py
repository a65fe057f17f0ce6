"""The tally of a run: how many mini-batches and items have which fate."""

from __future__ import annotations

from batchmill.records import Counts, ItemCounts, MiniBatchCounts


class Tally:
    """Counters of ``total`` mini-batches and of their items, as far as they are known."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.items_read = 0
        self.items_ok = 0
        self.items_failed = 0
        self.succeeded = 0
        self.failed = 0
        self.retried = 0

    @property
    def remaining(self) -> int:
        return self.total - self.succeeded - self.failed

    @property
    def finished(self) -> bool:
        return self.remaining == 0

    def counts(self, items_total: int | None) -> Counts:
        """Counts so far; ``items_total`` where the plan knows it, else the items are known when all mini-batches were read."""
        total = items_total if items_total is not None else self.items_read if self.finished else None
        not_run = total - self.items_ok - self.items_failed if total is not None else None
        return Counts(
            ItemCounts(total, self.items_ok, self.items_failed, not_run),
            MiniBatchCounts(self.total, self.succeeded, self.failed, self.remaining, self.retried),
        )

    def _count_items(self, items: int, ok: int) -> None:
        self.items_read += items
        self.items_ok += ok
        self.items_failed += items - ok

    def _count_done(self, count: int, items: int, ok: int, short: int) -> None:
        self._count_items(items, ok)
        self.succeeded += count - short
        self.failed += short

    def _count_failed(self, items: int) -> None:
        self._count_items(items, 0)
        self.failed += 1

    def _count_split(self, failed: int) -> None:
        """A bisected mini-batch has ended; its items were counted piece by piece."""
        self.failed += bool(failed)
        self.succeeded += not failed
        self.retried += 1
