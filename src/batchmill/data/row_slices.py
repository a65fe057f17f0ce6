"""Cutting text at exact row and block borders while planning: one pass, nothing kept but the offsets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batchmill.data.compressed import END_UNKNOWN
from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited_text import row_count_and_ends
from batchmill.data.json_lines import object_ends
from batchmill.data.table_options import TableOptions
from batchmill.data.text_blocks import read_block
from batchmill.data.text_encoding import TextEncoding
from batchmill.data.text_file import TextFile

CHUNK = 8 * 1024 * 1024
UNKNOWN = 2**64 - 1

Cut = tuple[int, int, int]
"""Start, stop, rows."""


def block_slices(file: TextFile, size: int) -> Iterator[Cut]:
    """The blocks of a file with their exact borders (for plain files among compressed ones)."""
    end = file.file.size
    for start in range(0, end, size):
        block = read_block(file.file, file.encoding, start, min(start + size, end))
        yield 0 if start == 0 else block.first_byte, block.last_byte, UNKNOWN


def row_slices(file: TextFile, options: TableOptions, rows: int) -> Iterator[Cut]:
    """``rows`` rows each, the last one fewer; blank lines go with the row before them. A file without rows is one empty slice."""
    start, held, end = 0, 0, file.header_end
    for begin, text in whole_lines(file, options):
        stored = _row_ends(text, options, file.encoding)
        end = begin + len(text)
        at = 0
        while held + len(stored) - at > rows:
            at += rows - held
            stop = begin + int(stored[at - 1]) if at else begin
            yield start, stop, rows
            start, held = stop, 0
        held += len(stored) - at
    yield start, end, held


def whole_lines(file: TextFile, options: TableOptions, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of consecutive pieces of the rows of a file, each ending at a row's end; stops behind about ``limit`` bytes."""
    at = file.header_end
    source, encoding = file.file, file.encoding
    rest, rest_at = b"", at
    wanted = CHUNK
    while True:
        data = source.read_at(at, wanted if limit is None else min(wanted, limit))
        at += len(data)
        last = not data or (source.size != END_UNKNOWN and at >= source.size)
        rest += data
        end = len(rest) if last else _last_row_end(rest, rest_at, options, encoding)
        if end:
            yield rest_at, rest[:end]
            rest, rest_at = rest[end:], rest_at + end
            wanted = CHUNK
        else:
            wanted = max(CHUNK, len(rest))
        if last or (limit is not None and rest_at - file.header_end >= limit):
            return


def _last_row_end(data: bytes, base: int, options: TableOptions, encoding: TextEncoding) -> int:
    """The offset behind the last line end that surely ends a row; 0 where there is none."""
    end = len(data)
    while True:
        found = data.rfind(encoding.line_end, 0, end)
        if found < 0:
            return 0
        if (base + found) % encoding.unit:
            end = found + len(encoding.line_end) - 1
            continue
        behind = found + encoding.unit
        quote = '"'.encode(encoding.codec)
        if not options.multi_line or data.count(quote, 0, behind) % 2 == 0:
            return behind
        end = found


def _row_ends(stored: bytes, options: TableOptions, encoding: TextEncoding) -> Any:
    """Offsets behind each row, in stored bytes."""
    import numpy as np

    if encoding.unit == 1 and not options.multi_line:
        if options.delimited:
            return row_count_and_ends(stored, b",", multi_line=False)
        return object_ends(stored)
    text = Utf8Text.decode(stored, 0, len(stored), encoding)
    separator = options.separator.encode("utf-8")
    ends = row_count_and_ends(text.data, separator, multi_line=options.multi_line) if options.delimited else object_ends(text.data)
    if encoding.codec == "utf-8":
        return ends
    # Offsets in UTF-8 become offsets in the file: count the characters.
    result, at, behind = [], 0, 0
    for end in ends.tolist():
        piece = text.data[at:end].decode("utf-8")
        behind += len(piece.encode(encoding.codec))
        at = end
        result.append(min(behind, len(stored)))
    return np.array(result, np.int64)
