"""Which format an input has, from the extensions of its files, while they are listed."""

from __future__ import annotations

import os
from pathlib import Path

from batchmill.data.walk import shown
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk

FILES = "files"
TABLES = {b"csv": "csv", b"tsv": "tsv", b"parquet": "parquet", b"jsonl": "jsonl", b"ndjson": "jsonl"}
PACKED = (b"gz", b"zst")
TEXT = ("csv", "tsv", "jsonl")
ENDINGS = frozenset([extension[-4:] for extension in TABLES] + [b".csv", b".tsv", b"v.gz", b"l.gz", b"n.gz", b".zst"])
"""The last four bytes of any name that may be a table's: one look tells for a whole chunk that there is none."""


def format_of(name: bytes) -> str:
    """The format that a name stands for: the extension decides, in either case; compressed text counts as text.

    >>> format_of(b"a/b.CSV"), format_of(b"b.csv.gz"), format_of(b"b.parquet.gz"), format_of(b"csv")
    ('csv', 'csv', 'files', 'files')
    """
    stem, dot, extension = name.lower().rpartition(b".")
    if extension in PACKED and dot:
        _, dot, extension = stem.rpartition(b".")
        found = TABLES.get(extension, FILES) if dot else FILES
        return found if found in TEXT else FILES
    return TABLES.get(extension, FILES) if dot else FILES


def first_impression(path: Path) -> str:
    """The format of a file, of the first file of a folder: what the format of an input probably is, at the price of one look."""
    try:
        with os.scandir(path) as entries:
            name = next((os.fsencode(entry.name) for entry in entries if entry.is_file()), b"")
    except OSError:
        name = os.fsencode(path.name)
    return format_of(name)


class FormatVote:
    """Counts the formats of all files of all inputs, and remembers the first file of each."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, base: str, chunk: Chunk) -> None:
        """Count the files of a chunk of an input at ``base``."""
        if ENDINGS.isdisjoint({name[-4:].lower() for name in chunk.names}):
            self._count(FILES, len(chunk), base, chunk.prefix + chunk.names[0])
            return
        for name in chunk.names:
            self._count(format_of(name), 1, base, chunk.prefix + name)

    def _count(self, found: str, files: int, base: str, name: bytes) -> None:
        if found in self._counts:
            self._counts[found] += files
        else:
            self._counts[found] = files
            self._first[found] = f"{base.rstrip('/')}/{name.decode('utf-8', 'surrogateescape')}"

    def decide(self) -> str:
        """The one format of all files; "files" where no extension is a table's.

        Raises:
            InputError: tables are mixed with other files, or with tables of another format.
        """
        if len(self._counts) <= 1:
            return next(iter(self._counts), FILES)
        odd = min(self._counts, key=lambda found: (self._counts[found], found))
        parts = " and ".join(f"{count:,} {_called(found)}" for found, count in sorted(self._counts.items(), key=lambda item: -item[1]))
        raise InputError(
            f"The inputs mix {parts} files, for example {shown(self._first[odd])}.",
            cure="Say how to read all of them with --format (files, csv, tsv, parquet or jsonl), or leave the odd ones out.",
            odd=self._first[odd],
        )


def _called(found: str) -> str:
    return "other" if found == FILES else found
