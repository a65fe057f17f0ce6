"""Text of a file as UTF-8, however it is stored.

Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

from batchmill.data.text_encoding import TextEncoding


class Utf8Text:
    """The text ``data[start:stop]`` as UTF-8, with the offsets (from ``start``) of the lines that could not be decoded.

    Text stored as UTF-8 is taken as it is and checked when it is parsed.
    """

    __slots__ = ("bad_lines", "data", "start", "stop")

    def __init__(self, data: bytes, start: int, stop: int, bad_lines: frozenset[int] = frozenset()) -> None:
        self.data = data
        self.start = start
        self.stop = stop
        self.bad_lines = bad_lines

    @classmethod
    def decode(cls, data: bytes, start: int, stop: int, encoding: TextEncoding) -> Utf8Text:
        """``data[start:stop]``, stored in ``encoding``; a line that is no text of it is kept in some readable form and marked."""
        if encoding.codec == "utf-8":
            return cls(data, start, stop)
        stored = data if start == 0 and stop == len(data) else data[start:stop]
        try:
            text = encoding.to_utf8(stored)
            return cls(text, 0, len(text))
        except UnicodeDecodeError:
            return cls._line_by_line(stored, encoding)

    @classmethod
    def _line_by_line(cls, stored: bytes, encoding: TextEncoding) -> Utf8Text:
        lines, bad, at = [], set(), 0
        for line in encoding.lines(stored):
            try:
                text = line.decode(encoding.codec).encode("utf-8")
            except UnicodeDecodeError:
                text = line.decode(encoding.codec, "replace").replace("\n", " ").encode("utf-8", "replace") or b"?"
                bad.add(at)
            lines.append(text)
            at += len(text) + 1
        joined = b"\n".join([*lines, b""])
        return cls(joined, 0, len(joined), frozenset(bad))
