"""The snapshot of the script's folder in the run store: put there once, taken from there by the coordinator and by each machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from batchmill.nodes.folder_zip import pack_folder, unpack_folder
from batchmill.parallel_run.run_store import SNAPSHOT
from batchmill.storage.shared_store import SharedStore


def publish_snapshot(files: SharedStore, folder: Path) -> str:
    """Put a snapshot folder into the run store; returns what names its content."""
    with tempfile.TemporaryDirectory(prefix="batchmill-snapshot-") as room:
        archive = Path(room, SNAPSHOT)
        digest = pack_folder(folder, archive)
        files.put_file(SNAPSHOT, archive)
    return digest


def fetch_snapshot(files: SharedStore, folder: Path) -> None:
    """Bring the snapshot into an existing folder.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    archive = folder.with_name(folder.name + ".zip")
    try:
        files.fetch(SNAPSHOT, archive)
        unpack_folder(archive, folder)
    finally:
        archive.unlink(missing_ok=True)
