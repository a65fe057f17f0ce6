"""A folder as one zip file, and back: how a snapshot, or the files of a model, reach other machines.

The same files make the same zip. Names, contents and the right to execute travel; links become what they lead to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from batchmill.errors import StoreError

MOMENT = (1980, 1, 1, 0, 0, 0)
COPY = 1 << 20


def pack_folder(folder: Path, target: Path, *, compress: bool = True) -> str:
    """Write the files of a folder into the zip ``target``; returns a hash of what is in it."""
    digest = hashlib.sha256()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", kind, compresslevel=1 if compress else None) as archive:
        for name, path in files_of(folder):
            executable = os.access(path, os.X_OK)
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.compress_type = kind
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            digest.update(f"{name}\0{path.stat().st_size}\0{executable:d}\0".encode("utf-8", "surrogatepass"))
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as packed:
                while block := source.read(COPY):
                    digest.update(block)
                    packed.write(block)
    return digest.hexdigest()[:32]


def unpack_folder(archive: Path, folder: Path) -> None:
    """Write the files of a zip of `pack_folder` into a folder.

    Raises:
        StoreError: it is none, or damaged.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                path = folder / entry.filename
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise zipfile.BadZipFile(f"'{entry.filename}' leads out of it")
                path.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(entry) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, COPY)
                path.chmod(entry.external_attr >> 16 & 0o777)
    except (zipfile.BadZipFile, EOFError) as error:
        raise StoreError(f"{archive.name} cannot be unpacked: {error}.") from None


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name, with slashes, and path of each file below a folder, in the order of their names."""
    found = [Path(at, name) for at, _, names in os.walk(folder, followlinks=False) for name in names]
    yield from sorted((path.relative_to(folder).as_posix(), path) for path in found if path.is_file())
