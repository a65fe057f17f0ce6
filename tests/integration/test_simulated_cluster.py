"""The coordinator of a simulated cluster: nodes die, tries fail, the last mini-batches hang; every mini-batch gets one fate, soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.parallel_run.ledger import Ledger
from benchmarks.cluster_scale import simulate
from benchmarks.simulated_cluster import Shape


@pytest.mark.parametrize(
    "shape",
    [
        Shape(nodes=5, workers=4, mini_batches=1_000, lost_every=10.0, failures=0.01),
        pytest.param(Shape(nodes=200, mini_batches=1_000_000, lost_every=5.0, failures=1e-4), marks=pytest.mark.slow),
    ],
    ids=["small", "large"],
)
def test_every_mini_batch_gets_one_fate(shape: Shape, tmp_path: Path) -> None:
    found = simulate(tmp_path / "run", shape, whole=True)
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite")
    assert ledger.sums() == (shape.mini_batches,) * 3
    assert len(list(ledger.tries())) == found["failed_tries"] > 0
    ledger.close()
    assert found["revoked"] > 0, "what hung was run elsewhere"
    assert found["ideal"] < found["simulated"] < found["ideal"] * 1.5 + 40, "lost nodes and stragglers cost seconds, not a day"
    assert found["leases"] < found["ideal"] * shape.nodes * 2, "leases are ranges"
