"""One line that says how far an upload or download is (``show_progress=True``)."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from batchmill.storage.transfer import Moved

EVERY = 0.2
UNITS = ("bytes", "KB", "MB", "GB", "TB")


class TransferLine:
    """Rewrites its line on a terminal; elsewhere it prints one at the end. To stderr.

    >>> with TransferLine("Uploaded", "to photos") as line: ...   # doctest: +SKIP
    """

    def __init__(self, verb: str, where: str, *, show: bool = True) -> None:
        self._verb, self._where, self._show = verb, where, show
        self._live = show and sys.stderr.isatty()
        self._shown = time.monotonic()
        self._last: Moved | None = None

    def __enter__(self) -> TransferLine:
        return self

    def __call__(self, moved: Moved) -> None:
        """A file more."""
        self._last = moved
        now = time.monotonic()
        if self._live and now - self._shown >= EVERY:
            self._shown = now
            print(f"\r\x1b[K{self._text(moved)}", end="", file=sys.stderr, flush=True)  # noqa: T201

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201
        if self._show and error is None:
            from batchmill.storage.transfer import Moved

            print(self._text(self._last or Moved()), file=sys.stderr, flush=True)  # noqa: T201

    def _text(self, moved: Moved) -> str:
        text = f"{self._verb} {moved.files:,} file{'' if moved.files == 1 else 's'} ({_size(moved.size)}) {self._where}"
        return f"{text}; {moved.skipped:,} there already" if moved.skipped else text


def _size(count: float) -> str:
    if count == 1:
        return "1 byte"
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 10 else f"{count:.1f} {UNITS[unit]}"
