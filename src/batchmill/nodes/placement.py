"""Which machines of a cluster get the nodes of a run: those that have room, the emptiest of ours first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from batchmill.workspace.ray_cluster import ClusterNode

Bundle = Mapping[str, float]
"""What one node of a run reserves, by the names of Ray: ``CPU``, ``GPU``, ``memory`` in bytes, custom resources."""

ROUNDING = 1e-6


def bundle_of(workers: float, gpus: float = 0, memory: float = 0, resources: Mapping[str, float] | None = None) -> dict[str, float]:
    """The share of a machine that a node's workers use; what is 0 is not asked for.

    >>> bundle_of(2, gpus=0.5)
    {'CPU': 2.0, 'GPU': 0.5}
    """
    amounts = {"CPU": workers, "GPU": gpus, "memory": memory, **(resources or {})}
    return {name: float(amount) for name, amount in amounts.items() if amount}


def room(machine: ClusterNode, bundle: Bundle, ours: int) -> int:
    """How many more nodes fit on a machine that has ``ours`` already. What Ray says is left may not know of the newest of them yet."""
    if not machine.alive or machine.draining:
        return 0
    left = []
    for name, amount in bundle.items():
        free = min(machine.available.get(name, 0.0), machine.total.get(name, 0.0) - ours * amount)
        left.append(int((free + ROUNDING) / amount))
    return max(0, min(left, default=1))


def place(machines: Iterable[ClusterNode], bundle: Bundle, count: int, held: Sequence[str] = ()) -> list[str]:
    """Machines for up to ``count`` nodes more: each goes where the fewest of ours are, then where most is left. ``held``: the machines of
    those we have, one entry for each. Less than ``count`` where the cluster is full.
    """
    ours = Counter(held)
    free = {machine.id: room(machine, bundle, ours[machine.id]) for machine in machines}
    chosen: list[str] = []
    for _ in range(count):
        candidates = [machine for machine, places in free.items() if places]
        if not candidates:
            break
        best = min(candidates, key=lambda machine: (ours[machine], -free[machine], machine))
        ours[best] += 1
        free[best] -= 1
        chosen.append(best)
    return chosen
