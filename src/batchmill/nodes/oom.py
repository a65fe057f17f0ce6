"""Did the kernel kill for memory? Counters that rise by one with every such kill."""

from __future__ import annotations

import time
from pathlib import Path

AT_ONCE = 1.0


class OutOfMemoryCounter:
    """Compares the kernel's counters of memory kills between two looks (Linux; elsewhere it never sees one)."""

    def __init__(self) -> None:
        self._files = [path for path in _candidates() if path.exists()]
        self._seen = self._read()
        self._rose = -AT_ONCE

    def risen(self) -> bool:
        """True when a memory kill happened since the last look, or within the last second (several processes die at once)."""
        count, now = self._read(), time.monotonic()
        if count > self._seen:
            self._rose = now
        self._seen = count
        return now - self._rose < AT_ONCE

    def _read(self) -> int:
        total = 0
        for path in self._files:
            try:
                lines = path.read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        return total


def _candidates() -> list[Path]:
    found = [Path("/proc/vmstat")]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append(Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control")
    return found
