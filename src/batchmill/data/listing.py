"""What an input is: a folder, a file, a glob, a list or the URL of an object store, listed in byte order without being held.

Every kind of input becomes an `Input`: a base that all its items lie below, and chunks of items.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from batchmill.data.globs import Glob, is_glob, split_base
from batchmill.data.path_list import PathList
from batchmill.data.sorted_spill import MOST_NAMES
from batchmill.data.walk import FolderWalk, shown, stat_file
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import list_objects, locate, place_of


@dataclass(frozen=True, slots=True)
class Input:
    """One input as the user wrote it (``text``), and where it lies.

    ``base`` is an absolute folder or a URL, ``location`` "local" or the kind of store. ``chunks()`` lists its items, once, lazily;
    a chunk's names continue those before it in byte order. ``file`` is the name of the one file that the input is, if it is one.
    """

    text: str
    base: str
    location: str
    chunks: Callable[[], Iterator[Chunk]]
    file: str | None = None

    def require_items(self, count: int) -> None:
        """Refuse an input that turned out empty.

        Raises:
            InputError: ``count`` is 0.
        """
        if count:
            return
        if self.location == "local" and is_glob(self.text) and not os.path.lexists(self.text):
            raise InputError(
                f"No file matches {shown(self.text)}.",
                cure="* stays within one folder, ** goes through all below; names that begin with a dot need --include-hidden.",
            )
        raise InputError(
            f"Input {shown(self.text)} holds no files.", cure="Files and folders whose names begin with a dot need --include-hidden."
        )


def open_input(
    text: str, *, include_hidden: bool = False, scratch: str | None = None, retry_timeout: float = 20.0, most_names: int = MOST_NAMES
) -> Input:
    """Find out what ``text`` names; relative paths start at the current folder. ``scratch`` takes the sorted runs of huge folders.

    A path that exists is taken as it is, even if it looks like a glob or (as ``./@name``) a list.

    Raises:
        InputError: there is nothing of that name.
    """
    if text.startswith("@"):
        return _list(text, scratch)
    location = parse_location(text)
    if location.remote:
        location = locate(text, retry_timeout)

        def objects() -> Iterator[Chunk]:
            return list_objects(location, include_hidden=include_hidden, retry_timeout=retry_timeout)

        return Input(text, location.base, location.kind, objects, location.name)
    path = location.path
    if not path:
        raise InputError("An input is empty.", cure="Name a folder, a file, a glob, @list.txt or a URL.")
    if os.path.isdir(path):
        walk = FolderWalk(os.fsencode(os.path.abspath(path)), include_hidden=include_hidden, scratch=scratch, most_names=most_names)
        return Input(text, os.path.abspath(path), "local", walk.chunks)
    if os.path.lexists(path):
        return _file(text, os.path.abspath(path))
    if is_glob(path):
        return _glob(text, path, include_hidden, scratch, most_names)
    raise InputError(f"Input {shown(text)} does not exist.", cure=f"Check the path; relative paths start at {shown(os.getcwd())}.")


def _list(text: str, scratch: str | None) -> Input:
    listed = PathList(text[1:], scratch)
    return Input(text, listed.base, listed.location.kind, listed.chunks)


def _file(text: str, path: str) -> Input:
    status = stat_file(os.fsencode(path))
    folder, name = os.path.split(path)

    def chunks() -> Iterator[Chunk]:
        yield Chunk(b"", [os.fsencode(name)], array("Q", [status.st_size]), array("q", [status.st_mtime_ns]))

    return Input(text, folder, "local", chunks, name)


def _glob(text: str, path: str, include_hidden: bool, scratch: str | None, most_names: int) -> Input:
    base, pattern = split_base(path)
    folder = os.path.abspath(base)
    if not os.path.isdir(folder):
        raise InputError(f"Input {shown(text)} does not exist: there is no folder {shown(folder)}.", cure="Check the path.")
    glob = Glob(pattern, include_hidden=include_hidden)
    return Input(text, folder, "local", FolderWalk(os.fsencode(folder), glob=glob, scratch=scratch, most_names=most_names).chunks)


def reaches(text: str, folder: str) -> bool:
    """Whether listing the input ``text`` would look into ``folder`` (both may be URLs; links are resolved)."""
    if text.startswith("@"):
        return False
    place, target = parse_location(text), parse_location(folder)
    if place.remote or target.remote:
        if place.kind == "http" or not place.remote or not target.remote:
            return False
        (bucket, prefix), (other, folder) = place_of(place), place_of(target)
        if bucket != other:
            return False
        below = _below(prefix.encode(), folder.encode())
        pattern = place.pattern
    else:
        literal = os.path.isdir(place.path) or not is_glob(place.path)
        base, pattern = (place.path, None) if literal else split_base(place.path)
        below = _below(os.fsencode(os.path.realpath(base)), os.fsencode(os.path.realpath(target.path)))
    if below is None or pattern is None:
        return below is not None
    glob = Glob(pattern, include_hidden=True)
    states = glob.start
    for name in below:
        states = glob.enter(states, name)
    return bool(states)


def _below(base: bytes, path: bytes) -> list[bytes] | None:
    """The names that lead from ``base`` down to ``path``, or None where it lies elsewhere."""
    base = base.rstrip(b"/")
    if path == base:
        return []
    if base and not path.startswith(base + b"/"):
        return None
    return path[len(base) :].strip(b"/").split(b"/")
