"""Whoever ends a run while its output is written, when all the work is done, does not have to wait for the rest of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from batchmill.parallel_run.policy import Policy
from batchmill.records import RunStatus
from tests.unit.parallel_run.scheduling import World


class LongOutput:
    """An output that is asked for while it is being written; ``meanwhile`` happens then."""

    front = length = 0

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile
        self.written = False

    def open(self, front: int, length: int) -> None: ...
    def add(self, first: int, count: int, segments: object) -> None: ...
    def advance(self) -> None: ...
    def proven(self) -> None: ...
    def close(self) -> None: ...

    def intact(self) -> bool:
        return True

    def publish(self, stopped: Callable[[], bool], /) -> bool:
        assert not stopped()
        self.meanwhile()
        self.written = not stopped()
        return self.written


@pytest.fixture
def world() -> Iterator[World]:
    made = World([1, 1], Policy())
    made.work_off()
    yield made
    made.close()


def test_a_cancel_ends_it(world: World) -> None:
    world.job._output = LongOutput(world.folder.cancel_request.touch)
    assert world.job._finish().status is RunStatus.CANCELED


def test_an_interrupt_ends_it(world: World) -> None:
    world.job._output = LongOutput(lambda: world.job._interrupt(signal.SIGTERM))
    ending = world.job._finish()
    assert (ending.status, ending.error) == (RunStatus.INTERRUPTED, "Interrupted by SIGTERM.")


def test_a_node_that_gave_up_at_the_end_does_not(world: World) -> None:
    world.job._output = output = LongOutput(lambda: world.job._end(RunStatus.FAILED, "node0 gave up"))
    assert world.job._finish().status is RunStatus.COMPLETED
    assert output.written
