"""While somebody waits for an answer the clock of the current call stands still, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.worker import questions
from batchmill.worker.questions import Questions, Refusal, answer_with, ask, in_run
from batchmill.worker.slots import RUNNING_SINCE, Slots

SECOND = 10**9


class Clock:
    now = 100 * SECOND

    def monotonic_ns(self) -> int:
        return self.now


class Channel:
    """Answers after a while, in which more may happen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.meanwhile: list[Any] = []

    def check_process(self) -> None:
        pass

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        for act in self.meanwhile:
            self._clock.now += SECOND
            act()
        self._clock.now += SECOND
        return {"answer": question}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(questions, "time", clock)
    return clock


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    slots = Slots(str(tmp_path / "slots"), 2, create=True)
    for slot in range(2):
        slots.clear(slot)
    yield slots
    slots.close()


def seconds(slots: Slots, clock: Clock) -> float:
    return slots.elapsed(1, clock.now) / SECOND


def test_the_clock_stands_still_while_one_waits(clock: Clock, slots: Slots) -> None:
    channel = Channel(clock)
    asker = Questions(channel, slots, 1)  # type: ignore[arg-type]
    slots.set(1, RUNNING_SINCE, clock.now)
    clock.now += 2 * SECOND
    channel.meanwhile = [lambda: seconds_seen.append(seconds(slots, clock))] * 3
    seconds_seen: list[float] = []
    assert asker.ask({"name": "m"}) == {"answer": {"name": "m"}}
    assert seconds_seen == [2, 2, 2]
    assert seconds(slots, clock) == 2
    clock.now += SECOND
    assert asker.ask({}) is not None
    assert seconds(slots, clock) == 3
    assert slots.elapsed(0, clock.now) == clock.now


def test_the_next_call_begins_with_a_clock_of_its_own(clock: Clock, slots: Slots) -> None:
    channel = Channel(clock)
    asker = Questions(channel, slots, 1)  # type: ignore[arg-type]
    slots.set(1, RUNNING_SINCE, clock.now)
    asker.ask({})
    clock.now += SECOND
    slots.set(1, RUNNING_SINCE, clock.now)
    clock.now += 5 * SECOND
    assert seconds(slots, clock) == 5


def test_a_call_that_begins_while_a_thread_waits(clock: Clock, slots: Slots) -> None:
    channel = Channel(clock)
    asker = Questions(channel, slots, 1)  # type: ignore[arg-type]
    slots.set(1, RUNNING_SINCE, clock.now)
    seen: list[float] = []

    def next_call() -> None:
        slots.set(1, RUNNING_SINCE, clock.now)

    channel.meanwhile = [next_call, lambda: seen.append(seconds(slots, clock))]
    asker.ask({})
    assert seen == [0]
    assert seconds(slots, clock) == 0
    clock.now += SECOND
    assert seconds(slots, clock) == 1


def test_several_wait_at_once(clock: Clock, slots: Slots) -> None:
    channel, other = Channel(clock), Channel(clock)
    asker = Questions(channel, slots, 1)  # type: ignore[arg-type]
    slots.set(1, RUNNING_SINCE, clock.now)

    def second_question() -> None:
        asker._channel = other  # type: ignore[assignment]
        asker.ask({})

    channel.meanwhile = [second_question, lambda: seen.append(seconds(slots, clock))]
    seen: list[float] = []
    asker.ask({})
    assert seen == [0]
    assert seconds(slots, clock) == 0


def test_a_refusal_is_raised_by_its_kind() -> None:
    before = answer_with(lambda question: {"error": {"class": "ModelNotFoundException", "message": "no"}})
    try:
        assert in_run()
        with pytest.raises(Refusal, match="no") as refused:
            ask({})
        assert refused.value.kind == "ModelNotFoundException"
    finally:
        answer_with(before)
    assert not in_run()
    with pytest.raises(LookupError):
        ask({})
