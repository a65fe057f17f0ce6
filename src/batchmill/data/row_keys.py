"""A number for each row of a file that no cut changes: where it lies. With the name of its file and a seed it decides chance.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import hashlib
from typing import Any, Iterator

from batchmill.data.decoded_text import Utf8Text
from batchmill.data.delimited_text import row_count_and_ends, rows_of
from batchmill.data.json_lines import object_ends, row_lines
from batchmill.data.table_options import TableOptions
from batchmill.data.text_blocks import Block
from batchmill.data.text_encoding import TextEncoding

_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64 - 1


def text_keys(block: Block, text: Utf8Text, options: TableOptions, encoding: TextEncoding) -> Any:
    """An offset in the file for each row of ``block``, which reads as ``text``; a numpy array of unsigned numbers."""
    import numpy as np

    stored = block.data[block.start : block.stop]
    if encoding.unit == 1 and not options.multi_line and options.invalid_lines != "drop":
        # The end of a row is its own; before its beginning there may be blank lines, which another cut gives to its neighbour.
        found = row_count_and_ends(stored, b",", multi_line=False) if options.delimited else object_ends(stored)
    else:
        found = np.fromiter(_starts(stored, text, options, encoding), np.uint64)
    return found.astype(np.uint64) + np.uint64(block.first_byte)


def row_range(start: int, stop: int) -> Any:
    """The keys of the rows ``start`` to ``stop`` of a Parquet file."""
    import numpy as np

    return np.arange(start, stop, dtype=np.uint64)


def _starts(stored: bytes, text: Utf8Text, options: TableOptions, encoding: TextEncoding) -> Iterator[int]:
    """Where the rows begin, in stored bytes: each at the beginning of a line."""
    data = text.data[text.start : text.stop]
    if options.delimited:
        starts = (start for start, _ in rows_of(data, options.separator.encode("utf-8"), multi_line=options.multi_line))
    else:
        starts = (start for start, _ in row_lines(Utf8Text(data, 0, len(data), text.bad_lines), options))
    if encoding.codec == "utf-8":
        yield from starts
        return
    offsets = [0]
    for line in encoding.lines(stored):
        offsets.append(offsets[-1] + len(line) + encoding.unit)
    number = at = 0
    for start in starts:
        number += data.count(b"\n", at, start)
        at = start
        yield offsets[number]


def file_salt(name: str) -> int:
    """A number for the name of a file, so that equal offsets of two files mean nothing."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def chances(keys: Any, seed: int, place: int = 0, salt: int = 0) -> Any:
    """A number in [0, 1) for each key (numpy, unsigned): always the same, and evenly spread (SplitMix64).

    ``place`` keeps equal seeds of two operations apart, ``salt`` the files.

    >>> import numpy as np
    >>> chances(np.arange(3, dtype=np.uint64), 1).round(3).tolist()
    [0.939, 0.693, 0.054]
    """
    import numpy as np

    begin = _mixed(((_mixed(seed & _WORD) + place) * _GOLDEN + salt) & _WORD)
    with np.errstate(over="ignore"):
        state = np.uint64(begin) + (keys + np.uint64(1)) * np.uint64(_GOLDEN)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: int) -> int:
    state = (state ^ (state >> 30)) * _MIX_1 & _WORD
    state = (state ^ (state >> 27)) * _MIX_2 & _WORD
    return state ^ (state >> 31)
