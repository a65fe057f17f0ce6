"""Where a workspace keeps the content of its models: in its own folder, or in its default datastore if that is somewhere else.

Content has a place of its own that never changes and is never given again, so a version is not needed to store it, and nothing that is
registered can be overwritten. It is copied into a folder beside that place first, where it is measured; only what is complete gets there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model_files import FoundFile, ModelFile, measure

if TYPE_CHECKING:
    from batchmill.storage.location import Location
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.workspace import Workspace

FOLDER = "models"
FOLDER_IN_DATASTORE = "batchmill/models"
STAGING = ".staging-"
STALE = 3600.0
"""Seconds after which a staging folder that nobody holds is taken for what a killed process left."""
DATASTORE = "datastore://"


def keep(ws: Workspace, files: Sequence[FoundFile]) -> tuple[str, list[ModelFile]]:
    """Copy the files of a new model into the workspace; returns where they lie and what was copied.

    Raises:
        BatchmillError: a file cannot be read, or the workspace takes no more.
    """
    from batchmill.storage.location import Location
    from batchmill.storage.transfer import StoreFile, Transfer

    content = uuid.uuid4().hex
    location = _remote_folder(ws, content)
    executable = {file.name for file in files if file.executable}
    with _staging(ws.folder / FOLDER, content) as staging:
        Transfer(Location("local", path=str(staging))).send(StoreFile(file.name, file.path, file.size) for file in files)
        copied = measure(str(staging), (file.name for file in files), durable=location is None)
        if location is None:
            location = _settle(staging, content)
        else:
            Transfer(place_of(ws, location)).send(StoreFile(file.name, str(staging / file.name), file.size) for file in copied)
    return location, [replace(file, executable=file.name in executable) for file in copied]


@contextmanager
def _staging(folder: Path, content: str) -> Iterator[Path]:
    """A folder for what is not complete yet, held while it is in use; gone when this ends, unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    staging = folder / (STAGING + content)
    staging.mkdir()
    held = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield staging
    finally:
        os.close(held)
        shutil.rmtree(staging, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(STAGING + "*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < STALE:
                continue
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(held)


def _settle(staging: Path, content: str) -> str:
    """Give complete content its place, durably; its files are synced."""
    from batchmill.storage.files import fsync_folder

    for folder, _, _ in os.walk(staging):
        fsync_folder(folder)
    os.rename(staging, staging.with_name(content))
    fsync_folder(staging.parent)
    return f"{FOLDER}/{content}"


def _remote_folder(ws: Workspace, content: str) -> str | None:
    """The place in the default datastore; None while that is one of the workspace's own folders."""
    store = _datastore(ws, ws.default_datastore_name)
    place = store.place()
    if not place.remote and Path(place.path).is_relative_to(ws.folder):
        return None
    return f"{DATASTORE}{store.name}/{FOLDER_IN_DATASTORE}/{content}"


def place_of(ws: Workspace, location: str) -> Location:
    """The place of a model's content, as `batchmill.storage` takes it.

    Raises:
        BatchmillError: its datastore is gone, or cannot be reached.
    """
    from batchmill.storage.location import Location

    if not location.startswith(DATASTORE):
        return Location("local", path=str(ws.folder / location))
    name, _, path = location.removeprefix(DATASTORE).partition("/")
    return _datastore(ws, name).place(path)


def _datastore(ws: Workspace, name: str) -> StorageDatastore:
    from batchmill.workspace.datastore import Datastore
    from batchmill.workspace.storage_datastore import StorageDatastore

    store = Datastore.get(ws, name)
    if not isinstance(store, StorageDatastore):
        raise WebserviceException(f"Datastore '{name}' holds no files, so no model either. Choose another default datastore.")
    return store


def remove(ws: Workspace, location: str, files: Sequence[ModelFile]) -> None:
    """Remove the content of a model that is registered no more.

    Raises:
        BatchmillError: its datastore refuses.
    """
    place = place_of(ws, location)
    if not place.remote:
        shutil.rmtree(place.path, ignore_errors=True)
        return
    from batchmill.storage.upload import OutputFolder

    folder = OutputFolder(place)
    for file in files:
        folder.delete(file.name)
