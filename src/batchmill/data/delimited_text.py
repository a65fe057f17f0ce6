"""Delimited text as bytes: is it clean enough for the fast parser, and if not, what do its lines hold?

A text is *clean* when the fast parser sees the rows that the rules see: no quote left open, no line end inside quotes (unless rows
may span lines), no carriage return but before a line end. Everything else is *repaired*: cut into rows by the rules, and written
again so that it is clean. So there is one parser of values, and the rules live here.

The rules: a quote counts only at the beginning of a field; two quotes inside a quoted field are one; behind the closing quote the rest
of the field is taken as it is. Without ``multi_line`` lines are cut first, and an open quote ends with its line. Blank lines are no rows.

All functions work on UTF-8 bytes. Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Iterator, Optional

UNIT_SEPARATOR = b"\x1f"
Row = tuple[int, list[bytes]]
"""Where a row begins in the text, and its fields."""


def parser_separator(separator: str) -> bytes:
    """The one-byte separator that stands for ``separator`` in clean text."""
    data = separator.encode("utf-8")
    return data if len(data) == 1 else UNIT_SEPARATOR


def is_clean(data: bytes, start: int, stop: int, separator: bytes, *, multi_line: bool) -> bool:
    """True where the fast parser reads ``data[start:stop]`` by the rules (rows with too few or too many fields it refuses itself)."""
    if data.find(b"\r", start, stop) >= 0 and data.count(b"\r", start, stop) != data.count(b"\r\n", start, stop):
        return False
    return data.find(b'"', start, stop) < 0 or _quotes_are_clean(data, start, stop, separator, multi_line=multi_line)


def _quotes_are_clean(data: bytes, start: int, stop: int, separator: bytes, *, multi_line: bool) -> bool:
    import numpy as np

    text = np.frombuffer(data, np.uint8, stop - start, start)
    quotes = np.flatnonzero(text == 34)
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    # An opening quote stands at the beginning of a field, or doubles the closing quote right before it.
    before = text[opening - 1]
    fine = (before == separator[0]) | (before == 10) | (before == 34)
    if opening[0] == 0:
        fine[0] = True
    if not fine.all():
        return False
    if multi_line:
        return True
    line_ends = np.flatnonzero(text == 10)
    return bool((np.searchsorted(line_ends, opening) == np.searchsorted(line_ends, closing)).all())


def split_line(line: bytes, separator: bytes) -> list[bytes]:
    """The fields of one line.

    >>> split_line(b'a,"b, ""c"" ",d"e', b",")
    [b'a', b'b, "c" ', b'd"e']
    >>> split_line(b'a,"open', b",")
    [b'a', b'open']
    """
    if b'"' not in line:
        return line.split(separator)
    fields = []
    at = 0
    while True:
        field, at, more = _field(line, at, len(line), separator)
        fields.append(field)
        if not more:
            return fields


def _field(text: bytes, at: int, end: int, separator: bytes) -> tuple[bytes, int, bool]:
    """The field that begins at ``at``, where the next one begins, and whether there is one before ``end``."""
    head = b""
    if text[at : at + 1] == b'"' and at < end:
        head, at = _quoted(text, at + 1, end)
    found = text.find(separator, at, end)
    if found < 0:
        return head + text[at:end], end, False
    return head + text[at:found], found + len(separator), True


def _quoted(text: bytes, at: int, end: int) -> tuple[bytes, int]:
    parts = []
    while True:
        quote = text.find(b'"', at, end)
        if quote < 0:
            parts.append(text[at:end])
            return b"".join(parts), end
        parts.append(text[at:quote])
        if text[quote + 1 : quote + 2] != b'"' or quote + 1 >= end:
            return b"".join(parts), quote + 1
        parts.append(b'"')
        at = quote + 2


def line_rows(text: bytes, separator: bytes) -> Iterator[Row]:
    """The rows of a text whose lines are cut first."""
    at, size = 0, len(text)
    while at < size:
        end = text.find(b"\n", at)
        end = size if end < 0 else end
        line = text[at:end]
        if line.endswith(b"\r"):
            line = line[:-1]
        if line:
            yield at, split_line(line, separator)
        at = end + 1


def multi_line_rows(text: bytes, separator: bytes) -> Iterator[Row]:
    """The rows of a text whose quoted fields may hold line ends."""
    at, size = 0, len(text)
    while at < size:
        begins = at
        fields: list[bytes] = []
        more = True
        while more:
            head = b""
            if text[at : at + 1] == b'"':
                head, at = _quoted(text, at + 1, size)
            end = text.find(b"\n", at)
            end = size if end < 0 else end
            found = text.find(separator, at, end)
            more = found >= 0
            stop = found if more else end
            tail = text[at:stop]
            if not more and tail.endswith(b"\r"):
                tail = tail[:-1]
            fields.append(head + tail)
            at = stop + (len(separator) if more else 1)
        if text[begins:at].rstrip(b"\r\n"):
            yield begins, fields


def rows_of(text: bytes, separator: bytes, *, multi_line: bool) -> Iterator[Row]:
    """The rows of ``text`` by the rules."""
    return multi_line_rows(text, separator) if multi_line else line_rows(text, separator)


def write_row(fields: list[bytes], width: int, separator: bytes) -> bytes:
    """One clean line of ``width`` fields; missing ones are empty."""
    line = separator.join([_guarded(field, separator) for field in fields]) + separator * (width - len(fields))
    return line or b'""'


def _guarded(field: bytes, separator: bytes) -> bytes:
    if b'"' in field or separator in field or b"\n" in field or b"\r" in field:
        return b'"' + field.replace(b'"', b'""') + b'"'
    return field


class Repaired:
    """Clean text, and what could not become part of it.

    ``starts`` are the offsets of all rows in the given text, ``kept`` the positions (among all rows) of the rows in ``data``,
    ``too_long`` the number of fields of each row that had more than there are columns, by position.
    """

    __slots__ = ("data", "kept", "starts", "too_long", "undecodable", "width")

    def __init__(self) -> None:
        self.data = b""
        self.starts: list[int] = []
        self.kept: list[int] = []
        self.too_long: dict[int, int] = {}
        self.undecodable: dict[int, bytes] = {}
        self.width = 0


def repair(text: bytes, separator: bytes, width: Optional[int], *, multi_line: bool, bad_lines: Any = ()) -> Repaired:
    """Cut ``text`` into rows and write them again, clean and ``width`` fields wide (None: as wide as the widest).

    Rows that begin at an offset in ``bad_lines`` are left out as undecodable, and so are rows that are not UTF-8.
    """
    result = Repaired()
    rows = list(rows_of(text, separator, multi_line=multi_line))
    result.width = width if width is not None else max((len(fields) for _, fields in rows), default=0)
    valid = is_utf8(text)
    written = parser_separator(separator.decode("utf-8"))
    lines = []
    for position, (start, fields) in enumerate(rows):
        result.starts.append(start)
        if start in bad_lines or (not valid and not all(is_utf8(field) for field in fields)):
            result.undecodable[position] = separator.join(fields)
            continue
        if len(fields) > result.width:
            result.too_long[position] = len(fields)
            continue
        result.kept.append(position)
        lines.append(write_row(fields, result.width, written))
    if lines:
        lines.append(b"")
    result.data = b"\n".join(lines)
    return result


def is_utf8(data: bytes) -> bool:
    """True for bytes that are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def row_count_and_ends(text: bytes, separator: bytes, *, multi_line: bool) -> Any:
    """Offsets behind the lines of rows in ``text``, a numpy array in ascending order: entry ``n`` is where row ``n`` has ended.

    ``text`` ends with a line end or is the end of the file.
    """
    import numpy as np

    if multi_line and b'"' in text:
        if is_clean(text, 0, len(text), separator, multi_line=True):
            return _clean_multi_line_ends(text)
        starts = np.array([start for start, _ in multi_line_rows(text, separator)], np.int64)
        return np.append(starts[1:], len(text)) if len(starts) else starts
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == 10)
    if len(text) and not text.endswith(b"\n"):
        ends = np.append(ends, len(text))
    return _without_blank_lines(data, ends)


def _clean_multi_line_ends(text: bytes) -> Any:
    import numpy as np

    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == 10)
    quotes = np.flatnonzero(data == 34)
    ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    if not len(ends) or ends[-1] != len(text) - 1:
        ends = np.append(ends, len(text))
    return _without_blank_lines(data, ends)


def _without_blank_lines(data: Any, ends: Any) -> Any:
    import numpy as np

    begins = np.empty_like(ends)
    begins[:1] = 0
    begins[1:] = ends[:-1] + 1
    length = ends - begins
    blank = length == 0
    ones = np.flatnonzero(length == 1)
    blank[ones] = data[begins[ones]] == 13
    kept = ends[~blank]
    return np.minimum(kept + 1, len(data))
