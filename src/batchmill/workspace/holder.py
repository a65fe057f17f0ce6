"""Who holds something in the database: a process of a machine, so that others can tell whether it lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

SILENCE = timedelta(seconds=60)  # after which a holder elsewhere counts as dead
BEAT = timedelta(seconds=15)  # how often a holder says that it lives
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process. ``host`` tells this machine since its last start from others, ``start`` the process from a later one with its id."""

    host: str
    pid: int
    start: str

    @classmethod
    def me(cls) -> Holder:
        """This process."""
        return cls(this_host(), os.getpid(), process_start(os.getpid()) or "")

    def alive(self, seen: datetime, now: datetime) -> bool:
        """Whether it lives: known exactly on this machine, elsewhere by when it was last heard of."""
        if self.host == this_host() and not _hidden(self.pid):
            return process_start(self.pid) == self.start
        return now - seen < SILENCE


def this_host() -> str:
    """Host name, boot id and the name space of process ids: the same id means the same process only within all three."""
    return "/".join([socket.gethostname(), _boot_id(), _pid_space()])


def process_start(pid: int) -> str | None:
    """When a process began, in ticks since the machine did (without /proc, as on macOS: in seconds since 1970); None where it has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None if (PROC / "self" / "stat").exists() else _start_by_clock(pid)
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else fields[19]


def _start_by_clock(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def _hidden(pid: int) -> bool:
    """Whether it is another user's process, on a machine that hides those."""
    if (PROC / str(pid)).exists():
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
