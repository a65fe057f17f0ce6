"""What one node of a run reserves of the machines of a cluster, where the compute target does not say it (decisions 14 and 26)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median_low

from batchmill.nodes.placement import Bundle, bundle_of
from batchmill.workspace.ray_cluster import ClusterNode


def node_share(machines: Iterable[ClusterNode], nodes: int, workers: int | None, gpus_per_process: float | None) -> tuple[int, Bundle]:
    """Worker processes of a node, and its bundle: its share of the cores of a usual machine, one process for each, or as many as
    ``workers`` says. GPUs are taken where processes ask for them, or where all machines have some: one for each process else.

    >>> node_share([ClusterNode("a", "a", total={"CPU": 8.0})], 2, None, None)
    (4, {'CPU': 4.0})
    >>> node_share([ClusterNode("a", "a", total={"CPU": 8.0, "GPU": 1.0})], 1, None, 0)
    (8, {'CPU': 8.0})
    """
    usable = [machine for machine in machines if machine.alive and not machine.draining and machine.total.get("CPU", 0.0) >= 1]
    each = math.ceil(nodes / len(usable)) if usable else 1
    cores = max(1, int(median_low([machine.total["CPU"] for machine in usable]) / each)) if usable else 1
    counts = [machine.total.get("GPU", 0.0) for machine in usable]
    if gpus_per_process == 0 or (gpus_per_process is None and not (counts and all(counts))):
        return workers or cores, bundle_of(workers or cores)
    share = gpus_per_process or 1.0
    some = [count for count in counts if count]
    fitting = max(1, int(median_low(some) / each / share)) if some else 1
    count = workers or fitting
    return count, bundle_of(min(count, cores) if workers is None else count, gpus=count * share)
