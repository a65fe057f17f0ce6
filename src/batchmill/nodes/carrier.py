"""Who carries a run out from this process: its coordinator, or the follower of a run that a cluster carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchmill.nodes.coordinator import Coordinator
from batchmill.parallel_run.progress import Progress
from batchmill.parallel_run.run_folder import RunFolder, on_cluster

if TYPE_CHECKING:
    from batchmill.nodes.follower import Follower


def carrier(folder: RunFolder, progress: Progress | None = None) -> Coordinator | Follower:
    """Both have `prepare`, which refuses bad input, and `carry_out`, which returns how the run has ended."""
    if not on_cluster(folder):
        return Coordinator(folder, progress)
    from batchmill.nodes.follower import Follower
    from batchmill.parallel_run.cluster_run import ClusterRun

    return Follower(ClusterRun.of(folder), progress)
