"""Texts for people: on stderr, so that stdout carries only what was asked for; in colour only where a terminal shows it."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from batchmill.records import RunStatus

COLOURS = {
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELED: "yellow",
    RunStatus.INTERRUPTED: "yellow",
    RunStatus.RUNNING: "cyan",
    RunStatus.QUEUED: "cyan",
}

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def is_terminal(stream: TextIO) -> bool:
    """True where a bar that moves and colours make sense."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """The text with a colour or weight, if the stream shows it (https://no-color.org is honoured)."""
    if not is_terminal(stream) or os.environ.get("NO_COLOR"):
        return text
    import typer

    return typer.style(text, **style)


def tell(text: str = "") -> None:
    """One line for the person at the terminal; nobody being there any more is no reason to end a run."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """The reader (head, less) has left: what is still to be written there, also at exit, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def reader_left(stream: TextIO) -> bool:
    """True where a pipe's other end is closed, which is otherwise only learned by writing."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def show_error(text: str) -> None:
    """``Error: ...`` in one line."""
    tell(styled("Error:", sys.stderr, fg="red", bold=True) + " " + " ".join(text.splitlines()))


def status_word(status: RunStatus, stream: TextIO) -> str:
    """The status in its colour."""
    return styled(status.value, stream, fg=COLOURS[status])


def short_path(path: str | Path) -> str:
    """As a user in this folder would type it: relative where it lies below."""
    text = str(path)
    if "://" in text or not os.path.isabs(text):
        return text
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return text  # the current folder is gone
    return str(Path(text).relative_to(here)) if Path(text).is_relative_to(here) else text


def local_time(text: str | None) -> str:
    """``2026-01-31T12:00:00Z`` as the clock on the wall shows it."""
    if text is None:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def number(value: int | None) -> str:
    """``12,345``, or a question mark for what is not known yet."""
    return "?" if value is None else f"{value:,}"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = (), *, gap: str = "  ", left: int = 0) -> list[str]:
    """Lines with columns aligned, those in ``right`` by their right edges, the first one ``left`` wide at least. Colours take no room."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = max(left, widths[0])

    def cell(text: str, column: int) -> str:
        space = " " * (widths[column] - _width(text))
        return space + text if column in right else text + space

    return [gap.join(cell(text, column) for column, text in enumerate(row)).rstrip() for row in rows]


def _width(text: str) -> int:
    return len(ANSI.sub("", text)) if "\x1b" in text else len(text)
