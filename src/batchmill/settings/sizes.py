"""Sizes of mini-batches as users write them."""

from __future__ import annotations

import re
from typing import Literal

from batchmill.errors import SettingError

SIZE = re.compile(r"^(\d+)([kmg]b)?$", re.IGNORECASE)
ROWS = re.compile(r"^(\d+)rows$", re.IGNORECASE)
UNITS = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}


def parse_size(text: str | None) -> tuple[Literal["count", "rows"], int] | None:
    """``"10"`` -> ("count", 10), ``"1KB"`` -> ("count", 1024), ``"500rows"`` -> ("rows", 500), None -> None.

    A "count" is a number of files for file inputs and a number of bytes for tables (Azure ML: ``1KB`` with files is 1024 files).
    """
    if text is None:
        return None
    if match := ROWS.match(text):
        return "rows", int(match[1])
    match = SIZE.match(text)
    if match is None:
        raise SettingError(f"Setting 'mini_batch_size' has the value {text!r}: must be a number of files, bytes or rows.")
    return "count", int(match[1]) * UNITS[(match[2] or "").lower()]
