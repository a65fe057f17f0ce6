"""The progress bar of a terminal. Rich is loaded here, so that nothing else pays for it."""

from __future__ import annotations

import time

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

from batchmill.cli.pace import Pace
from batchmill.cli.watching import numbers, opening
from batchmill.records import Counts, RunStatus

REFRESH = 0.2
LONGEST_BAR = 80


class Bar:
    """Two lines that are drawn anew a few times a second by the caller's own thread, and vanish at the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._pace = Pace()
        self._drawn = 0.0

    def planning(self, found: int) -> None:
        """The listing goes on."""
        if self._due():
            self._draw(Text(f"{self._title}: {found:,} items listed", style="dim"))

    def announce(self, text: str) -> None:
        """A line of its own, above the bar."""
        self.close()
        self._console.print(Text(f"{self._title}: {text}"), soft_wrap=True)

    def started(self, counts: Counts) -> None:
        """The plan is made."""
        self.close()
        self._console.print(Text(opening(self._title, counts)), soft_wrap=True)
        self._draw_counts(counts)

    def update(self, counts: Counts) -> None:
        """Draw, if it is time."""
        self._pace.see(counts, time.monotonic())
        if self._due():
            self._draw_counts(counts)

    def ended(self, status: RunStatus, counts: Counts, error: str | None) -> None:
        """The bar vanishes, the summary says it."""
        self.close()

    def close(self) -> None:
        """Clear the bar, show the cursor."""
        if self._live.is_started:
            self._live.stop()

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._drawn < REFRESH:
            return False
        self._drawn = now
        return True

    def _draw_counts(self, counts: Counts) -> None:
        batches = counts.mini_batches
        done = batches.succeeded + batches.failed
        share = done / batches.total if batches.total else 0.0
        width = max(10, min(LONGEST_BAR, self._console.width - 7))
        style = "yellow" if batches.failed else "cyan"
        line = Text(no_wrap=True, overflow="ellipsis")
        colours = {"failed": "red" if counts.items.failed else "", "retried": "yellow" if batches.retried else ""}
        for phrase in numbers(counts, self._pace):
            line.append(("  " if line else "") + phrase, style=colours.get(phrase.split()[-1], ""))
        bar = ProgressBar(total=max(1, batches.total), completed=done, width=width, complete_style=style, finished_style=style)
        self._draw(Group(_Row(f"{share:4.0%}", bar), line))

    def _draw(self, what: Group | Text) -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(what, refresh=True)


class _Row:
    """A percentage and a bar, on one line."""

    def __init__(self, share: str, bar: ProgressBar) -> None:
        self._share, self._bar = share, bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"{self._share} ", end="")
        yield self._bar
        yield Segment.line()
