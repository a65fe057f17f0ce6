"""How much memory a run may take: what the machine has available, and what the cgroup's limit leaves (Linux)."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60


def usable_memory() -> int:
    """Bytes that new processes can take now."""
    import psutil

    available = int(psutil.virtual_memory().available)
    left = _left_in_cgroup()
    return available if left is None else max(0, min(available, left))


def _left_in_cgroup() -> int | None:
    """Limit minus use, None without a limit. A parent's limit counts as well as the own one."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found += _levels(CGROUP, path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            found += _levels(CGROUP / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
    return min(found) if found else None


def _levels(root: Path, path: str, limit: str, use: str) -> list[int]:
    found = []
    folder = root / path.lstrip("/")
    while True:
        try:
            allowed = (folder / limit).read_text().strip()
            if allowed != "max" and int(allowed) < NO_LIMIT:
                # Cached file pages count as use, but give way to processes.
                found.append(int(allowed) - int((folder / use).read_text()) + _reclaimable(folder))
        except (OSError, ValueError):
            pass  # this level has no such controller
        if folder == root or root not in folder.parents:
            return found
        folder = folder.parent


def _reclaimable(folder: Path) -> int:
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
