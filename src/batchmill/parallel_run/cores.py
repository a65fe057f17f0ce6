"""How many cores this process may really use: affinity and cgroup quota (Linux), else the machine's."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, math.floor(quota)) if quota is not None and quota >= 1 else 1 if quota is not None else cores)


def _quota() -> float | None:
    """Cores that the cgroup's quota grants, None where there is no quota."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append(_v2(Path("/sys/fs/cgroup") / path.lstrip("/")))
        elif "cpu" in controllers.split(","):
            found.append(_v1(Path("/sys/fs/cgroup/cpu") / path.lstrip("/")))
    quotas = [quota for quota in found if quota is not None]
    return min(quotas) if quotas else None


def _v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
