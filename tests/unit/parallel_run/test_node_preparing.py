"""A run that waits for a node to build its environment does not stand still; one that waits for nothing does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchmill.parallel_run.events import NodePreparing
from batchmill.parallel_run.job import Limits
from batchmill.parallel_run.policy import Policy
from tests.unit.parallel_run.scheduling import World


@pytest.fixture
def world() -> Iterator[World]:
    world = World([1, 1], Policy())
    world.job._limits = Limits(no_progress=10.0, first_progress=10.0)
    yield world
    world.close()


def ends_at(world: World, now: float) -> bool:
    world.now = now
    world.job._look_around(now)
    return world.job._stop is not None


def test_signs_of_life_of_a_node_that_prepares_count_as_progress(world: World) -> None:
    for now in (8.0, 16.0, 24.0):
        assert not ends_at(world, now)
        world.tell(NodePreparing("node0", "it is being prepared"))
    assert not ends_at(world, 33.0)
    assert ends_at(world, 35.0)


def test_without_them_the_run_ends(world: World) -> None:
    assert not ends_at(world, 9.0)
    assert ends_at(world, 11.0)
