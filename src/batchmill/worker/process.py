"""What a worker process does to itself before the user's code runs: die with its node, be the kernel's first choice when memory
runs out, dump stacks on request, log where the node expects it."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from typing import Any

from batchmill.worker.channel import lift

OOM_SCORE = "500"


def stack_signal() -> int:
    """The signal that makes a worker dump all stacks: one that user code hardly ever takes."""
    real_time = getattr(signal, "SIGRTMIN", None)
    return int(real_time) + 11 if real_time is not None else int(signal.SIGUSR2)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its node dies (Linux; elsewhere the guardian process does it)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def prefer_as_victim() -> None:
    """Raise our own out-of-memory score, so that the kernel takes a worker before node and coordinator."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(OOM_SCORE)
    except OSError:
        pass  # not Linux, or not allowed: the kernel then chooses by size, which is the worker as a rule


def dump_stacks_into(path: str) -> None:
    """Stacks of all threads go to ``path`` on a crash, and when the node asks; in C, so it works while the GIL is held."""
    descriptor = lift(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
    faulthandler.enable(file=descriptor, all_threads=True)
    faulthandler.register(stack_signal(), file=descriptor, all_threads=True, chain=False)


def prepare_streams(level: str) -> None:
    """Line-buffered stdout and stderr (what a killed process printed is kept), root logging to stderr."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s|%(levelname)s|%(name)s|%(message)s")


def peak_memory() -> int:
    """Peak resident memory of this process in bytes (VmHWM; the children and the parent are not in it)."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
