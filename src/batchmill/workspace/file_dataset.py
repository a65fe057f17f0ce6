"""A dataset of files (Azure ML: ``azureml.data.FileDataset``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.data.definition import FILE
from batchmill.data.expression import Expression
from batchmill.workspace.abstract_dataset import AbstractDataset
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.consumption import DatasetConsumptionConfig
    from batchmill.workspace.dataset_files import DatasetFiles
    from batchmill.workspace.mount import MountContext


class FileDataset(AbstractDataset):
    """Files of datastores, web servers or folders, in the order of its sources, within each by path.

    >>> images = Dataset.File.from_files((datastore, "images/**/*.png"))       # doctest: +SKIP
    >>> images.filter(images.file_metadata("Size") > 1000).take(2).to_path()   # doctest: +SKIP
    ['/2026/a.png', '/2026/b.png']
    """

    kind = FILE

    def file_metadata(self, col: str) -> Expression:
        """What is known of a file, in a filter expression: Size, LastModifiedTime, CreationTime, CreatedTime, Extension or CanSeek.

        Raises:
            InputError: there is no such name.
        """
        return Expression.metadata(col)

    def files(self) -> DatasetFiles:
        """The files as scripts see them.

        Raises:
            InputError: a source does not exist.
        """
        from batchmill.workspace.dataset_files import DatasetFiles

        return DatasetFiles(self._definition, self.physical_definition())

    def to_path(self) -> list[str]:
        """The path of each file below the place where the dataset is mounted or downloaded, beginning with ``/``.

        Raises:
            InputError: a source does not exist, or cannot be listed.
        """
        return [f"/{file.path}" for file in self.files()]

    def download(
        self, target_path: str | os.PathLike[str] | None = None, overwrite: bool = False, ignore_not_found: bool = False
    ) -> list[str]:
        """Copy the files into a folder (default: a new one in the folder for temporary files); returns their paths there.

        With ``ignore_not_found`` files that vanish while they are copied are left out.

        Raises:
            UserErrorException: a file is there already and ``overwrite`` is off; nothing was copied then.
            ReadError: a file cannot be read.
        """
        import tempfile

        from batchmill.workspace.dataset_download import download

        folder = Path(target_path).absolute() if target_path is not None else Path(tempfile.mkdtemp(prefix="batchmill-download-"))
        return download(self.files(), folder, overwrite=overwrite, ignore_not_found=ignore_not_found)

    def mount(self, mount_point: str | os.PathLike[str] | None = None) -> MountContext:
        """The files as a read-only folder: ``with dataset.mount() as mounted: os.listdir(mounted.mount_point)``.

        Raises:
            UserErrorException: ``mount_point`` is there already and is no empty folder.
        """
        from batchmill.workspace.mount import MountContext

        return MountContext(self, mount_point)

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """This dataset as an input of a run that sees it as a read-only folder; named ``input_<hex>``."""
        from batchmill.workspace.consumption import MOUNT, DatasetConsumptionConfig, input_name

        return DatasetConsumptionConfig(input_name(), self, MOUNT, path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """This dataset as an input of a run that gets a copy of its files; named ``input_<hex>``."""
        from batchmill.workspace.consumption import DOWNLOAD, DatasetConsumptionConfig, input_name

        return DatasetConsumptionConfig(input_name(), self, DOWNLOAD, path_on_compute)

    def _check_expression(self, expression: Expression) -> None:
        unknown = [name for name in expression.columns() if name not in self.partition_keys]
        if unknown:
            known = ", ".join(repr(key) for key in self.partition_keys) or "none: the dataset has no partition_format"
            raise UserErrorException(f"The files have no column {unknown[0]!r} to filter by. Their columns are {known}.")
