"""Second runs: what a straggler holds is run on an idle node, too; the first outcome counts, the other is fenced off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from batchmill.parallel_run.leases import Lease


class SecondRuns:
    """The mini-batches that two leases hold."""

    def __init__(self) -> None:
        self._tokens: dict[int, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def __contains__(self, mini_batch: int) -> bool:
        return mini_batch in self._tokens

    def begin(self, mini_batch: int, first_token: int, second_token: int) -> None:
        self._tokens[mini_batch] = (first_token, second_token)

    def end(self, mini_batch: int, token: int) -> int | None:
        """One of the two leases is done with it; returns the other, which alone holds it now. None when only one held it."""
        tokens = self._tokens.pop(mini_batch, None)
        return None if tokens is None else tokens[tokens[0] == token]

    def among(self, first: int, count: int) -> list[int]:
        """Those of these consecutive mini-batches that two leases hold, in order."""
        return sorted(k for k in self._tokens if first <= k < first + count)


def deal(overdue: Iterable[tuple[int, Lease]], hungry: Mapping[str, int]) -> dict[str, list[tuple[int, Lease]]]:
    """Who runs which (mini-batch, the lease that holds it) a second time: evenly, nobody what it holds itself or more than it wants."""
    dealt: dict[str, list[tuple[int, Lease]]] = {}
    nodes = deque(hungry)
    for mini_batch, lease in overdue:
        if not nodes:
            break
        if nodes[0] == lease.node:
            nodes.rotate(-1)
        if nodes[0] == lease.node:
            continue
        node = nodes.popleft()
        dealt.setdefault(node, []).append((mini_batch, lease))
        if len(dealt[node]) < hungry[node]:
            nodes.append(node)
    return dealt
