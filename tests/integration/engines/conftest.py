"""The cluster that the engines' contract is tried on: two machines, each with room for two nodes of one worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine_stage import LOCAL, RAY
from tests.ray_cluster import RayCluster, connected, ray_cluster


@pytest.fixture(scope="package")
def machines() -> Iterator[RayCluster]:
    with ray_cluster(2) as cluster, connected(cluster):
        yield cluster


@pytest.fixture(params=[LOCAL, RAY])
def kind(request: pytest.FixtureRequest) -> str:
    """The name of an engine; for ``ray`` this process is a driver of a cluster."""
    if request.param == RAY:
        request.getfixturevalue("machines")
    return str(request.param)
