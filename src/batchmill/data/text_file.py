"""One text file of a table: its bytes, its encoding, and where its header ends.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

from batchmill.data.compressed import CompressedText, is_compressed
from batchmill.data.delimited import header_names
from batchmill.data.table_options import TableOptions
from batchmill.data.text_blocks import Block, LocalFile, SeekableFile, line_number, read_block, read_range
from batchmill.data.text_encoding import LONGEST_MARK, TextEncoding
from batchmill.errors import InputError

_HEADER_STEP = 64 * 1024
LONGEST_HEADER = 64 * 1024 * 1024
COUNT_LINES_UP_TO = 4 * 1024**3
"""Line numbers are counted from the beginning of the file for rows that lie before this byte."""

Opener = Callable[[str], Any]


def open_local(path: str) -> Any:
    """A file of this machine, for reading forward."""
    return open(path, "rb")


class TextFile:
    """A text file, opened. ``with_header`` says whether its first line that is not blank holds column names.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, options: TableOptions, *, with_header: bool, opener: Optional[Opener] = None, size: int = 0) -> None:
        self.path = path
        self.with_header = with_header
        self.compressed = is_compressed(path)
        self._options = options
        self.file: Union[LocalFile, SeekableFile, CompressedText]
        if self.compressed:
            self.file = CompressedText(path, lambda: (opener or open_local)(path))
        elif opener is None:
            self.file = LocalFile(path)
        else:
            self.file = SeekableFile(opener(path), path, size)
        self.encoding = TextEncoding.of_file(options.encoding, self.file.read_at(0, LONGEST_MARK))
        self._header: Optional[tuple[bytes, int]] = None

    def close(self) -> None:
        self.file.close()

    @property
    def header_end(self) -> int:
        """The offset behind the header; behind the byte order mark where there is no header."""
        return self._read_header()[1] if self.with_header else self.encoding.mark

    def column_names(self) -> Optional[list[str]]:
        """The names in the header; None for a file without lines.

        Raises:
            InputError: the header is no text of the encoding.
        """
        line = self._read_header()[0]
        if not line:
            return None
        try:
            return header_names(line, self.encoding, self._options.separator)
        except UnicodeDecodeError:
            raise InputError(
                f"{self.path} begins with a line that is not text in the encoding {self._options.encoding}.",
                cure="Say which it is: --encoding.",
            ) from None

    def _read_header(self) -> tuple[bytes, int]:
        if self._header is None:
            self._header = self._find_header()
        return self._header

    def _find_header(self) -> tuple[bytes, int]:
        at, unit = self.encoding.mark, self.encoding.unit
        data = self.file.read_at(at, _HEADER_STEP)
        begin = 0
        while True:
            end = self.encoding.first_line_end(data, begin, at)
            if end < 0:
                more = self.file.read_at(at + len(data), max(_HEADER_STEP, len(data))) if len(data) < LONGEST_HEADER else b""
                if not more:
                    return data[begin:], at + len(data)
                data += more
                continue
            line = data[begin:end]
            begin = end + unit
            if line and line != "\r".encode(self.encoding.codec):
                return line, at + begin

    def block(self, start: int, stop: int) -> Block:
        """The rows of the block between the raw borders ``start`` and ``stop``."""
        return read_block(self.file, self.encoding, start, stop, self.header_end)

    def lines(self, start: int, stop: Optional[int]) -> Block:
        """The rows between ``start`` and ``stop`` (None: the end), which lie at line ends; of compressed files, offsets of the text."""
        if self.compressed and stop is None:
            low = max(start, self.header_end)
            data = self.file.read_all(low)  # type: ignore[union-attr]
            return Block(data, 0, len(data), low)
        return read_range(self.file, self.encoding, start, stop, self.header_end)

    def line_number(self, offset: int) -> Optional[int]:
        """The number of the line that begins at ``offset``; None where it lies too far behind."""
        return line_number(self.file, self.encoding, offset, COUNT_LINES_UP_TO)
