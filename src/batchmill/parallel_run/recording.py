"""Recording: what the scheduler decided, as rows of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from batchmill.parallel_run.events import TryFailed
from batchmill.parallel_run.instructions import Accept, BeginSplit, EndSplit, FailPiece, FailWhole, Instruction, RecordTry
from batchmill.parallel_run.ledger import Ledger


class Recorder:
    """Writes decisions down.

    Args:
        ledger: where to.
        item_name: what an item (mini-batch, position; -1: unread) is called where no worker can say.
    """

    def __init__(self, ledger: Ledger, item_name: Callable[[int, int], str] | None) -> None:
        self._ledger = ledger
        self._item_name = item_name

    def record(self, instructions: Iterable[Instruction]) -> None:
        """One row or a few for each decision (inside a transaction)."""
        ledger = self._ledger
        for one in instructions:
            if isinstance(one, Accept):
                ledger.add_done(one.done)
                if one.done.notes:
                    ledger.add_notes(one.done, one.attempt)
            elif isinstance(one, RecordTry):
                ledger.add_try(one.event, one.attempt)
            elif isinstance(one, BeginSplit):
                ledger.add_split(one.mini_batch, one.items, 0, ended=False)
            elif isinstance(one, FailPiece):
                ledger.add_failed_piece(one.event.mini_batch, one.piece, one.event.worker)
                self._letter(one.event, 1, one.piece[0], one.attempt)
            elif isinstance(one, FailWhole):
                ledger.add_failed(one.event.mini_batch, one.items)
                self._letter(one.event, one.items, 0 if one.items == 1 else None, one.attempt)
            elif isinstance(one, EndSplit):
                ledger.add_split(one.mini_batch, one.items, one.ok, ended=True)

    def _letter(self, event: TryFailed, items: int, position: int | None, attempt: int) -> None:
        item = event.item if items == 1 else None
        if items == 1 and item is None and position is not None and self._item_name is not None:
            unread = event.items is None and event.status.startswith("LOAD")
            item = self._item_name(event.mini_batch, -1 if unread else position)  # no worker could say
        error = event.error
        self._ledger.add_letter(
            event.mini_batch, item, position, items, attempt, event.worker, error.error_class, error.message, error.traceback, error.peak
        )
