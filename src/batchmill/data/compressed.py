"""Text behind gzip or Zstandard: read forward, with the decompressor kept open for the slice that comes next.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from batchmill.errors import ReadError

SUFFIXES = (".gz", ".zst")
WHOLE_LIMIT = 2 * 1024**3
"""Largest text that is read as one mini-batch."""
_STEP = 1 << 20
END_UNKNOWN = 2**63


def is_compressed(name: str) -> bool:
    """True for names that end in .gz or .zst.

    >>> is_compressed("a.csv.gz"), is_compressed("a.csv")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES)


class CompressedText:
    """The text of a compressed file as bytes at offsets of the *text*; going back means beginning again.

    ``size`` is the length of the text once its end has been seen, END_UNKNOWN before.
    """

    def __init__(self, path: str, open_file: Callable[[], Any], limit: int = WHOLE_LIMIT) -> None:
        self.path = path
        self.size = END_UNKNOWN
        self._open = open_file
        self._limit = limit
        self._stream: Optional[Any] = None
        self._file: Optional[Any] = None
        self._at = 0
        self._kept = b""  # the last bytes handed out: the head is read again for the header
        self._kept_at = 0

    def read_at(self, offset: int, count: int) -> bytes:
        """``count`` bytes of text from ``offset``; fewer only at the end of the text."""
        kept_end = self._kept_at + len(self._kept)
        if self._kept_at <= offset and (offset + count <= kept_end or kept_end == self.size):
            return self._kept[offset - self._kept_at : offset - self._kept_at + count]
        if self._kept_at <= offset < kept_end:
            head = self._kept[offset - self._kept_at :]
            return head + self._forward(kept_end, count - len(head))
        return self._forward(offset, count)

    def read_all(self, start: int) -> bytes:
        """The text from ``start`` to its end.

        Raises:
            ReadError: it is longer than the limit.
        """
        parts, at = [], start
        while part := self.read_at(at, 8 * _STEP):
            parts.append(part)
            at += len(part)
            if at > self._limit:
                raise ReadError(
                    f"{self.path} holds more than {self._limit:,} bytes of text: too much for one mini-batch.",
                    cure="Use --mini-batch-size 500rows to cut it into slices, or uncompress it.",
                )
        return b"".join(parts)

    def _forward(self, offset: int, count: int) -> bytes:
        try:
            if self._stream is None or offset < self._at:
                self._begin()
            while self._at < offset:
                if not self._take(min(_STEP, offset - self._at)):
                    return b""
            begins = self._at
            data = self._take(count)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise ReadError(
                f"{self.path} cannot be uncompressed behind byte {self._at} of its text: {error}. The file is damaged or cut short."
            ) from None
        self._kept, self._kept_at = data, begins
        return data

    def _take(self, count: int) -> bytes:
        parts = []
        while count > 0:
            assert self._stream is not None
            part: bytes = self._stream.read(count)
            if not part:
                self.size = self._at
                break
            parts.append(part)
            self._at += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _begin(self) -> None:
        self.close()
        self._file = self._open()
        self._stream = _stream(self._file, self.path)
        self._at = 0

    def close(self) -> None:
        stream, file, self._stream, self._file = self._stream, self._file, None, None
        for opened in (stream, file):
            if opened is not None:
                opened.close()

    def __del__(self) -> None:
        self.close()


def _stream(file: Any, path: str) -> Any:
    if path.lower().endswith(".gz"):
        import gzip

        return gzip.GzipFile(fileobj=file, mode="rb")
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
