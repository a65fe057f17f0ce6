"""The guardian: a tiny process that outlives its coordinator by a moment and kills the workers it left behind.

It holds the read end of a pipe whose write end only the coordinator has; end of file means that the coordinator is gone, however it
died. It needs no cooperation (and no GIL) of the workers, and takes the children that scripts started in the workers' process groups
along. On Linux the kernel kills the workers by itself as well (parent-death signal).

The guardian starts beside the workers, so this module loads next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys

from batchmill.nodes.stragglers import kill_stragglers
from batchmill.worker.slots import PID, PID_START, WIDTH, Slots


def process_start(pid: int) -> int:
    """The start time of a process in clock ticks (Linux), 0 where unknown: tells a process from a later one with the same id."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
    except OSError:
        return 0
    return int(text.rsplit(")", 1)[1].split()[19])


class Guardian:
    """Started by the coordinator; watches the workers of one slots file."""

    def __init__(self, slots_path: str) -> None:
        import subprocess

        read, self._write = os.pipe()
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        body = f"import sys; sys.path.insert(0, {root!r}); from batchmill.nodes.guardian import main; main({read}, {slots_path!r})"
        command = [sys.executable, "-S", "-E", "-c", body]
        self._process = subprocess.Popen(command, pass_fds=(read,), stdin=subprocess.DEVNULL, start_new_session=True)
        os.close(read)

    def close(self) -> None:
        """The workers are gone: let the guardian end."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
        self._process.wait()


def watch(read_descriptor: int, slots_path: str) -> None:
    """Body of the guardian process: wait for the end of the coordinator, then kill every process group in the slots,
    and what left its group."""
    try:
        slots = Slots(slots_path, os.path.getsize(slots_path) // (WIDTH * 8))  # now: a resumed run removes the file
    except FileNotFoundError:
        return  # the run has ended before we began
    while os.read(read_descriptor, 1):
        pass
    for slot in range(slots.count):
        pid, started = slots.get(slot, PID), slots.get(slot, PID_START)
        if pid > 1 and process_start(pid) in (started, 0):
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    run_id = os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(slots_path))))
    epoch = int(os.path.basename(slots_path)[len("epoch") :])
    kill_stragglers(run_id, epoch)
    _empty_memory_cache(run_id, epoch)


def _empty_memory_cache(run_id: str, epoch: int) -> None:
    """Remove what a killed run has left in the memory file system (`batchmill.storage.prefetch.choose_cache_folder`), except what
    a newer incarnation of it, resumed while we were at it, is using."""
    memory, ours = "/dev/shm", f"batchmill-{os.getuid()}-{run_id}-"
    try:
        found = [name for name in os.listdir(memory) if name.startswith(ours)]
        left = [name for name in found if int(name[len(ours) :].split("-")[0]) <= epoch]
    except (OSError, ValueError):
        return
    if left:
        import shutil

        for name in left:
            shutil.rmtree(os.path.join(memory, name), ignore_errors=True)


def main(read_descriptor: int, slots_path: str) -> None:
    """Entry of the guardian process; the signals a terminal sends to everybody must not end it early."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch(read_descriptor, slots_path)
    os._exit(0)
