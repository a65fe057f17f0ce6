"""Reads no cell: what is measured is how fast the rows get here."""

from __future__ import annotations

from typing import Any


def run(mini_batch: Any) -> range:
    return range(len(mini_batch))
