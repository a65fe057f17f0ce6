"""Bringing a new scheduler to the state that a ledger proves: what a resumed run begins with."""

from __future__ import annotations

from collections import Counter

from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.states import FAILED


def restore(ledger: Ledger, scheduler: Scheduler) -> None:
    """Bring a new scheduler to the state that the ledger proves."""
    for first, count, _, items, ok, short in ledger.ranges():
        scheduler.restore_done(first, count, items, ok, short)
    for mini_batch, items in ledger.failed():
        scheduler.restore_failed(mini_batch, items)
    bisected = set()
    for mini_batch, items, ok, ended in ledger.splits():
        bisected.add(mini_batch)
        if ended:
            scheduler.restore_split(mini_batch, items, ok, ended=True, settled=[])
        else:
            _restore_open_split(ledger, scheduler, mini_batch, items)
    for mini_batch, tries, memory in ledger.tries_of_whole():
        if mini_batch not in bisected:
            retried = tries > 1 or scheduler.state[mini_batch] != FAILED
            scheduler.restore_tries(mini_batch, tries, retried=retried, memory=memory)


def _restore_open_split(ledger: Ledger, scheduler: Scheduler, mini_batch: int, items: int) -> None:
    pieces, tries = ledger.pieces(mini_batch), list(ledger.tries(mini_batch))
    scheduler.restore_split(
        mini_batch,
        items,
        sum(piece[3] for piece in pieces),
        ended=False,
        settled=[(piece[0], piece[1]) for piece in pieces],
        tries=Counter((one["piece_first"], one["piece_count"]) for one in tries if one["piece_first"] is not None),
        memory=any(one["memory"] for one in tries),
    )
