"""Encodings of text tables: where lines end in the stored bytes, and how bytes become UTF-8.

Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import codecs

LONGEST_MARK = 4
_SINGLE_BYTE = {"ascii": "ascii", "iso88591": "latin-1", "latin1": "latin-1", "windows1252": "cp1252"}
_WIDE = {
    "utf16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
}


class TextEncoding:
    """The encoding of one file.

    ``unit`` is the width of a character in bytes, ``mark`` the length of the byte order mark, ``line_end`` the stored form of a
    line end (which lies at a multiple of ``unit``).
    """

    __slots__ = ("codec", "line_end", "mark", "unit")

    def __init__(self, codec: str, unit: int = 1, mark: int = 0) -> None:
        self.codec = codec
        self.unit = unit
        self.mark = mark
        self.line_end = "\n".encode(codec)

    @classmethod
    def of_file(cls, name: str, head: bytes) -> TextEncoding:
        """The encoding called ``name`` (a value of the setting) for a file that begins with ``head`` (at least 4 bytes, if it has them)."""
        if name in _SINGLE_BYTE:
            return cls(_SINGLE_BYTE[name])
        if name in _WIDE:
            unit = 2 if name == "utf16" else 4
            for mark, codec in _WIDE[name]:
                if head.startswith(mark):
                    return cls(codec, unit, len(mark))
            return cls(_WIDE[name][0][1], unit)
        return cls("utf-8", 1, 3 if head.startswith(codecs.BOM_UTF8) else 0)

    def to_utf8(self, data: bytes) -> bytes:
        """``data`` as UTF-8.

        Raises:
            UnicodeDecodeError: some of it is not text of this encoding (never for UTF-8 itself, which is checked when it is parsed).
        """
        if self.codec == "utf-8":
            return data
        if self.unit == 1 and data.isascii():
            return data
        return data.decode(self.codec).encode("utf-8")

    def first_line_end(self, data: bytes, at: int, base: int = 0, stop: int = -1) -> int:
        """Where in ``data`` the first line end at or after ``at`` begins (-1: none); ``base`` is the offset of ``data`` in its file."""
        end = len(data) if stop < 0 else stop
        found = data.find(self.line_end, at, end)
        while found >= 0 and (base + found) % self.unit:
            found = data.find(self.line_end, found + 1, end)
        return found

    def lines(self, data: bytes) -> list[bytes]:
        """The stored lines of ``data`` (which begins at a character), without their line ends."""
        if self.unit == 1:
            lines = data.split(b"\n")
        else:
            lines, at = [], 0
            while (end := self.first_line_end(data, at)) >= 0:
                lines.append(data[at:end])
                at = end + self.unit
            lines.append(data[at:])
        if not lines[-1]:
            lines.pop()
        return lines
