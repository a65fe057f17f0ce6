"""What is true of a scheduler after every event, whatever came before."""

from __future__ import annotations

from collections import Counter

from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.states import DONE, FAILED, LEASED, SPLIT, WAITING


def check_invariants(scheduler: Scheduler) -> None:
    check_leases(scheduler)
    check_waiting(scheduler)
    check_nodes(scheduler)
    ended = scheduler.state.count(DONE) + scheduler.state.count(FAILED)
    assert ended == scheduler.succeeded + scheduler.failed, "states and counters agree"
    assert scheduler.items_ok + scheduler.items_failed == scheduler.items_read, "every item read has one fate"


def check_leases(scheduler: Scheduler) -> None:
    """Every leased mini-batch is in one lease, or in two while it runs a second time."""
    holders: Counter[int] = Counter()
    for lease in scheduler._leases:
        if lease.piece is None:
            held = [k for first, count in scheduler._leases.held(lease) for k in range(first, first + count)]
            assert len(held) == lease.left > 0, "a lease knows how many it holds"
            holders.update(held)
    twice = {k for k, count in holders.items() if count == 2}
    assert max(holders.values(), default=0) <= 2, "no mini-batch is in three leases"
    assert twice == set(scheduler._second._tokens), "only a second run holds what another lease holds"
    assert set(holders) == {k for k, state in enumerate(scheduler.state) if state == LEASED}, "every leased mini-batch is in a lease"
    for mini_batch, tokens in scheduler._second._tokens.items():
        first, second = (scheduler._leases[token] for token in tokens)
        assert first.node != second.node, f"{mini_batch} runs twice on two nodes"


def check_waiting(scheduler: Scheduler) -> None:
    """What is open waits in one place, or is leased; nothing is lost, nothing waits twice."""
    suspects = [(k, None) for k in scheduler._allotment._suspects]
    waiting = [*scheduler._allotment._backlog.retries, *suspects, *scheduler._quarantine.waiting]
    assert len(waiting) == len(set(waiting)), "nothing waits twice"
    wholes = {k for k, piece in waiting if piece is None}
    assert wholes == {k for k, state in enumerate(scheduler.state) if state == WAITING}, "what waits is in a queue"
    leased_pieces = {(lease.first, lease.piece) for lease in scheduler._leases if lease.piece is not None}
    for mini_batch, trouble in scheduler._trouble.items():
        assert scheduler.state[mini_batch] in (LEASED, WAITING, SPLIT), "trouble is kept for open mini-batches only"
        for piece in trouble.open_pieces:
            assert ((mini_batch, piece) in waiting) != ((mini_batch, piece) in leased_pieces), "an open piece waits or is leased"
    for mini_batch, piece in scheduler._quarantine._members:
        assert scheduler.state[mini_batch] in ((LEASED, WAITING) if piece is None else (SPLIT,)), "only what is open is quarantined"


def check_nodes(scheduler: Scheduler) -> None:
    """Nodes that leave get nothing; what is quarantined runs on a node that holds nothing else."""
    assert not scheduler._allotment._leaving & set(scheduler._allotment.hungry), "who leaves is not asked"
    assert not scheduler._allotment._leaving & scheduler._quarantine.aside, "who leaves is not set aside"
    for lease in scheduler._leases:
        if (lease.first, lease.piece) in scheduler._quarantine and lease.alone:
            assert len(scheduler._leases.of(lease.node)) == 1, "a quarantined mini-batch has its node for itself"
