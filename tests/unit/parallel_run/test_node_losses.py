"""Nodes that die, drain and join: what they held runs elsewhere, and what they may have died of runs alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from batchmill.parallel_run.events import ErrorFacts, Hungry, NodeGaveUp, NodeLost, Returned
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.quarantine import LOSSES, NODE_DIED
from batchmill.records import RunStatus
from tests.unit.parallel_run.scheduling import Held, World, done

TOLERANT = Policy(run_max_try=2, error_threshold=-1)


@contextmanager
def world(items: Sequence[int], policy: Policy = TOLERANT, nodes: int = 2) -> Iterator[World]:
    made = World(items, policy, nodes)
    try:
        yield made
    finally:
        made.close()


def lose_with_everything(world: World, times: int, node: str = "node0", want: int = 100) -> None:
    """The node takes all there is, and dies, again and again."""
    for _ in range(times):
        world.hungry(node, want)
        world.lose(node)
        world.join(node)


def held_by(world: World, node: str) -> list[tuple[int, int]]:
    return [(held.first, held.count) for held in world.nodes.held if held.node == node]


# --- quarantine -----------------------------------------------------------------------------------------------------------------------


def test_what_three_nodes_died_of_runs_alone() -> None:
    with world([1] * 3, nodes=1) as w:
        lose_with_everything(w, LOSSES - 1)
        w.hungry("node0", 100)
        assert held_by(w, "node0") == [(0, 3)], "twice may be chance"
        w.lose("node0")
        w.join("node0")
        for mini_batch in range(3):
            w.hungry("node0", 100)
            assert held_by(w, "node0") == [(mini_batch, 1)]
            assert w.scheduler.hungry("node0", 100) == [], "nothing else meanwhile"
            w.succeed(w.nodes.held[0])
        assert w.scheduler.finished
        assert w.scheduler.retried == 0, "that nodes died was no try"


def test_nobody_is_suspected_when_a_node_knows_why_it_ends() -> None:
    """A machine with a full disk, on which one node after the other gets the same mini-batches."""
    with world([1] * 3) as w:
        for _ in range(LOSSES + 1):
            w.hungry("node0", 100)
            assert held_by(w, "node0") == [(0, 2)]
            w.nodes.held.clear()
            w.tell(NodeLost("node0", "its disk is full", by_itself=True))
            w.join("node0")
        w.work_off()
        assert w.scheduler.succeeded == 3


def test_a_death_alone_is_a_try() -> None:
    with world([4, 1], nodes=1) as w:
        lose_with_everything(w, LOSSES)
        for attempt in (1, 2):
            w.hungry("node0", 100)
            assert held_by(w, "node0")[0] == (0, 1) if attempt == 1 else (1, 1)
            w.lose("node0")
            w.join("node0")
        tries = list(w.ledger.tries())
        assert {one["error_class"] for one in tries} == {NODE_DIED}
        assert tries[0]["message"] == "node0 died while nothing else ran on it (killed)."
        lose_with_everything(w, 2)
        assert w.scheduler.finished
        assert w.failed_items() == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)}, "not bisected: each part would take another node"
        assert len(list(w.ledger.tries())) == 4


def test_other_nodes_go_on() -> None:
    with world([1] * 30) as w:
        lose_with_everything(w, LOSSES, want=1)
        w.hungry("node1", 3)
        w.hungry("node0", 3)
        w.hungry("node0", 3)
        w.hungry("node1", 3)
        assert held_by(w, "node1") == [(0, 1)], "it holds nothing else"
        assert held_by(w, "node0") == [(1, 3), (4, 3)]
        w.succeed(next(held for held in w.nodes.held if held.node == "node1"))
        assert held_by(w, "node1") == [(7, 3)], "and then it works as before"


def test_a_busy_node_is_emptied_for_it() -> None:
    with world([1] * 30) as w:
        w.hungry("node1", 3)
        lose_with_everything(w, LOSSES, want=1)
        w.drain("node0")
        w.hungry("node1", 3)
        assert held_by(w, "node1") == [(0, 3)], "it is set aside, and gets nothing more"
        w.succeed(w.nodes.held[0], 0, 3)
        assert held_by(w, "node1") == [(3, 1)]


def test_the_losses_of_a_drained_node_are_nobodys_fault() -> None:
    with world([1] * 3, nodes=1) as w:
        for _ in range(2 * LOSSES):
            w.hungry("node0", 3)
            w.drain("node0")
            w.lose("node0")
            w.join("node0")
        w.hungry("node0", 3)
        assert held_by(w, "node0") == [(0, 3)]


def test_a_piece_that_takes_nodes_down_fails_in_the_end() -> None:
    with world([4], Policy(run_max_try=1, error_threshold=-1), nodes=1) as w:
        w.hungry("node0")
        w.fail(w.nodes.held[0])
        deaths = 0
        while not w.scheduler.finished:
            w.hungry("node0", 1)
            piece = w.nodes.held[0].piece
            assert piece is not None
            if piece[0] <= 2 < piece[0] + piece[1]:
                w.lose("node0")
                w.join("node0")
                deaths += 1
            else:
                w.succeed(w.nodes.held[0])
        assert w.failed_items() == {(0, 2)}
        assert deaths == LOSSES + 1 + 1, "chance, then the half, then the item: each try is charged"


# --- draining -------------------------------------------------------------------------------------------------------------------------


def test_a_draining_node_gets_nothing_and_its_outcomes_count() -> None:
    with world([1] * 8) as w:
        w.hungry("node0", 4)
        w.drain("node0")
        w.hungry("node0", 4)
        assert held_by(w, "node0") == [(0, 4)]
        held = w.nodes.held[0]
        w.succeed(held, 0, 2)
        w.nodes.held = []
        w.tell(Returned("node0", held.token, 2, 2))
        w.hungry("node1", 8)
        assert held_by(w, "node1") == [(2, 2), (4, 4)], "what it had not begun, and the rest: all of it is the other one's share now"
        assert w.scheduler.succeeded == 2


def test_a_lost_node_that_asks_once_more_gets_nothing_until_it_joins_again() -> None:
    with world([1] * 8) as w:
        w.lose("node0")
        w.tell(Hungry("node0", 4))
        assert w.nodes.held == []
        w.join("node0")
        w.hungry("node0", 4)
        assert held_by(w, "node0") == [(0, 4)]


def test_nodes_that_join_later_get_work() -> None:
    with world([1] * 9) as w:
        w.hungry("node0", 9)
        w.join("node7")
        w.hungry("node7", 9)
        assert held_by(w, "node7") == [(5, 3)], "its share of what is left, now that there are three"


# --- the job --------------------------------------------------------------------------------------------------------------------------


def ended(world: World) -> tuple[RunStatus, str | None] | None:
    world.job._look_around(world.now)
    return world.job._stop


def test_a_run_whose_last_node_is_lost_waits_for_others() -> None:
    with world([1] * 4) as w:
        w.job._limits = type(w.job._limits)(no_progress=300.0, first_progress=600.0)
        for node in ("node0", "node1"):
            w.tell(NodeLost(node, "its machine was taken away"))
        w.now = 599.0
        assert ended(w) is None
        w.now = 601.0
        assert ended(w) == (
            RunStatus.FAILED,
            "No node is left, and none joined within 600 seconds (progress_update_timeout). "
            f"node1 was lost last (its machine was taken away). Give the cluster nodes again, then: batchmill resume {w.folder.id}",
        )


def test_a_run_whose_last_node_gives_up_ends() -> None:
    with world([1] * 4) as w:
        why = ErrorFacts("StoreError", "the store does not answer")
        w.tell(NodeLost("node0", "killed"))
        assert ended(w) is None
        w.tell(NodeGaveUp("node1", why))
        assert ended(w) == (RunStatus.FAILED, "node1 gave up: StoreError: the store does not answer")


def test_who_looks_on_is_told_that_a_node_is_missing() -> None:
    with world([1] * 4, nodes=3) as w:
        w.tell(NodeGaveUp("node0", ErrorFacts("UsageError", "node0 on far: /data cannot be seen there.")))
        w.tell(NodeGaveUp("node1", ErrorFacts("UsageError", "node1 on far: /data cannot be seen there.")))
        text = "node0 gave up, the run goes on without it: UsageError: node0 on far: /data cannot be seen there."
        assert w.said == [text]
        assert w.ledger.warnings() == [(None, "node0", text)]


@pytest.mark.parametrize("joins", [True, False])
def test_a_node_that_gives_up_gets_nothing_more(joins: bool) -> None:
    with world([1] * 4) as w:
        w.hungry("node1", 1)
        w.tell(NodeGaveUp("node0", ErrorFacts("WorkerExited", "no")))
        w.hungry("node0", 1)
        assert held_by(w, "node0") == []
        if joins:
            w.join("node0")
            w.hungry("node0", 1)
            assert held_by(w, "node0") == [(1, 1)]


def test_leases_on_their_way_to_a_node_that_gives_up_run_elsewhere() -> None:
    """Nobody there hears of them any more."""
    with world([1] * 4) as w:
        w.hungry("node0", 2)
        w.nodes.held.clear()
        w.tell(NodeGaveUp("node0", ErrorFacts("PartsLost", "the store is away")))
        w.hungry("node1", 4)
        assert sorted(held_by(w, "node1")) == [(0, 2), (2, 2)]
        assert w.scheduler.retried == 0


def test_a_run_goes_on_while_a_replacement_is_on_its_way() -> None:
    with world([1] * 4) as w:
        w.tell(NodeLost("node0", "killed"))
        w.nodes.names = ("node1", "node2")
        w.tell(NodeGaveUp("node1", ErrorFacts("ValueError", "no GPU")))
        assert ended(w) is None
        w.nodes.names = ()
        w.tell(NodeGaveUp("node2", ErrorFacts("ValueError", "no GPU")))
        assert ended(w) == (RunStatus.FAILED, "node2 gave up: ValueError: no GPU")


def test_late_outcomes_of_a_lost_node_change_nothing() -> None:
    with world([1] * 4) as w:
        w.hungry("node0", 4)
        (late,) = w.lose("node0")
        assert isinstance(late, Held)
        w.tell(done(late, 0, 1, [1]))
        assert w.scheduler.succeeded == 0
        assert w.ledger.sums() == (0, 0, 0)
