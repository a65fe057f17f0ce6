"""Only one run at a time may write into an output folder: an advisory lock on the folder itself, so nothing is written into it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from batchmill.errors import OutputBusyError, OutputError
from batchmill.parallel_run.run_folder import all_runs, run_name


class OutputClaim:
    """Holds an output folder for this process."""

    def __init__(self, folder: Path, run_id: str) -> None:
        make_output_folder(folder)
        try:
            self._descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        except OSError as error:
            raise _unusable(folder, error) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            os.close(self._descriptor)
            raise OutputError(f"The output folder {folder} cannot be written.", cure="Choose another --output; nothing was started.")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            holder = _holder(folder, run_id)
            raise OutputBusyError(
                f"The output folder {folder} is being written by {holder}.",
                cure="Wait for it, cancel it, or choose another --output; nothing was started.",
            ) from None

    def release(self) -> None:
        os.close(self._descriptor)


def make_output_folder(folder: Path) -> None:
    """Have it there.

    Raises:
        OutputError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The output folder {folder} cannot be used: {error.strerror}.", cure="Choose another --output; nothing was started."
    )


def _holder(folder: Path, run_id: str) -> str:
    for run in all_runs():
        if run.id == run_id:
            continue
        try:
            output = json.loads(run.settings.read_text())["output"]
        except (OSError, ValueError, KeyError):
            continue
        if output == str(folder) and run.alive():
            return f"run {run.id} ({run_name(run)})"
    return "another run"
