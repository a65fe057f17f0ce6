"""How a dataset becomes an input of a run: its name there, and whether the run gets the dataset itself or its files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.abstract_dataset import AbstractDataset

DIRECT, MOUNT, DOWNLOAD, HDFS, LINK = "direct", "mount", "download", "hdfs", "link"
MODES = (MOUNT, DOWNLOAD, HDFS, LINK, DIRECT)
NAME = re.compile(r"^[a-zA-Z_]+[a-zA-Z0-9_]*$")
RESERVED = frozenset({"path", "home", "user", "shell", "lang", "tmpdir", "pythonpath", "ld_library_path", "cuda_visible_devices"})
"""The path or id of an input stands in an environment variable of its name: these are variables already."""
ONLY_FILES = "{} does not support {}. Only FileDataset supports {}"
INVALID_NAME = 'Invalid input name "{}". The name can only be alphanumeric characters and underscore, and must not begin with a number.'


class DatasetConsumptionConfig:
    """A dataset as a named input (Azure ML: ``azureml.data.dataset_consumption_config.DatasetConsumptionConfig``).

    ``dataset`` is a dataset, or a pipeline parameter whose default is one. ``mode`` is "direct" (the run gets the dataset), "mount" or
    "download" (it gets a path; "hdfs" and "link" are taken and treated as a mount). ``path_on_compute`` is where that path shall be:
    absolute as it is, relative below the working directory.

    Raises:
        UserErrorException: the name or the mode may not be used, or the mode does not fit the dataset.
    """

    def __init__(self, name: str, dataset: Any, mode: str = DIRECT, path_on_compute: str | None = None) -> None:
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise UserErrorException(INVALID_NAME.format(name))
        if name.lower() in RESERVED:
            import logging

            logging.getLogger("batchmill").warning(
                "The input name %r is that of an environment variable, which the run will find changed.", name
            )
        if not isinstance(mode, str) or mode.lower() not in MODES:
            raise UserErrorException(f"Invalid mode '{mode}'. Mode can only be mount, download, hdfs, link, or direct")
        self._name = name
        self._dataset = dataset
        self._mode = mode.lower()
        self._path_on_compute = path_on_compute
        self._check_mode()

    @property
    def name(self) -> str:
        """The name of the input."""
        return self._name

    @property
    def dataset(self) -> Any:
        """The dataset, or the pipeline parameter, as it was given."""
        return self._dataset

    @property
    def mode(self) -> str:
        return self._mode

    @property
    def path_on_compute(self) -> str | None:
        return self._path_on_compute

    @property
    def default_dataset(self) -> AbstractDataset:
        """The dataset; of a pipeline parameter, its default.

        Raises:
            UserErrorException: there is none.
        """
        from batchmill.workspace.abstract_dataset import AbstractDataset

        found = self._dataset if isinstance(self._dataset, AbstractDataset) else getattr(self._dataset, "default_value", None)
        if not isinstance(found, AbstractDataset):
            found = getattr(self._dataset, "default_dataset", None)  # of a parameter that wraps its dataset
        if not isinstance(found, AbstractDataset):
            raise UserErrorException(
                f"Input {self._name} is made of {type(self._dataset).__name__}: give a dataset or a PipelineParameter of one."
            )
        return found

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The same input as a read-only folder of its files; a dataset of exactly one file is that file.

        Raises:
            UserErrorException: it is not a file dataset.
        """
        return type(self)(self._name, self._dataset, MOUNT, path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The same input as a folder with copies of its files; a dataset of exactly one file is that file.

        Raises:
            UserErrorException: it is not a file dataset.
        """
        return type(self)(self._name, self._dataset, DOWNLOAD, path_on_compute)

    def as_hdfs(self) -> DatasetConsumptionConfig:
        """The same input for Spark, which reads files."""
        return type(self)(self._name, self._dataset, HDFS)

    def _check_mode(self) -> None:
        from batchmill.data.definition import FILE

        dataset = self.default_dataset
        if self._mode != DIRECT and dataset.kind != FILE:
            raise UserErrorException(ONLY_FILES.format(type(dataset).__name__, self._mode, self._mode))

    def __repr__(self) -> str:
        where = "" if self._path_on_compute is None else f", path_on_compute={self._path_on_compute!r}"
        return f"DatasetConsumptionConfig(name={self._name!r}, mode={self._mode!r}{where})"


def input_name() -> str:
    """A name for an input that was given none (Azure ML: ``input_<hex>``)."""
    import uuid

    return f"input_{uuid.uuid4().hex[:8]}"
