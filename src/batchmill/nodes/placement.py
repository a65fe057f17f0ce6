"""Which machines of a cluster get the nodes of a run: those that have room, the emptiest of ours first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from batchmill.workspace.ray_cluster import ClusterNode

Bundle = Mapping[str, float]
"""What one node of a run reserves, by the names of Ray: ``CPU``, ``GPU``, ``memory`` in bytes, custom resources."""

ROUNDING = 1e-6
LESS = "If none will come, cancel it and ask for less: --workers, --gpus-per-process, or a smaller size of the compute target."


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


def why_waiting(machines: Iterable[ClusterNode], bundle: Bundle, waiting: int, count: int) -> str:
    """What a user is told when ``waiting`` of ``count`` nodes have no machine.

    >>> why_waiting([ClusterNode("a", "a", total={"CPU": 8.0})], {"CPU": 8.0}, 2, 3)
    '2 of 3 nodes wait for room on the cluster.'
    >>> why_waiting([ClusterNode("a", "a", total={"CPU": 8.0})], {"CPU": 64.0, "GPU": 1.0}, 1, 1)  # doctest: +ELLIPSIS
    'A node of this run takes 64 CPU and 1 GPU, which no machine of the cluster has (8 CPU, 0 GPU at most). The run waits for one. If ...'
    """
    totals = [machine.total for machine in machines if machine.alive and not machine.draining]
    if any(all(total.get(name, 0.0) + ROUNDING >= amount for name, amount in bundle.items()) for total in totals):
        return f"{waiting} of {count} nodes wait for room on the cluster."
    most = {name: max((total.get(name, 0.0) for total in totals), default=0.0) for name in bundle}
    asked, there = " and ".join(_amounts(bundle)), ", ".join(_amounts(most))
    return f"A node of this run takes {asked}, which no machine of the cluster has ({there} at most). The run waits for one. {LESS}"


def _amounts(amounts: Bundle) -> list[str]:
    return [f"{amount / 1e9:.1f} GB memory" if name == "memory" else f"{amount:g} {name}" for name, amount in amounts.items()]
