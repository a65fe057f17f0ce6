"""Copies of the files of a dataset in a folder."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.dataset_files import DatasetFiles


def download(files: DatasetFiles, folder: Path, *, overwrite: bool = False, ignore_not_found: bool = False) -> list[str]:
    """Copy all files below ``folder``, under the paths that `FileDataset.to_path` gives; returns their paths in that order.

    Raises:
        UserErrorException: one is there already and ``overwrite`` is off (nothing was copied then), or two would have one path.
        ReadError: a file cannot be read.
    """
    from batchmill.storage.location import parse_location
    from batchmill.storage.transfer import StoreFile, Transfer

    listed = files.listed()
    paths = [str(folder / file.path) for file in listed]
    if not overwrite:
        there = next((path for path in paths if os.path.lexists(path)), None)
        if there is not None:
            raise UserErrorException(f'File "{there}" already exists. Set overwrite=True to overwrite it, or choose another target_path.')
    for number, group in groupby(zip(listed, paths, strict=True), key=lambda pair: pair[0].input):
        place = parse_location(files.places[number].base)
        some = [StoreFile(file.name, path, file.size) for file, path in group]
        Transfer(place, overwrite=overwrite, ignore_missing=ignore_not_found).fetch(some)
    return [path for path in paths if not ignore_not_found or os.path.lexists(path)]
