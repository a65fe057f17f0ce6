"""``digits.py``, which says when the first mini-batch began."""

from __future__ import annotations

import digits
from first_mark import mark


def init() -> None:
    digits.init()


def run(mini_batch: list[str]) -> list[str]:
    mark()
    return digits.run(mini_batch)
