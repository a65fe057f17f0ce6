"""The decisions of the runner of a pipeline: what may begin, what never will, how it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st

from batchmill.pipeline.graph_schedule import CANCELED_RUN, Decision, StepState, decide
from batchmill.records import RunStatus

WAITING, RUNNING, COMPLETED, FAILED, CANCELED, SKIPPED = StepState
Needs = Mapping[str, Collection[str]]


def _states(needs: Needs, **known: StepState) -> dict[str, StepState]:
    return dict.fromkeys(needs, WAITING) | known


CHAIN: Needs = {"a": [], "b": ["a"], "c": ["b"], "other": []}


def test_independent_steps_begin_together_in_the_order_of_the_graph() -> None:
    assert decide(CHAIN, _states(CHAIN)) == Decision(start=("a", "other"))
    assert decide(CHAIN, _states(CHAIN, a=RUNNING, other=RUNNING)) == Decision()
    assert decide(CHAIN, _states(CHAIN, a=COMPLETED, other=RUNNING)) == Decision(start=("b",))


def test_nothing_begins_after_a_failure() -> None:
    skip = {"b": "a", "c": "a", "other": "a"}
    assert decide(CHAIN, _states(CHAIN, a=FAILED)) == Decision(skip=skip, end=RunStatus.FAILED)
    assert decide(CHAIN, _states(CHAIN, a=FAILED, other=RUNNING)) == Decision(skip={"b": "a", "c": "a"})


def test_the_others_go_on_after_a_failure() -> None:
    assert decide(CHAIN, _states(CHAIN, a=FAILED), go_on=True) == Decision(start=("other",), skip={"b": "a", "c": "a"})
    left = _states(CHAIN, a=FAILED, b=SKIPPED)
    assert decide(CHAIN, left, go_on=True).skip == {"c": "a"}


def test_cancel() -> None:
    skip = dict.fromkeys(CHAIN, CANCELED_RUN)
    assert decide(CHAIN, _states(CHAIN), canceled=True) == Decision(skip=skip, end=RunStatus.CANCELED)
    assert decide(CHAIN, _states(CHAIN, a=RUNNING), canceled=True).end is None
    assert decide(CHAIN, dict.fromkeys(CHAIN, COMPLETED), canceled=True).end is RunStatus.COMPLETED
    one = _states(CHAIN, a=CANCELED, other=COMPLETED)
    assert decide(CHAIN, one) == Decision(skip={"b": "a", "c": "a"}, end=RunStatus.CANCELED)


def test_what_waits_for_itself_is_skipped() -> None:
    circle = {"a": ["b"], "b": ["a"], "c": []}
    assert decide(circle, _states(circle, c=COMPLETED)) == Decision(skip={"a": "a", "b": "b"}, end=RunStatus.FAILED)
    assert decide({"a": ["gone"]}, {"a": WAITING}, go_on=True) == Decision(skip={"a": "a"}, end=RunStatus.FAILED)
    assert decide({}, {}) == Decision(end=RunStatus.COMPLETED)


@st.composite
def graphs(draw: st.DrawFn) -> Needs:
    size = draw(st.integers(1, 8))
    names = [f"s{n}" for n in range(size)]
    rank = draw(st.permutations(names))
    needs = {name: draw(st.lists(st.sampled_from(rank[: rank.index(name)] or [name]), max_size=3, unique=True)) for name in names}
    return {name: [one for one in some if one != name] for name, some in needs.items()}


@given(graphs(), st.data(), st.booleans())
def test_everything_ends_and_nothing_begins_early(needs: Needs, data: st.DataObject, go_on: bool) -> None:
    states, canceled, rounds = _states(needs), False, 0
    while True:
        rounds += 1
        assert rounds < 100
        decision = decide(needs, states, go_on=go_on, canceled=canceled)
        assert not set(decision.start) & set(decision.skip)
        for step in decision.start:
            assert states[step] is WAITING
            assert all(states[one] is COMPLETED for one in needs[step])
            assert go_on or FAILED not in states.values()
            assert not canceled
            states[step] = RUNNING
        for step, fault in decision.skip.items():
            assert states[step] is WAITING
            assert fault == CANCELED_RUN or states[fault] in (FAILED, CANCELED)
            states[step] = SKIPPED
        if decision.end is not None:
            break
        running = [step for step, state in states.items() if state is RUNNING]
        assert running
        ends = [COMPLETED, FAILED, CANCELED] if canceled or data.draw(st.booleans()) else [COMPLETED]
        states[data.draw(st.sampled_from(running))] = data.draw(st.sampled_from(ends))
        canceled = canceled or data.draw(st.integers(0, 9)) == 9
    assert all(state.over for state in states.values())
    assert (decision.end is RunStatus.COMPLETED) == (set(states.values()) == {COMPLETED})
    if FAILED in states.values() and not canceled:
        assert decision.end is RunStatus.FAILED
    if go_on and not canceled:
        assert all(states[step] is not SKIPPED or any(states[one].broken for one in needs[step]) for step in needs)


@given(graphs(), st.data())
def test_what_was_decided_is_not_decided_again(needs: Needs, data: st.DataObject) -> None:
    """A runner that takes a run up sees steps in any state, and goes on from there."""
    states = {step: data.draw(st.sampled_from(list(StepState))) for step in needs}
    decision = decide(needs, states)
    assert all(states[step] is WAITING for step in (*decision.start, *decision.skip))
    if not decision.start and RUNNING not in states.values():
        assert decision.end is not None
