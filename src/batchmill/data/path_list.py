"""``@list.txt``: an input whose files are named one a line."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from batchmill.data.sorted_spill import BATCH, SortedSpill, batched
from batchmill.data.walk import shown, stat_file
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk
from batchmill.storage.location import SCHEME, Location, parse_location
from batchmill.storage.object_store import list_objects

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEADS_AT_ONCE = 16


class PathList:
    """The files that a list names.

    Each line holds one path or URL; blank lines are passed over; the text is UTF-8 as file names are (any byte but a line end).
    A relative path starts at the folder of the list, so a list may travel with its files. The listing is in byte order like every
    other, whatever the order of the lines. A path that is named twice is refused: an item has one fate. Hidden names are taken,
    because they are named. A list holds local paths or the URLs of one bucket or server, not both.

    ``base`` is the deepest folder that holds all of them.

    Raises:
        InputError: the list cannot be read or is empty, or mixes places.
    """

    def __init__(self, path: str, scratch: str | None = None) -> None:
        self.path = path
        self.location = Location("local")
        self._sorted = SortedSpill(scratch)
        self._folder = os.fsencode(os.path.dirname(os.path.abspath(path)))
        common = self._read()
        if common is None:
            raise InputError(f"List {shown(path)} names no files.", cure="Write one path a line.")
        self._skip = len(common) + (not common.endswith(b"/"))
        if self.location.remote:
            self.location = replace(self.location, prefix=os.fsdecode(common).strip("/"))
            self.base = self.location.base
        else:
            self.base = os.fsdecode(common)

    def _read(self) -> bytes | None:
        """Sort the lines; returns the folder common to all."""
        common: bytes | None = None
        place: Location | None = None
        try:
            with open(self.path, "rb") as file:
                for number, batch in enumerate(batched(file)):
                    if number == 0:
                        batch[0] = batch[0].removeprefix(BYTE_ORDER_MARK)
                    entries = [self._entry(line.rstrip(b"\r\n")) for line in batch if line.strip()]
                    for entry, kind in entries:
                        folder = os.path.dirname(entry)
                        if place is None:
                            place, common = kind, folder
                        elif place != kind:
                            raise InputError(
                                f"List {shown(self.path)} mixes {_place(place)} and {_place(kind)}.", cure="Give each its own list."
                            )
                        elif folder != common:
                            common = os.path.commonpath([common or b"/", folder])
                    self._sorted.extend([entry for entry, _ in entries])
        except OSError as error:
            raise InputError(
                f"List {shown(self.path)} cannot be read: {error.strerror}.", cure="@NAME names a file with one path a line."
            ) from None
        if place is not None:
            self.location = place
        return common

    def _entry(self, line: bytes) -> tuple[bytes, Location]:
        """An absolute path, or the key of an object with a slash in front, and the place it is in."""
        text = os.fsdecode(line)
        if SCHEME.match(text):
            location = parse_location(text)
            if location.remote:
                key = location.prefix if location.pattern is None else location.key(location.pattern)
                return b"/" + os.fsencode(key), location.top
            line = os.fsencode(location.path)
        path = os.path.join(self._folder, line)
        folder, name = os.path.split(path)
        if b"/../" in path or name == b"..":  # what .. means depends on links: ask the file system, not the text
            folder = os.path.realpath(folder)
        return os.path.normpath(os.path.join(folder, name)), Location("local")

    def chunks(self) -> Iterator[Chunk]:
        """The files in byte order, once.

        Raises:
            InputError: one of them is named twice, is a folder, is missing or cannot be read.
        """
        last = None
        try:
            for batch in batched(iter(self._sorted)):
                for entry in batch:
                    if entry == last:
                        raise InputError(
                            f"List {shown(self.path)} names {shown(entry)} twice: an item has one fate.",
                            cure="Remove the second, for example with sort -u.",
                        )
                    last = entry
                names = [entry[self._skip :] for entry in batch]
                yield from self._objects(names) if self.location.remote else (self._files(batch, names),)
        finally:
            self._sorted.close()

    def _files(self, paths: list[bytes], names: list[bytes]) -> Chunk:
        sizes, mtimes = array("Q"), array("q")
        for path in paths:
            try:
                status = stat_file(path)
            except InputError as error:
                raise InputError(f"List {shown(self.path)}: {error.message}", cure=_list_cure(path)) from None
            sizes.append(status.st_size)
            mtimes.append(status.st_mtime_ns)
        return Chunk(b"", names, sizes, mtimes)

    def _objects(self, names: list[bytes]) -> Iterator[Chunk]:
        def head(name: bytes) -> Chunk:
            return next(list_objects(replace(self.location, name=name.decode())))

        waiting = iter(names)
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(HEADS_AT_ONCE) as threads:
            while some := list(islice(waiting, BATCH // 16)):
                chunks = list(threads.map(head, some))
                etags = [etag for chunk in chunks for etag in chunk.etags or ("",)]
                sizes = array("Q", [chunk.sizes[0] for chunk in chunks])
                yield Chunk(b"", some, sizes, array("q", [chunk.mtimes[0] for chunk in chunks]), etags)


def _place(place: Location) -> str:
    return f"URLs of {place}" if place.remote else "local paths"


def _list_cure(path: bytes) -> str:
    if os.path.isdir(path):
        return "A list names files; give a folder as an input of its own."
    return "Relative lines start at the folder of the list."
