"""How much memory a run may take: what the machine has available, and what the cgroup's limit leaves (Linux)."""

from __future__ import annotations

from pathlib import Path

from batchmill.parallel_run import cgroup

LIMIT_AND_USE = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
NO_LIMIT = 1 << 60


def usable_memory() -> int:
    """Bytes that new processes can take now."""
    import psutil

    available = int(psutil.virtual_memory().available)
    left = _left_in_cgroup()
    return available if left is None else max(0, min(available, left))


def _left_in_cgroup() -> int | None:
    """Limit minus use, None without a limit. A parent's limit counts as well as the own one."""
    found = [_left(folder, *LIMIT_AND_USE[version]) for version, folder in cgroup.levels("memory")]
    return min((left for left in found if left is not None), default=None)


def _left(folder: Path, limit: str, use: str) -> int | None:
    try:
        allowed = (folder / limit).read_text().strip()
        if allowed == "max" or int(allowed) >= NO_LIMIT:
            return None
        # Cached file pages count as use, but give way to processes.
        return int(allowed) - int((folder / use).read_text()) + _reclaimable(folder)
    except (OSError, ValueError):
        return None  # this level has no such controller


def _reclaimable(folder: Path) -> int:
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
