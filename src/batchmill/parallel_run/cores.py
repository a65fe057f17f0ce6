"""How many cores this process may really use: affinity and cgroup quota (Linux), else the machine's."""

from __future__ import annotations

import math
import os
from pathlib import Path

from batchmill.parallel_run import cgroup


def usable_cores() -> int:
    """At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def _quota() -> float | None:
    """Cores that the cgroups' quotas grant, None where there is no quota. A parent's quota counts as well as the own one."""
    found = [_v2(folder) if version == 2 else _v1(folder) for version, folder in cgroup.levels("cpu")]
    return min((quota for quota in found if quota is not None), default=None)


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
