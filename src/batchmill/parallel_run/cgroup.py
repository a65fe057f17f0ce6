"""The cgroup of this process (Linux): which folders hold the limits that count for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def levels(controller: str) -> Iterator[tuple[int, Path]]:
    """(cgroup version, folder) of this process's groups that may limit ``cpu`` or ``memory``: its own, then each parent up to the root.

    Not every folder need exist: a container may see its own group as the root, and a version 2 group may lack the controller.
    """
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, root = 2, ROOT
        elif controller in controllers.split(","):
            version, root = 1, ROOT / controller
        else:
            continue
        own = root / path.lstrip("/")
        yield version, own
        yield from ((version, parent) for parent in own.parents if parent.is_relative_to(root))
