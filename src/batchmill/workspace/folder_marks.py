"""What lies directly in a folder of a datastore, and for each file a text that changes when its content does."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from batchmill.workspace.data_path import relative_path
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.storage.location import Location
    from batchmill.workspace.storage_datastore import StorageDatastore


def folder_marks(datastore: StorageDatastore, folder: str | None = None) -> dict[str, str]:
    """Name -> mark of the files in ``folder`` (default: the root); sub-folders and hidden files are left out.

    The mark is the etag, or moment of change and size. A folder that is not there has no files.

    Raises:
        InputError: the store is unreachable, unknown or refuses.
    """
    below = relative_path(folder).strip("/")
    if ".." in below.split("/"):
        raise UserErrorException(f"'{folder}' leads out of datastore '{datastore.name}'. Write the path without '..'.")
    place = datastore.place()
    return _remote(place, below) if place.remote else _local(os.path.join(place.path, below))


def _local(folder: str) -> dict[str, str]:
    marks = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed meanwhile
                    if not entry.name.startswith(".") and entry.is_file():
                        found = entry.stat()
                        marks[entry.name] = f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserErrorException(f"The folder {folder} cannot be read: {error.strerror}.") from None
    return marks


def _remote(place: Location, folder: str) -> dict[str, str]:
    from batchmill.storage.object_store import store_for
    from batchmill.storage.store_errors import store_error

    at = place.key(folder) if folder else place.prefix
    try:
        found = store_for(place).list_with_delimiter(at or None)
    except Exception as error:
        raise store_error(error, place, "list") from None
    marks, folders = {}, set(found["common_prefixes"])
    for meta in found["objects"]:
        if meta["path"] in folders and not meta["size"]:
            continue  # an empty object that some programs write for each folder
        name = meta["path"][len(at) + 1 :] if at else meta["path"]
        if name and "/" not in name and not name.startswith("."):
            marks[name] = meta["e_tag"] or f"{meta['last_modified'].isoformat()}-{meta['size']}"
    return marks
