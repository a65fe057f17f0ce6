"""What a worker tells about finished mini-batches: one packed record each, many to a message.

The record is what the ledger keeps, so neither the node nor the coordinator unpacks it on the hot path.
"""

from __future__ import annotations

import base64
import struct
from typing import Any, Optional

RECORD = struct.Struct("<QIIIIdff")
"""length, rows, items, items ok, crc32 of the bytes, start (Unix time, s), elapsed (s), time in run() (s)."""

SPAN = struct.Struct("<QQQQQ")
"""mini-batch, stdout from, stdout to, stderr from, stderr to: offsets into the process's log files."""


class Delivery:
    """Successful, consecutive mini-batches (or one piece of a mini-batch) not yet told to the node."""

    __slots__ = (
        "bytes",
        "count",
        "first",
        "header",
        "items",
        "lease",
        "notes",
        "offset",
        "ok",
        "packed",
        "piece",
        "rows",
        "short",
        "spans",
    )

    def __init__(self, lease: int, first: int, offset: int, piece: Optional[tuple[int, int]] = None) -> None:
        self.lease = lease
        self.first = first
        self.offset = offset
        self.piece = piece
        self.count = 0
        self.bytes = 0
        self.rows = 0
        self.items = 0
        self.ok = 0
        self.short = 0
        self.packed = bytearray()
        self.spans = bytearray()
        self.notes: list[dict[str, Any]] = []
        self.header: Optional[str] = None

    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "m": "done",
            "lease": self.lease,
            "first": self.first,
            "count": self.count,
            "offset": self.offset,
            "length": self.bytes,
            "rows": self.rows,
            "items": self.items,
            "ok": self.ok,
            "short": self.short,
            "packed": base64.b64encode(self.packed).decode("ascii"),
        }
        if self.piece is not None:
            message["piece"] = self.piece
        if self.spans:
            message["spans"] = base64.b64encode(self.spans).decode("ascii")
        if self.notes:
            message["notes"] = self.notes
        if self.header is not None:
            message["header"] = self.header
        return message
