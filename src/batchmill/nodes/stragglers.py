"""Processes that a script left behind in sessions of their own: no process group reaches them, but their environment names the run."""

from __future__ import annotations

import os
import signal


def incarnation(run_id: str, epoch: int) -> str:
    """The mark in the environment of one incarnation's workers: a run may be resumed while the guardian of the killed one still looks."""
    return f"{run_id}/{epoch}"


def kill_stragglers(run_id: str, epoch: int) -> None:
    """Kill every process that inherited the environment of these workers (Linux; elsewhere process groups have to do)."""
    kill_marked("BATCHMILL_INCARNATION", incarnation(run_id, epoch))


def kill_marked(variable: str, value: str) -> int:
    """Kill every other process that was started with this in its environment; returns how many."""
    mark = f"\0{variable}={value}\0".encode()
    killed = 0
    try:
        names = os.listdir("/proc")
    except OSError:
        return killed
    for name in names:
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in b"\0" + file.read() + b"\0":
                    os.kill(int(name), signal.SIGKILL)
                    killed += 1
        except OSError:
            continue  # it has ended, or is not ours
    return killed
