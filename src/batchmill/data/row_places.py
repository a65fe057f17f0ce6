"""Where the rows of a block lie in their file, by line number: worked out only when somebody asks.

Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

from array import array
from typing import Optional

from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited_text import rows_of
from batchmill.data.json_lines import row_lines
from batchmill.data.table_options import TableOptions
from batchmill.data.text_blocks import Block
from batchmill.data.text_file import TextFile


class RowPlaces:
    """The line (from 1) in which each row of a block begins; with an unknown first line, the byte of the block stands for them."""

    __slots__ = ("_block_begins", "_first_line", "_lines")

    def __init__(self, lines: array[int], first_line: Optional[int], block_begins: int) -> None:
        self._lines = lines
        self._first_line = first_line
        self._block_begins = block_begins

    def place(self, path: str, row: int) -> str:
        """``path:line 17``."""
        if not 0 <= row < len(self._lines):
            return f"{path}:row {row + 1} behind byte {self._block_begins}"
        if self._first_line is None:
            return f"{path}:line {self._lines[row] + 1} behind byte {self._block_begins}"
        return f"{path}:line {self._first_line + self._lines[row]}"


def row_places(file: TextFile, block: Block, options: TableOptions) -> RowPlaces:
    """The places of all rows of ``block``."""
    text = Utf8Text.decode(block.data, block.start, block.stop, file.encoding)
    data = text.data[text.start : text.stop]
    if options.delimited:
        starts = [start for start, _ in rows_of(data, options.separator.encode("utf-8"), multi_line=options.multi_line)]
    else:
        starts = [start for start, _ in row_lines(Utf8Text(data, 0, len(data), text.bad_lines), options)]
    lines, line, at = array("Q"), 0, 0
    for start in starts:
        line += data.count(b"\n", at, start)
        at = start
        lines.append(line)
    return RowPlaces(lines, file.line_number(block.first_byte), block.first_byte)
