"""The turn of the steps of a run on this machine."""

from __future__ import annotations

import threading
from typing import Any, cast

from batchmill.pipeline.step_slots import StepSlots

PATIENCE = 30.0


class _Slots:
    """Places for so many steps; each step is a thread that holds its place until it is told to end."""

    def __init__(self, cores: int) -> None:
        self.changed = threading.Condition()
        self.slots = StepSlots(cast(Any, None), "run", cores, self.changed)
        self.working: list[str] = []
        self.refused: list[str] = []
        self.stopped: set[str] = set()
        self._may_end: set[str] = set()
        self._threads: list[threading.Thread] = []

    def begin(self, name: str) -> None:
        waiting = self.slots._queues.get(None, ())
        before = len(waiting) + len(self.working)
        thread = threading.Thread(target=self._body, args=(name,))
        self._threads.append(thread)
        thread.start()
        self.until(lambda: name in self.working or name in self.refused or len(self.slots._queues[None]) + len(self.working) > before)

    def _body(self, name: str) -> None:
        with self.slots.here(lambda: name in self.stopped) as mine, self.changed:
            (self.working if mine else self.refused).append(name)
            self.changed.notify_all()
            if mine:
                self.changed.wait_for(lambda: name in self._may_end, PATIENCE)
                self.working.remove(name)

    def end(self, *names: str) -> None:
        with self.changed:
            self._may_end |= set(names)
            self.changed.notify_all()

    def stop(self, name: str) -> None:
        with self.changed:
            self.stopped.add(name)
            self.changed.notify_all()

    def until(self, condition: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_steps_get_their_turn_in_order() -> None:
    run = _Slots(2)
    for name in "abcd":
        run.begin(name)
    assert run.working == ["a", "b"]
    run.end("b")
    run.until(lambda: run.working == ["a", "c"])
    run.end("a", "c", "d")
    run.join()
    assert run.refused == []


def test_a_canceled_step_waits_no_more_and_takes_no_place() -> None:
    run = _Slots(1)
    for name in "abc":
        run.begin(name)
    run.stop("b")
    run.until(lambda: run.refused == ["b"])
    assert run.working == ["a"]
    run.end("a")
    run.until(lambda: run.working == ["c"])
    run.end("c")
    run.join()
