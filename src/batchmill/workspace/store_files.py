"""The files of a datastore: listed by the beginning of their names, uploaded, downloaded (Azure ML: ``upload``, ``download``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.storage.location import Location
    from batchmill.storage.transfer import Moved, StoreFile

Tell = Callable[["Moved"], None]

RUN_STORES = "/.batchmill/"
"""In the names of what runs on a cluster keep beside their output."""


def files_in(place: Location, prefix: str = "", *, into: str = "", retry_timeout: float = 20.0) -> Iterator[StoreFile]:
    """The files of a place whose names begin with ``prefix``, any text (not only whole folders); hidden ones too.

    ``into`` is the folder on this machine that their paths lie below.

    Raises:
        InputError: the place is missing, unreachable or refuses.
    """
    from batchmill.storage.transfer import StoreFile

    rows = _local_rows(place.path, prefix) if not place.remote else _remote_rows(place, prefix, retry_timeout)
    for name, size in rows:
        yield StoreFile(name, os.path.join(into, name), size)


def _local_rows(root: str, prefix: str) -> Iterator[tuple[str, int]]:
    from batchmill.data.walk import FolderWalk, stat_file

    folder, _, start = prefix.rpartition("/")
    if (folder and {"", ".", ".."} & set(folder.split("/"))) or not os.path.isdir(os.path.join(root, folder)):
        return  # no name below the root begins so
    if not start:
        yield from _walked(FolderWalk(os.fsencode(os.path.join(root, folder)), include_hidden=True), folder)
        return
    paths = (os.path.join(root, folder, name) for name in os.listdir(os.path.join(root, folder)) if name.startswith(start))
    for path in sorted(f"{path}/" if os.path.isdir(path) else path for path in paths):  # a folder sorts as name/
        below = os.path.relpath(path, root)
        if path.endswith("/"):
            yield from _walked(FolderWalk(os.fsencode(path), include_hidden=True), below)
        elif os.path.isfile(path):
            yield below, stat_file(os.fsencode(path)).st_size


def _walked(walk: Any, below: str) -> Iterator[tuple[str, int]]:
    lead = f"{below}/" if below else ""
    for chunk in walk.chunks():
        for name, size in zip(chunk.names, chunk.sizes, strict=True):
            yield lead + os.fsdecode(chunk.prefix + name), size


def _remote_rows(place: Location, prefix: str, retry_timeout: float) -> Iterator[tuple[str, int]]:
    """obstore lists whole folders: where ``prefix`` ends within a name, its folder says what begins so."""
    from batchmill.storage.object_store import list_objects, store_for
    from batchmill.storage.store_errors import store_error

    folder, _, start = prefix.rpartition("/")
    if not start:
        yield from _listed(list_objects(_below(place, folder), include_hidden=True, retry_timeout=retry_timeout), folder)
        return
    at = place.key(folder) if folder else place.prefix
    try:
        found = store_for(place, retry_timeout).list_with_delimiter(at or None)
    except Exception as error:
        raise store_error(error, place, "list") from None
    skip = len(place.prefix) + 1 if place.prefix else 0
    sizes = {meta["path"][skip:]: meta["size"] for meta in found["objects"]}
    folders = {f"{key[skip:].rstrip('/')}/" for key in found["common_prefixes"]}
    for name in sorted(name for name in (*sizes, *folders) if name.startswith(prefix)):
        if name not in folders:
            yield name, sizes[name]
            continue
        below = name[:-1]
        yield from _listed(list_objects(_below(place, below), include_hidden=True, retry_timeout=retry_timeout), below)


def _below(place: Location, folder: str) -> Location:
    return replace(place, prefix=place.key(folder)) if folder else place


def _listed(chunks: Iterable[Any], below: str) -> Iterator[tuple[str, int]]:
    lead = f"{below}/" if below else ""
    for chunk in chunks:
        for name, size in zip(chunk.names, chunk.sizes, strict=True):
            yield lead + (chunk.prefix + name).decode(), size


def folder_to_upload(folder: str | os.PathLike[str]) -> Iterator[StoreFile]:
    """All files below a folder, hidden ones too; links to files are files, pipes and devices are passed over.

    Raises:
        UserErrorException: it is no folder.
    """
    from batchmill.data.walk import FolderWalk
    from batchmill.storage.transfer import StoreFile

    root = os.path.abspath(os.fspath(folder))
    if not os.path.isdir(root):
        raise UserErrorException(f"src_path must be a directory. '{folder}' is none.")

    def found() -> Iterator[StoreFile]:
        for name, size in _walked(FolderWalk(os.fsencode(root), include_hidden=True), ""):
            yield StoreFile(name, os.path.join(root, name), size)

    return found()


def files_to_upload(files: Iterable[str | os.PathLike[str]], relative_root: str | os.PathLike[str] | None = None) -> list[StoreFile]:
    """Files by their paths, named relative to ``relative_root``, by default the deepest folder that holds them all.

    Raises:
        UserErrorException: one of them is no file, or does not lie below ``relative_root``.
    """
    from batchmill.storage.transfer import StoreFile

    if isinstance(files, (str, os.PathLike)):
        files = [files]
    paths = list(dict.fromkeys(os.path.abspath(os.fspath(path)) for path in files))
    for path in paths:
        if not os.path.isfile(path):
            raise UserErrorException(f"'{path}' does not point to a file. Check the path.")
    if not paths:
        return []
    root = os.path.abspath(os.fspath(relative_root)) if relative_root else os.path.commonpath([os.path.dirname(path) for path in paths])
    found = []
    for path in paths:
        if os.path.commonpath([path, root]) != root or path == root:
            raise UserErrorException(f"relative_root: '{root}' is not part of the file_path: '{path}'.")
        found.append(StoreFile(os.path.relpath(path, root), path, os.path.getsize(path)))
    return found


def upload(files: Iterable[StoreFile], place: Location, *, overwrite: bool, retry_timeout: float = 20.0, tell: Tell | None = None) -> Moved:
    """Bring files to a place; see `batchmill.storage.transfer`."""
    from batchmill.storage.transfer import Transfer

    return Transfer(place, overwrite, retry_timeout, tell).send(files)


def download(
    place: Location, prefix: str, into: str | os.PathLike[str], *, overwrite: bool, retry_timeout: float = 20.0, tell: Tell | None = None
) -> Moved:
    """Bring the files whose names begin with ``prefix`` into a folder, under their whole names; without what runs on a cluster keep there,
    unless the prefix leads to that."""
    from batchmill.storage.transfer import Transfer

    folder = os.path.abspath(os.fspath(into))
    files = files_in(place, prefix, into=folder, retry_timeout=retry_timeout)
    found = (file for file in files if RUN_STORES not in f"/{file.name[len(prefix) :].lstrip('/')}")
    first = next(found, None)
    os.makedirs(folder, exist_ok=True)
    return Transfer(place, overwrite, retry_timeout, tell).fetch(chain([first] if first else [], found))
