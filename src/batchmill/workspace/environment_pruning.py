"""Removing builds that nobody has used for a while, never one that a process uses or builds."""

from __future__ import annotations

import time
from dataclasses import dataclass

from batchmill.workspace.built_environment import all_builds

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """One build that was looked at: ``removed``, or in use."""

    key: str
    name: str | None
    summary: str
    size: int
    last_used: float
    removed: bool


def prune_environments(days: float, *, remove: bool = True) -> list[Pruned]:
    """Remove the builds, finished or not, that were last used more than ``days`` days ago; without ``remove`` only say which.

    Those that a process uses are in the list with ``removed`` False.
    """
    found = []
    for folder in all_builds():
        used = folder.last_used()
        if time.time() - used < days * DAY:
            continue
        built = folder.built()
        name = built.name if built else folder.last_failure().get("name")
        summary = built.summary if built else "not finished"
        size = folder.size()
        found.append(Pruned(folder.key, name, summary, size, used, removed=folder.remove() if remove else not folder.busy()))
    return found
