"""Processes that a script left behind in sessions of their own: no process group reaches them, but their environment names the run."""

from __future__ import annotations

import os
import signal


def kill_stragglers(run_id: str) -> None:
    """Kill every process that inherited the environment of this run's workers (Linux; elsewhere process groups have to do)."""
    mark = b"\0BATCHMILL_RUN_ID=" + run_id.encode() + b"\0"
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in b"\0" + file.read() + b"\0":
                    os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue  # it has ended, or is not ours
