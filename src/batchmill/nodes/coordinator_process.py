"""The process of a detached run: it carries the run out, or follows it where a cluster does, and tells its starter how that began."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

from batchmill.errors import BatchmillError
from batchmill.nodes.carrier import carrier
from batchmill.parallel_run.run_folder import find_run
from batchmill.records import RunStatus

LAST_SECONDS = 5.0
EXIT_CODES = {RunStatus.COMPLETED: 0, RunStatus.INTERRUPTED: 130}
"""What a command returns for each ending; 1 for all others."""


def main(arguments: list[str] | None = None) -> int:
    """``python -m batchmill.nodes.coordinator_process RUN --report FD``: tell the starter how the beginning went, then carry the run out.

    With ``--life FD`` the process ends when the other end of that pipe is closed, which the death of whoever holds it does.
    """
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--report", type=int)
    parser.add_argument("--life", type=int)
    options = parser.parse_args(arguments)
    if options.life is not None:
        threading.Thread(target=_end_with, args=(options.life,), name="batchmill-life", daemon=True).start()
    coordinator = carrier(find_run(options.run))
    try:
        coordinator.prepare()
    except BatchmillError as error:
        _report(options.report, {"error": error.message, "cure": error.cure, "class": type(error).__name__})
        return error.exit_code
    _report(options.report, {"planned": True})
    try:
        return EXIT_CODES.get(coordinator.carry_out().status, 1)
    except KeyboardInterrupt:  # what goes on elsewhere goes on
        return EXIT_CODES[RunStatus.INTERRUPTED]


def _end_with(descriptor: int) -> None:
    """Interrupt this process when the pipe ends; kill it when it does not heed that."""
    os.set_inheritable(descriptor, False)
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _report(descriptor: int | None, message: dict[str, Any]) -> None:
    if descriptor is None:
        return
    try:
        os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)
    except OSError:
        traceback.print_exc()  # the starter has left; the run goes on


if __name__ == "__main__":
    sys.exit(main())
