"""One segment of a ledger: the writes of one transaction, as the bytes of one immutable object.

A fixed header, then the writes, compressed: their names and values as JSON, and the bytes among the values one after the other. The
header holds a token of its own and that of the segment before: a sequence of segments is a chain, and the last token tells all of it.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.errors import StoreError
from batchmill.parallel_run.ledger_schema import WRITES

MAGIC = b"BMLS"
VERSION = 1
HEAD = struct.Struct("<4sHHQ16s16sQQ")
"""magic, version, nothing yet, number, token, token of the segment before, bytes of the body, bytes of its JSON part."""
CHECK = struct.Struct("<I")
"""CRC-32 of head and body; stands between them."""
FRONT = HEAD.size + CHECK.size
START = bytes(16)
"""What stands for the token before the first segment."""
LEVEL = 1
Write = tuple[Any, ...]
"""The name of a statement of `ledger_schema.WRITES`, then its values."""


@dataclass(frozen=True, slots=True)
class LedgerSegment:
    """``number`` counts from 1."""

    number: int
    token: bytes
    before: bytes
    writes: Sequence[Write]

    def encode(self) -> bytes:
        """The bytes of the object."""
        blobs: list[bytes] = []

        def blob(value: Any) -> dict[str, int]:
            blobs.append(bytes(value))
            return {"b": len(blobs[-1])}

        text = json.dumps(self.writes, default=blob, separators=(",", ":"), ensure_ascii=False).encode()
        body = zlib.compress(b"".join((text, *blobs)), LEVEL)
        head = HEAD.pack(MAGIC, VERSION, 0, self.number, self.token, self.before, len(body), len(text))
        return head + CHECK.pack(zlib.crc32(body, zlib.crc32(head))) + body


def decode(data: bytes, name: str) -> LedgerSegment:
    """A segment from its bytes; ``name`` is for the message.

    Raises:
        StoreError: they are damaged, or of a newer version.
    """
    found = list(decode_all(data, name))
    if len(found) != 1:
        raise _damaged(name)
    return found[0]


def decode_all(data: bytes, name: str) -> Iterator[LedgerSegment]:
    """Segments that stand one after the other.

    Raises:
        StoreError: see `decode`.
    """
    at = 0
    while at < len(data):
        if len(data) < at + FRONT:
            raise _damaged(name)
        magic, version, _, number, token, before, length, text = HEAD.unpack_from(data, at)
        if magic == MAGIC and version > VERSION:
            raise StoreError(f"{name} was written by a newer Batchmill.", cure="Use that version, or a later one.")
        body = data[at + FRONT : at + FRONT + length]
        (check,) = CHECK.unpack_from(data, at + HEAD.size)
        if magic != MAGIC or len(body) != length or zlib.crc32(body, zlib.crc32(data[at : at + HEAD.size])) != check:
            raise _damaged(name)
        yield LedgerSegment(number, token, before, _writes(zlib.decompress(body), text, name))
        at += FRONT + length


def _writes(body: bytes, text: int, name: str) -> list[Write]:
    at = text

    def blob(value: dict[str, int]) -> bytes:
        nonlocal at
        at += value["b"]
        return body[at - value["b"] : at]

    writes = [tuple(write) for write in json.loads(body[:text], object_hook=blob)]
    if any(write[0] not in WRITES for write in writes):
        raise _damaged(name)
    return writes


def _damaged(name: str) -> StoreError:
    return StoreError(f"{name} is damaged: it is no segment of a ledger, or not all of one.")
