"""Quarantine: mini-batches whose nodes die are run alone, each on a node that holds nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from batchmill.parallel_run.bisection import Piece

NODE_DIED = "NodeDied"
"""The error class of a mini-batch that takes nodes down."""

LOSSES = 3
"""So many nodes may die while they hold a mini-batch; then it is no longer taken for chance."""

SHARE = 4
"""At most every so manieth node is set aside."""

Key = tuple[int, Piece | None]
"""A mini-batch, or a piece of one."""


class Quarantine:
    """What nodes died of, perhaps, and the nodes that are set aside to find out."""

    def __init__(self) -> None:
        self._losses: dict[Key, int] = {}
        self._pruned_at = 1_000
        self._members: set[Key] = set()
        self.waiting: deque[Key] = deque()
        self.aside: set[str] = set()

    def __bool__(self) -> bool:
        """Whether anything is quarantined."""
        return bool(self._members)

    def __contains__(self, key: Key) -> bool:
        return key in self._members

    def lost(self, key: Key) -> bool:
        """A node died that held this; True when it is quarantined from now on (and has to wait)."""
        losses = self._losses.get(key, 0) + 1
        self._losses[key] = losses
        if losses < LOSSES:
            return False
        self.admit(key)
        return True

    def admit(self, key: Key) -> None:
        self._members.add(key)

    def release(self, key: Key) -> None:
        """It has its fate, or is bisected."""
        self._members.discard(key)
        self._losses.pop(key, None)
        if not self._members:
            self.aside.clear()

    def forget(self, ended: Callable[[int], bool]) -> None:
        """Do not remember the losses of what has its fate: on preemptible nodes they would add up."""
        if len(self._losses) > self._pruned_at:
            self._losses = {key: losses for key, losses in self._losses.items() if not ended(key[0])}
            self._pruned_at = 1_000 + 2 * len(self._losses)

    def set_aside(self, hungry: Collection[str], nodes: int, idle: Callable[[str], bool], occupied: Callable[[str], bool]) -> list[str]:
        """Set hungry nodes aside while anything waits, idle ones first, and not too many; returns those that can take something now.
        When nothing waits, all are let go that are not ``occupied`` with something quarantined."""
        if not self.waiting:
            self.aside = {node for node in self.aside if occupied(node)}
            return []
        room = min(len(self._members), max(1, nodes // SHARE)) - len(self.aside)
        if room > 0:
            free = sorted((node for node in hungry if node not in self.aside), key=lambda node: not idle(node))
            self.aside.update(free[:room])
        return [node for node in sorted(self.aside) if node in hungry and idle(node)]
