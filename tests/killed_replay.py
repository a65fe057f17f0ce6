"""A replay that kills itself at a chosen moment: ``python killed_replay.py RUN_FOLDER MOMENT``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batchmill.nodes import replay as room
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.settlement import Settlement
from batchmill.storage.upload import OutputFolder

OUTPUT = "parallel_run_step.txt"
LOCAL = ("before merge", "before rename", "after rename", "before settlement", "after settlement")
REMOTE = (*LOCAL, "amid upload", "after upload")


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(real: Callable[..., Any], last: int) -> Callable[..., Any]:
    """``real``, then the end, if its argument number ``last`` is the output."""

    def wrapped(*arguments: Any) -> Any:
        answer = real(*arguments)
        if str(arguments[last]).endswith(OUTPUT):
            die()
        return answer

    return wrapped


def begin_upload(folder: OutputFolder, _local: object, name: str) -> None:
    """Send the first part of several."""

    def content() -> Iterator[bytes]:
        yield b"x" * (12 << 20)
        die()

    folder._store().put(folder.location.key(name), content(), chunk_size=5 << 20)


def arm(moment: str) -> None:
    if moment == "before merge":
        room.merge = die
    elif moment == "before rename":
        room.os.rename = die
    elif moment == "after rename":
        room.os.rename = after(os.rename, 1)
    elif moment == "amid upload":
        OutputFolder.publish = begin_upload  # type: ignore[method-assign,assignment]
    elif moment == "after upload":
        OutputFolder.publish = after(OutputFolder.publish, 2)  # type: ignore[method-assign]
    elif moment == "before settlement":
        Settlement.write_down = die  # type: ignore[method-assign,assignment]
    elif moment == "after settlement":
        room.write_dead_letters = die
    else:
        raise ValueError(moment)


if __name__ == "__main__":
    arm(sys.argv[2])
    room.replay(RunFolder(Path(sys.argv[1])), Silent())
