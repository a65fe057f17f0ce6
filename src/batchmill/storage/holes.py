"""Giving back the disk space of bytes that nobody needs any more, inside a file that is still being written."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

BLOCK = 4096
KEEP_SIZE, PUNCH_HOLE = 1, 2


def punch(path: str | os.PathLike[str], start: int, stop: int) -> int:
    """Free the whole blocks of a file between two offsets, of which the first is the end of an earlier hole; they read as zeros then.

    Returns where the hole ends. Where the system or the file system cannot do it, the space stays taken.
    """
    stop -= stop % BLOCK
    function = _fallocate()
    if stop <= start or function is None:
        return start
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        function(descriptor, KEEP_SIZE | PUNCH_HOLE, start, stop - start)
    finally:
        os.close(descriptor)
    return stop


@cache
def _fallocate() -> Any:
    """The system call as the C library has it (Linux); None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function
