"""Which lines belong to which block of a text file, and reading them.

Block ``i`` of a file cut at ``size`` owns the lines whose first byte lies in (i * size, (i + 1) * size]; offset 0 belongs to block 0
(Azure ML: measured, specification D2). So the block is the bytes from behind the first line end at or after ``i * size`` to behind
the first one at or after ``(i + 1) * size``: each block finds its own lines without looking at any other.

Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import os
from typing import Callable, Optional, Protocol

from batchmill.data.text_encoding import TextEncoding
from batchmill.errors import ItemChangedError

_LOOK_AHEAD = 16 * 1024
READ_SIZE = 1 << 20


class ByteSource(Protocol):
    """Bytes that can be read at any offset."""

    size: int

    def read_at(self, offset: int, count: int) -> bytes:
        """``count`` bytes from ``offset``, fewer only at the end of the file."""


class LocalFile:
    """A file of this machine, kept open; ``pread``, never mapped: a mapped file that is cut while read kills the process."""

    __slots__ = ("descriptor", "path", "size")

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self.descriptor).st_size

    def read_at(self, offset: int, count: int) -> bytes:
        data = os.pread(self.descriptor, count, offset)
        if len(data) == count or offset + len(data) >= self.size:
            return data
        parts = [data]
        got = len(data)
        while got < count and offset + got < self.size:
            data = os.pread(self.descriptor, count - got, offset + got)
            if not data:
                raise ItemChangedError(f"{self.path} ended at byte {offset + got}: it was cut to a shorter length while it was read.")
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            self.close()


class SeekableFile:
    """The same over any seekable binary file (an object of a store)."""

    __slots__ = ("_file", "path", "size")

    def __init__(self, file: object, path: str, size: int) -> None:
        self._file = file
        self.path = path
        self.size = size

    def read_at(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)  # type: ignore[attr-defined]
        parts = []
        while count > 0 and (data := self._file.read(count)):  # type: ignore[attr-defined]
            parts.append(data)
            count -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._file.close()  # type: ignore[attr-defined]


class Block:
    """The lines of one block: ``data[start:stop]``, which lie at ``offset + start`` in their file."""

    __slots__ = ("data", "offset", "start", "stop")

    def __init__(self, data: bytes, start: int, stop: int, offset: int) -> None:
        self.data = data
        self.start = start
        self.stop = stop
        self.offset = offset

    @property
    def first_byte(self) -> int:
        return self.offset + self.start

    @property
    def last_byte(self) -> int:
        return self.offset + self.stop


def read_block(file: ByteSource, encoding: TextEncoding, start: int, stop: int, first_row: int = 0) -> Block:
    """The block between the raw borders ``start`` and ``stop``; lines before ``first_row`` (the header) are left out.

    >>> class Memory:
    ...     size = 12
    ...     def read_at(self, offset, count):
    ...         return b"aaa\\nbbb\\nccc\\n"[offset:offset + count]
    >>> block = read_block(Memory(), TextEncoding("utf-8"), 4, 8)
    >>> block.data[block.start:block.stop]
    b'ccc\\n'
    """
    # A line end counts from its last byte: the line behind it begins after the border only then.
    begin = max(0, start - encoding.unit + 1) if start else 0
    data = file.read_at(begin, min(stop, file.size) - begin + _LOOK_AHEAD)
    view = _Growing(file, data, begin)
    low = _behind_line_end(view, encoding, start) if start else min(encoding.mark, file.size)
    high = file.size if stop >= file.size else max(low, _behind_line_end(view, encoding, stop))
    low = min(max(low, first_row), high)
    return Block(view.data, low - begin, high - begin, begin)


def read_range(file: ByteSource, encoding: TextEncoding, start: int, stop: Optional[int], first_row: int = 0) -> Block:
    """The bytes from ``start`` to ``stop``, which lie at line ends; mark and header (up to ``first_row``) are left out."""
    high = file.size if stop is None else min(stop, file.size)
    low = min(max(start, first_row, encoding.mark if start == 0 else 0), high)
    data = file.read_at(low, high - low) if high > low else b""
    return Block(data, 0, len(data), low)


class _Growing:
    """Bytes of a file from ``base`` on, of which more can be had."""

    __slots__ = ("_file", "base", "data")

    def __init__(self, file: ByteSource, data: bytes, base: int) -> None:
        self._file, self.data, self.base = file, data, base

    def grow(self) -> bool:
        end = self.base + len(self.data)
        if end >= self._file.size:
            return False
        self.data += self._file.read_at(end, max(_LOOK_AHEAD, len(self.data)))
        return True


def _behind_line_end(view: _Growing, encoding: TextEncoding, border: int) -> int:
    """The offset behind the first line end whose last byte lies at or after ``border``; the end of the file where there is none."""
    at = max(0, border - encoding.unit + 1 - view.base)
    while True:
        found = encoding.first_line_end(view.data, at, view.base)
        if found >= 0:
            return view.base + found + encoding.unit
        at = max(at, len(view.data) - encoding.unit + 1)
        if not view.grow():
            return view.base + len(view.data)


def block_count(size: int, block: int) -> int:
    """How many blocks a file of ``size`` bytes has.

    >>> block_count(4466, 1024), block_count(0, 1024)
    (5, 0)
    """
    return -(-size // block)


def line_number(
    file: ByteSource, encoding: TextEncoding, offset: int, limit: int, tick: Optional[Callable[[], None]] = None
) -> Optional[int]:
    """The number (from 1) of the line that begins at ``offset``; None where counting would read more than ``limit`` bytes."""
    if offset > limit:
        return None
    lines, at = 1, 0
    while at < offset:
        data = file.read_at(at, min(READ_SIZE, offset - at))
        if not data:
            break
        lines += count_line_ends(data, encoding)
        at += len(data)
        if tick is not None:
            tick()
    return lines


def count_line_ends(data: bytes, encoding: TextEncoding) -> int:
    """Line ends in ``data``, which begins at a character and holds whole ones."""
    if encoding.unit == 1:
        return data.count(b"\n")
    count, at = 0, 0
    while (at := encoding.first_line_end(data, at)) >= 0:
        count += 1
        at += encoding.unit
    return count
