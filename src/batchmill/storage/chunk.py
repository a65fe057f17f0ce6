"""One piece of a listing: the names of one folder (or of one page of an object store), in order, without a Python object per item."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Chunk:
    """Items that share a prefix, in UTF-8 byte order of their full relative path.

    ``prefix + names[i]`` is the path of item ``i`` relative to the location that is listed: ``prefix`` is empty or ends in ``/``.
    ``sizes`` is an ``array('Q')`` of bytes, ``mtimes`` an ``array('q')`` of nanoseconds since the epoch (0 when unknown), and
    ``etags`` is None for local files.
    """

    __slots__ = ("etags", "mtimes", "names", "prefix", "sizes")

    def __init__(self, prefix: bytes, names: list[bytes], sizes: array[int], mtimes: array[int], etags: list[str] | None = None) -> None:
        self.prefix = prefix
        self.names = names
        self.sizes = sizes
        self.mtimes = mtimes
        self.etags = etags

    def __len__(self) -> int:
        return len(self.names)

    def select(self, kept: Sequence[int]) -> Chunk:
        """The items at these positions, which ascend."""
        etags = None if self.etags is None else [self.etags[n] for n in kept]
        sizes, mtimes = array("Q", [self.sizes[n] for n in kept]), array("q", [self.mtimes[n] for n in kept])
        return Chunk(self.prefix, [self.names[n] for n in kept], sizes, mtimes, etags)
