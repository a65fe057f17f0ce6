"""What the Ray engine decides, without Ray: actors that arrive as the test says, and a clock that it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batchmill.nodes.node_order import Abort, Answer, Drain, Finish, Message, NodeOrder, PlanOrder, Revoke, Tasks
from batchmill.nodes.ray import Bounds, RayEngine
from batchmill.nodes.ray_actors import Arrival, Batch, Dead, Given, Refused, Started, Taken, Unanswered, trouble
from batchmill.parallel_run.events import Asked, ErrorFacts, Event, Hungry, NodeConfig, NodeDraining, NodeGaveUp, NodeJoined, NodeLost, Task
from batchmill.workspace.ray_cluster import ClusterNode

BOUNDS = Bounds(take=5, silence=40, start=120, abort=3, look=1)


def order(nodes: int = 2) -> NodeOrder:
    config = NodeConfig(
        run_id="run", run_folder=Path(), epoch=1, plan_folder=Path("plan"), script=Path("snapshot/s.py"), source=Path("snapshot"),
        arguments=(), output_dir=Path("output"), output_action="append_row", with_header=False, level="INFO", workers=2, node_count=nodes,
        mini_batches=100, remote=True, cache_bytes=0, retry_timeout=1, run_timeout=60, init_timeout=60, read_timeout=60,
        shutdown_timeout=60, python="python",
    )  # fmt: skip
    return NodeOrder(config, "s3://bucket/out", "snapshot", PlanOrder(()))


@dataclass
class FakeFleet:
    """Remembers what it was told; what is put into ``coming`` arrives at the next wait, which takes as long as it may."""

    clock: list[float]
    cluster: list[ClusterNode]
    coming: list[Arrival] = field(default_factory=list)
    launched: dict[str, str | None] = field(default_factory=dict)
    takes: list[tuple[str, int]] = field(default_factory=list)
    gives: list[tuple[str, int, list[Message]]] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    closed: bool = False

    def machines(self) -> Sequence[ClusterNode]:
        return self.cluster

    def launch(self, node: str, machine: str | None) -> None:
        self.launched[node] = machine

    def take(self, node: str, number: int, timeout: float) -> None:
        self.takes.append((node, number))

    def give(self, node: str, number: int, messages: Sequence[Message]) -> None:
        self.gives.append((node, number, list(messages)))

    def wait(self, timeout: float) -> Sequence[Arrival]:
        if not self.coming:
            self.clock[0] += max(timeout, 0.01)
        coming, self.coming = self.coming, []
        return coming

    def kill(self, node: str) -> None:
        self.killed.append(node)

    def close(self) -> None:
        self.closed = True


class Play:
    """A run of the engine that the test directs."""

    def __init__(self, nodes: int = 2, machines: int = 2, granted: int | None = None) -> None:
        self.clock = [100.0]
        self.fleet = FakeFleet(self.clock, [ClusterNode(f"m{n}", f"m{n}", total={"CPU": 2}, available={"CPU": 2}) for n in range(machines)])
        self.said: list[str] = []
        self.engine = RayEngine(
            order(nodes),
            {"CPU": 2},
            granted=granted,
            announce=self.said.append,
            bounds=BOUNDS,
            fleet=self.fleet,
            clock=lambda: self.clock[0],
        )

    def hear(self, *arrivals: Arrival) -> list[Event]:
        self.fleet.coming += arrivals
        return self.engine.step(0)

    def started(self) -> Play:
        self.engine.start()
        for name, machine in self.fleet.launched.items():
            self.hear(Started(name, machine or "late"))
        return self

    def pass_time(self, seconds: float, *talking: str) -> list[Event]:
        """Time passes; ``talking``: nodes that answer meanwhile."""
        events, until = [], self.clock[0] + seconds
        while self.clock[0] < until:
            self.fleet.coming += [Taken(name, Batch((), False)) for name in talking]
            events += self.engine.step(0)
            self.clock[0] += 1
        return events


def test_nodes_go_to_machines_with_room_and_join_when_they_live() -> None:
    play = Play()
    assert play.engine.nodes == ["node0", "node1"]
    play.engine.start()
    assert play.fleet.launched == {"node0": "m0", "node1": "m1"}
    assert play.hear(Started("node1", "m1")) == [NodeJoined("node1")]
    assert play.fleet.takes == [("node1", 0)]


def test_without_room_a_node_waits_for_a_machine() -> None:
    play = Play(machines=1)
    play.engine.start()
    assert play.fleet.launched == {"node0": "m0", "node1": None}
    assert play.pass_time(BOUNDS.start * 3, "node0") == [], "whoever waits for room is not late"
    assert play.said == ["1 of 2 nodes wait for room on the cluster."]
    assert play.hear(Started("node1", "m7")) == [NodeJoined("node1")]
    assert play.engine.machines["node1"] == "m7"


def test_who_looks_on_is_told_that_no_machine_is_large_enough() -> None:
    play = Play(1)
    play.fleet.cluster = [ClusterNode("m0", "m0", total={"CPU": 1}, available={"CPU": 1})]
    play.engine.start()
    play.pass_time(BOUNDS.room)
    assert play.said == []
    play.pass_time(BOUNDS.room)
    (said,) = play.said
    assert said.startswith("A node of this run takes 2 CPU, which no machine of the cluster has (1 CPU at most). The run waits for one.")
    assert "cancel it and ask for less: --workers" in said


def test_nodes_that_find_room_are_not_worth_a_word() -> None:
    play = Play().started()
    play.pass_time(BOUNDS.start, "node0", "node1")
    assert play.said == []


def test_events_come_in_order_and_news_are_asked_for_again() -> None:
    play = Play(1, 1).started()
    assert play.hear(Taken("node0", Batch([Hungry("node0", 3)], False))) == [Hungry("node0", 3)]
    assert play.fleet.takes == [("node0", 0), ("node0", 1)]


def test_an_answer_that_got_lost_is_asked_for_again() -> None:
    play = Play(1, 1).started()
    play.engine.give("node0", [Task(1, 0)])
    assert play.hear(Unanswered("node0", "take"), Unanswered("node0", "give")) == []
    assert play.fleet.takes == [("node0", 0)] * 2
    assert play.fleet.gives == [("node0", 0, [Tasks((Task(1, 0),))])] * 2


def test_messages_keep_their_order_and_go_in_bulk() -> None:
    play = Play(1, 1).started()
    asked = Asked("node0", "process000", 1, {})
    play.engine.give("node0", [Task(1, 0)])
    play.engine.revoke("node0", 1)
    play.engine.answer(asked, {"is": 1})
    assert len(play.fleet.gives) == 1
    play.hear(Given("node0"))
    assert play.fleet.gives[1] == ("node0", 1, [Revoke(1), Answer(asked, {"is": 1})])
    play.hear(Given("node0"))
    play.engine.give("node0", [Task(2, 5)])
    assert play.fleet.gives[2] == ("node0", 3, [Tasks((Task(2, 5),))])


def test_what_is_said_to_a_node_that_does_not_live_yet_waits() -> None:
    play = Play(1, 1)
    play.engine.start()
    play.engine.give("node0", [Task(1, 0)])
    assert play.fleet.gives == []
    play.hear(Started("node0", "m0"))
    assert play.fleet.gives == [("node0", 0, [Tasks((Task(1, 0),))])]


def test_a_dead_node_is_lost_and_replaced_under_another_name() -> None:
    play = Play().started()
    assert play.hear(Dead("node0", "its machine died")) == [NodeLost("node0", "its machine died")]
    assert play.engine.nodes == ["node1", "node2"]
    assert play.fleet.launched["node2"] == "m0"
    assert play.hear(Taken("node0", Batch([Hungry("node0", 1)], False))) == [], "the lost are not heard"
    play.engine.give("node0", [Task(1, 0)])
    assert all(name != "node0" for name, _, _ in play.fleet.gives)


def test_a_silent_node_is_lost_and_killed() -> None:
    play = Play().started()
    events = play.pass_time(BOUNDS.silence + 2, "node1")
    assert events == [NodeLost("node0", "it has not answered for 40 seconds")]
    assert play.fleet.killed == ["node0"]


def test_after_a_pause_of_its_own_it_accuses_nobody() -> None:
    play = Play().started()
    play.clock[0] += BOUNDS.silence * 10
    assert play.hear() == []
    assert play.engine.nodes == ["node0", "node1"]


def test_an_actor_that_is_not_made_goes_elsewhere() -> None:
    play = Play(1, 2)
    play.engine.start()
    events = play.pass_time(BOUNDS.start + 2)
    assert events == [NodeLost("node0", "no actor could be started within 120 seconds")]
    assert play.fleet.launched["node1"] == "m1"


def test_a_machine_that_dies_before_its_actor_lives_is_not_tried_again() -> None:
    play = Play(1, 2)
    play.engine.start()
    assert play.hear(Dead("node0", "unschedulable")) == [NodeLost("node0", "unschedulable")]
    assert play.fleet.launched == {"node0": "m0", "node1": "m1"}
    play.hear(Dead("node1", "unschedulable"))
    assert play.fleet.launched["node2"] is None, "Ray will know where"


def test_draining_nodes_are_told_once_and_replaced() -> None:
    play = Play(1, 2).started()
    play.fleet.cluster[0] = ClusterNode("m0", "m0", draining=True, total={"CPU": 2})
    assert play.pass_time(4, "node0") == [NodeDraining("node0", "its machine is draining")]
    assert [messages for _, _, messages in play.fleet.gives] == [[Drain()]]
    assert play.fleet.launched["node1"] == "m1"
    assert play.engine.nodes == ["node1"]
    assert play.hear(Dead("node0", "gone")) == [NodeLost("node0", "gone")]
    assert list(play.fleet.launched) == ["node0", "node1"], "its replacement is there already"


def test_a_node_that_refuses_is_not_tried_again() -> None:
    play = Play(1, 1)
    play.engine.start()
    facts = ErrorFacts("UsageError", "Batchmill is not installed")
    assert play.hear(Refused("node0", facts)) == [NodeGaveUp("node0", facts)]
    assert play.pass_time(10) == []
    assert list(play.fleet.launched) == ["node0"]


def test_a_node_that_fails_while_it_holds_leases_is_lost_and_replaced() -> None:
    play = Play(1, 2).started()
    play.engine.give("node0", [Task(1, 0)])
    assert play.hear(Refused("node0", ErrorFacts("RayTaskError", "broken"))) == [NodeLost("node0", "RayTaskError: broken")]
    assert play.fleet.killed == ["node0"]
    assert "node1" in play.fleet.launched


def test_what_errors_of_ray_mean() -> None:
    errors = pytest.importorskip("ray", reason="NOT TESTED on Ray: it is not installed").exceptions
    lost = errors.ObjectLostError("00", None, "")
    assert trouble("node0", "take", lost, errors) == Unanswered("node0", "take"), "it is said again, or the actor is dead"
    assert trouble("node0", "take", errors.ActorUnavailableError("away", None), errors) == Unanswered("node0", "take")
    assert isinstance(trouble("node0", "machine", errors.ActorUnschedulableError("no such node"), errors), Dead)
    assert isinstance(trouble("node0", "take", errors.ActorDiedError(), errors), Dead)
    assert trouble("node0", "machine", ValueError("what"), errors) == Refused("node0", ErrorFacts("ValueError", "what"))


def test_a_node_that_gave_up_ends_without_a_replacement() -> None:
    play = Play().started()
    gave_up = NodeGaveUp("node0", ErrorFacts("ValueError", "init"))
    assert play.hear(Taken("node0", Batch([gave_up], True))) == [gave_up]
    assert play.engine.nodes == ["node1"]
    assert play.hear(Dead("node1", "gone")) == [NodeLost("node1", "gone")]
    assert play.engine.nodes == ["node2"], "one for the lost one, none for the one that gave up"


def test_a_node_that_gave_up_and_takes_its_time_to_end_is_not_replaced_either() -> None:
    """Its last news arrive before its logs are stored."""
    play = Play().started()
    gave_up = NodeGaveUp("node0", ErrorFacts("ValueError", "init"))
    assert play.hear(Taken("node0", Batch([gave_up], False))) == [gave_up]
    assert play.engine.nodes == ["node1"]
    assert play.hear(Taken("node0", Batch([], True))) == []
    assert (play.engine.nodes, list(play.fleet.launched)) == (["node1"], ["node0", "node1"])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_node_that_says_why_it_is_lost_is_lost_once(at_once: bool) -> None:
    play = Play().started()
    lost = NodeLost("node0", "its disk is full", by_itself=True)
    assert play.hear(Taken("node0", Batch([lost], at_once))) == [lost]
    if not at_once:
        assert play.hear(Taken("node0", Batch([], True))) == []
    assert play.engine.nodes == ["node1", "node2"]
    assert play.hear(Taken("node1", Batch([], True))) == [NodeLost("node1", "it ended by itself", by_itself=True)]


def test_growing_never_passes_the_node_count() -> None:
    play = Play(nodes=3, machines=3, granted=1).started()
    assert play.engine.grow(1) == ["node1"]
    assert play.engine.grow(5) == ["node2"]
    assert play.engine.grow(1) == []
    assert play.fleet.launched == {"node0": "m0", "node1": "m1", "node2": "m2"}


def test_finish_waits_for_every_node_and_replaces_none() -> None:
    play = Play(3, 2).started()
    heard: list[Event] = []
    last = Hungry("node0", 1)
    play.fleet.coming = [Taken("node0", Batch([last], True)), Dead("node1", "gone"), Taken("node2", Batch((), True))]
    play.engine.finish(heard.extend)
    assert heard == [last, NodeLost("node1", "gone")]
    assert {name: messages for name, _, messages in play.fleet.gives} == {name: [Finish()] for name in ("node0", "node1", "node2")}
    assert len(play.fleet.launched) == 3
    assert play.fleet.closed


def test_finish_does_not_wait_for_nodes_that_never_came() -> None:
    play = Play(2, 1)
    play.engine.start()
    play.hear(Started("node0", "m0"))
    play.fleet.coming = [Taken("node0", Batch((), True))]
    begun = play.clock[0]
    play.engine.finish(lambda events: None)
    assert set(play.fleet.killed) == {"node0", "node1"}
    assert play.clock[0] == begun, "and not for another moment after the last one"


@pytest.mark.parametrize("answers", [True, False])
def test_abort_gives_nodes_a_moment(answers: bool) -> None:
    play = Play().started()
    begun = play.clock[0]
    if answers:
        play.fleet.coming = [Taken(name, Batch((), True)) for name in ("node0", "node1")]
    play.engine.abort()
    assert [messages for _, _, messages in play.fleet.gives] == [[Abort()]] * 2
    assert play.fleet.closed
    assert (play.clock[0] - begun < 0.1) == answers
    assert play.clock[0] - begun <= BOUNDS.abort + 0.1
    assert play.engine.nodes == []
