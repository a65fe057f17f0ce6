"""Random outcomes, deaths, returned leases, nodes that join, drain and are lost, second runs: after every step each item has at most one
fate, nothing is lost, no late word counts, and a restored scheduler knows what the live one knew."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchmill.parallel_run.policy import Policy
from tests.unit.parallel_run.scheduling import Held, World, done, failed, fates

index = st.integers(0, 1_000)
nodes = st.sampled_from(("node0", "node1", "node2"))


class Machine(RuleBasedStateMachine):
    world: World
    late: list[Held]

    @initialize(
        items=st.lists(st.integers(1, 9), min_size=1, max_size=20),
        tries=st.integers(1, 3),
        isolate=st.booleans(),
        splittable=st.booleans(),
        speculative=st.booleans(),
    )
    def begin(self, items: list[int], tries: int, isolate: bool, splittable: bool, speculative: bool) -> None:
        self.world = World(items, Policy(tries, isolate, splittable, error_threshold=-1, speculative=speculative), nodes=3)
        self.world.job._durations.hear([done(Held("node0", 0, 0, 1), 0, 1, [1])])
        self.late = []

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.work_off()
        counts = self.world.scheduler.counts(sum(self.world.items))
        assert counts.items.not_run == 0
        assert counts.items.succeeded + counts.items.failed == sum(self.world.items)
        self.world.job._prove()
        self.world.close()

    def held(self, choice: int) -> Held:
        return self.world.nodes.held[choice % len(self.world.nodes.held)]

    @rule(node=nodes, want=st.integers(1, 8))
    def hungry(self, node: str, want: int) -> None:
        self.world.hungry(node, want)

    @precondition(lambda self: self.world.nodes.held)
    @rule(choice=index, skip=index, count=index, short=st.booleans())
    def succeed(self, choice: int, skip: int, count: int, short: bool) -> None:
        held = self.held(choice)
        first = held.first + skip % held.count
        many = 1 + count % (held.first + held.count - first)
        items = held.piece[1] if held.piece else sum(self.world.items[first : first + many])
        self.world.succeed(held, first, many, items - 1 if short and many == 1 else None)

    @precondition(lambda self: self.world.nodes.held)
    @rule(choice=index)
    def succeed_with_all(self, choice: int) -> None:
        held = self.held(choice)
        self.world.succeed(held, held.first, held.count)

    @precondition(lambda self: self.world.nodes.held)
    @rule(choice=index, skip=index, knows=st.booleans(), memory=st.booleans())
    def fail(self, choice: int, skip: int, knows: bool, memory: bool) -> None:
        held = self.held(choice)
        self.world.fail(held, held.first + skip % held.count, knows_items=knows, memory=memory)

    @precondition(lambda self: self.world.nodes.held)
    @rule(choice=index)
    def give_back(self, choice: int) -> None:
        self.world.give_back(self.held(choice))

    @rule(node=nodes)
    def lose(self, node: str) -> None:
        self.late += self.world.lose(node)
        self.late = self.late[-5:]

    @rule(node=nodes, want=st.integers(1, 8))
    def lose_and_replace(self, node: str, want: int) -> None:
        self.lose(node)
        self.world.join(node)
        self.world.hungry(node, want)

    @rule(node=nodes)
    def join(self, node: str) -> None:
        self.world.join(node)

    @rule(node=nodes)
    def drain(self, node: str) -> None:
        self.world.drain(node)

    @rule(seconds=st.sampled_from((1.0, 10.0)), all_ask=st.booleans())
    def wait(self, seconds: float, all_ask: bool) -> None:
        for node in self.world.nodes.names if all_ask else ():
            self.world.hungry(node, 20)
            self.world.hungry(node, 2)
        self.world.wait(seconds)
        self.late += self.world.nodes.revoked[-5:]

    @precondition(lambda self: self.late)
    @rule(choice=index, well=st.booleans())
    def speak_too_late(self, choice: int, well: bool) -> None:
        """An outcome of a lease that was taken away changes nothing."""
        held = self.late[choice % len(self.late)]
        before = (fates(self.world.scheduler), self.world.scheduler.counts(0), self.world.ledger.sums())
        items = self.world.items[held.first : held.first + held.count]
        self.world.tell(done(held, held.first, held.count, items) if well else failed(held, held.first, None))
        assert (fates(self.world.scheduler), self.world.scheduler.counts(0), self.world.ledger.sums()) == before

    @invariant()
    def restores(self) -> None:
        """Killed here, the run would go on as if nothing had happened."""
        if not hasattr(self, "world"):
            return
        restored = self.world.restored()
        assert fates(restored) == fates(self.world.scheduler)
        assert restored.counts(sum(self.world.items)) == self.world.scheduler.counts(sum(self.world.items))


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
