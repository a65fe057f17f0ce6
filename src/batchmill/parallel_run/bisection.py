"""Bisection: a mini-batch that keeps failing is cut in halves until the items that are to blame stand alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Piece = tuple[int, int]
"""Consecutive items of one mini-batch: first item, number of items."""

BISECTIONS_SEEN = 20
"""Bisection gives up when more than half of this many last bisected mini-batches failed in every item."""


@dataclass(slots=True)
class Trouble:
    """What is exceptional about one mini-batch."""

    tries: int = 0
    alone: bool = False
    items: int | None = None
    ok: int = 0
    failed: int = 0
    open_pieces: dict[Piece, int] = field(default_factory=dict)
    suspect: bool = False


class Bisections:
    """How the last bisections ended: where most found nothing good, the script is broken rather than the data."""

    def __init__(self) -> None:
        self._all_failed: deque[bool] = deque(maxlen=BISECTIONS_SEEN)

    def ended(self, ok: int) -> None:
        self._all_failed.append(ok == 0)

    @property
    def gave_up(self) -> bool:
        return sum(self._all_failed) > BISECTIONS_SEEN // 2


def halves(piece: Piece) -> tuple[Piece, Piece]:
    """The two halves of a piece of at least two items."""
    first, count = piece
    return (first, count // 2), (first + count // 2, count - count // 2)


def open_pieces(items: int, settled: Iterable[Piece], tries: Mapping[Piece, int]) -> Iterator[Piece]:
    """The pieces that a bisection has still to run: down as far as it had come, without what has its fate."""
    has_fate = bytearray(items)
    for first, count in settled:
        has_fate[first : first + count] = b"\1" * count
    pieces = deque(halves((0, items)))
    while pieces:
        first, count = piece = pieces.popleft()
        known = has_fate.count(1, first, first + count)
        if known == count:
            continue
        if known or (count > 1 and piece in tries):
            pieces += halves(piece)
        else:
            yield piece
