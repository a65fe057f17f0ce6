"""Making file datasets (Azure ML: ``Dataset.File``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from batchmill.data.definition import FILE, FILES, Definition
from batchmill.errors import BatchmillError, InputError
from batchmill.workspace.abstract_dataset import AbstractDataset
from batchmill.workspace.exceptions import DatasetValidationError, UserErrorException
from batchmill.workspace.file_dataset import FileDataset

INVALID_DATA = "Failed to validate the data.If data is inaccessible, please set validate to False. "


class FileDatasetFactory:
    """The factories of ``Dataset.File`` (Azure ML: ``azureml.data.dataset_factory.FileDatasetFactory``)."""

    @staticmethod
    def from_files(path: Any, validate: bool = True, partition_format: str | None = None, is_file: bool = False) -> FileDataset:
        """A dataset of files.

        ``path`` is one or a list of: a URL, a `DataPath`, a `DataReference`, a tuple of a datastore and a path (or paths), a local path.
        ``*``, ``?`` and ``**`` may stand in paths; a folder means all below it. ``partition_format`` takes columns from the paths
        (``"{user}/{date:yyyy/MM/dd}/*.png"``). ``is_file``: the path names one file.

        Raises:
            UserErrorException: ``path`` is nothing of the kind.
            ValueError: the partition format is not well formed.
            DatasetValidationError: with ``validate``, a source is missing, empty or unreachable.
        """
        from batchmill.workspace.sources import source_texts, workspace_of

        sources = tuple(source_texts(path))
        if is_file and len(sources) > 1:
            raise UserErrorException("A dataset that is one file has one path: leave out is_file, or all paths but one.")
        check_partition_format(partition_format)
        definition = Definition(FILE, sources, FILES, partition_format=partition_format, is_file=bool(is_file))
        dataset = FileDataset(definition, workspace_of(path))
        if validate:
            check_sources(dataset)
        return dataset

    @staticmethod
    def upload_directory(
        src_dir: str | os.PathLike[str], target: Any, pattern: str | None = None, overwrite: bool = False, show_progress: bool = True
    ) -> FileDataset:
        """Upload a folder to ``target``, a `DataPath` or a tuple of a datastore and a path; returns the dataset of what lies there.

        ``pattern`` (``*``, ``?``, ``[a-z]``, ``**``) chooses files by their path below ``src_dir``. What is there already is skipped
        unless ``overwrite``.

        Raises:
            UserErrorException: ``src_dir`` is no folder, nothing in it matches, or ``target`` names no place.
            StoreError: the store is unreachable or refuses.
        """
        datastore, path = target_of(target)
        folder = Path(src_dir)
        if not folder.is_dir():
            raise UserErrorException(f"src_dir must be a directory, and '{folder}' is none.")
        if pattern is None:
            datastore.upload(folder, path, overwrite=overwrite, show_progress=show_progress)
        else:
            datastore.upload_files(_matching(folder, pattern), folder, path, overwrite=overwrite, show_progress=show_progress)
        return FileDatasetFactory.from_files((datastore, path))


def check_partition_format(text: str | None) -> None:
    """Refuse a partition format that is not well formed.

    Raises:
        PartitionFormatError: a ``ValueError`` with Azure ML's words.
    """
    from batchmill.data.partition_format import PartitionFormat

    if text is not None:
        PartitionFormat(text)


def check_sources(dataset: AbstractDataset) -> None:
    """Look whether every source of a dataset is there and holds something.

    Raises:
        DatasetValidationError: with Azure ML's words, and the cause.
    """
    from batchmill.data.definition_inputs import require_sources

    try:
        require_sources(dataset.physical_definition())
    except DatasetValidationError:
        raise
    except BatchmillError as error:
        raise DatasetValidationError(INVALID_DATA + error.line, inner_exception=error) from error


def target_of(target: Any) -> tuple[Any, str]:
    """The datastore and path of the ``target`` of an upload.

    Raises:
        UserErrorException: it names no place where files can be put.
    """
    from batchmill.workspace.data_path import DataPath, DataReference
    from batchmill.workspace.storage_datastore import StorageDatastore

    if isinstance(target, (DataPath, DataReference)):
        datastore, path = target.datastore, target.path_on_datastore
    elif isinstance(target, tuple) and len(target) == 2:
        datastore, path = target
    else:
        datastore, path = target, None
    if not isinstance(datastore, StorageDatastore) or not (path is None or isinstance(path, str)):
        raise UserErrorException("Invalid target. It must be a DataPath, or a tuple of a datastore and a path (str).")
    return datastore, path or ""


def _matching(folder: Path, pattern: str) -> list[str]:
    from batchmill.data.listing import open_input

    try:
        one = open_input(os.path.join(literal(str(folder.absolute())), pattern))
    except InputError:
        found: list[str] = []
    else:
        found = [os.fsdecode(os.path.join(os.fsencode(one.base), chunk.prefix + name)) for chunk in one.chunks() for name in chunk.names]
    if not found:
        raise UserErrorException(f"No file in '{folder}' matches '{pattern}'.")
    return found


def literal(path: str) -> str:
    """A path whose own wildcards mean themselves."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)
