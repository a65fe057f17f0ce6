"""`OutputFileDatasetConfig` and `OutputTabularDatasetConfig`: a folder that a step fills, which is a dataset to those who read it."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from batchmill.pipeline.graph import InputPort, OutputPort, OutputSource
from batchmill.pipeline.port_name import check_port_names
from batchmill.pipeline.read_output import Reading, delimited_reading, files_reading, parquet_reading, split, with_columns
from batchmill.workspace.consumption import DIRECT, DOWNLOAD, MOUNT, ONLY_FILES, DatasetConsumptionConfig, input_name
from batchmill.workspace.data_path import DataPath, DataReference, relative_path
from batchmill.workspace.data_type import PromoteHeadersBehavior
from batchmill.workspace.exceptions import UserErrorException

DATASTORE, DESTINATION = "workspaceblobstore", "dataset/{run-id}/{output-name}"
ALL_SAME = PromoteHeadersBehavior.ALL_FILES_HAVE_SAME_HEADERS


class OutputDatasetConfig:
    """Base of both kinds (Azure ML: ``azureml.data.output_dataset_config.OutputDatasetConfig``).

    Whatever is derived from one has its ``key``: it is the same data. The folder is there when the script begins.
    """

    type: Literal["file", "tabular"] = "file"

    def __init__(self, name: str | None, destination: Any, source: str | None, reading: Reading | None) -> None:
        self.name = name or f"output_{uuid.uuid4().hex[:8]}"
        check_port_names([self.name], "output")
        self.destination = destination
        self.source = source
        self.mode: Literal["mount", "upload"] = "mount"
        self.overwrite = False
        self.source_globs: str | None = None
        self._place = _placed(destination)
        self._reading = reading
        self._registration: dict[str, Any] | None = None
        self._key = uuid.uuid4().hex

    @property
    def key(self) -> str:
        """Which data it is: shared by everything that is derived from it."""
        return self._key

    @property
    def reading(self) -> Reading | None:
        """How its files are read, see `batchmill.pipeline.read_output`."""
        return self._reading

    def register_on_complete(self, name: str, description: str | None = None, tags: Mapping[str, str] | None = None) -> Self:
        """The same data, which is registered as a new version of ``name`` when the step that makes it has completed.

        Raises:
            ValueError: the name is empty; with Azure ML's words.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError("The registration name of the dataset must not be empty.")
        tags = None if tags is None else dict(tags)
        return self._copy(_registration={"name": name, "create_new_version": True, "description": description, "tags": tags})

    def as_input(self, name: str | None = None) -> OutputDatasetInput:
        """The same data as an input of another step: the files mounted, a table as the dataset.

        Raises:
            UserErrorException: the name may not be used.
        """
        return OutputDatasetInput(name or input_name(), self, MOUNT if self.type == "file" else DIRECT)

    @property
    def port(self) -> OutputPort:
        """The output of the step that makes it."""
        datastore, destination = self._place
        return OutputPort(
            self.name,
            datastore,
            destination,
            self.mode,
            path_on_compute=self.source,
            overwrite=self.overwrite,
            exists=True,
            source_globs=self.source_globs,
            register=self._registration,
            read=self._reading,
        )

    def _copy(self, **changes: Any) -> Self:
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, destination={self._place!r}, mode={self.mode!r})"


class OutputFileDatasetConfig(OutputDatasetConfig):
    """A folder that a step fills (Azure ML: ``azureml.data.OutputFileDatasetConfig``).

    Among the arguments of a step it becomes the path of a folder that is there. ``destination`` is a datastore and a path on it, in which
    ``{run-id}`` and ``{output-name}`` mean the id of the step run and the name of the output. ``source`` is the path on this machine.

    >>> OutputFileDatasetConfig("prepared").port.destination
    'dataset/{run-id}/{output-name}'

    Raises:
        ValueError: the name is no name, or the partition format is not well formed.
        UserErrorException: the destination is no place on a datastore.
    """

    def __init__(
        self, name: str | None = None, destination: Any = None, source: str | None = None, partition_format: str | None = None
    ) -> None:
        super().__init__(name, destination, source, files_reading(partition_format))
        self.partition_format = partition_format

    def as_mount(self, disable_metadata_cache: bool = False) -> OutputFileDatasetConfig:
        """The same, written to its datastore while the step runs where that can be done."""
        return self._copy(mode="mount", overwrite=False, source_globs=None)

    def as_upload(self, overwrite: bool = False, source_globs: str | Sequence[str] | None = None) -> OutputFileDatasetConfig:
        """The same, uploaded when the step has completed. ``source_globs``: only the files that match a pattern, or one of several."""
        globs = source_globs if source_globs is None or isinstance(source_globs, str) else ";".join(source_globs)
        return self._copy(mode="upload", overwrite=bool(overwrite), source_globs=globs)

    def read_delimited_files(
        self,
        include_path: bool = False,
        separator: str = ",",
        header: Any = ALL_SAME,
        partition_format: str | None = None,
        path_glob: str | None = None,
        set_column_types: Any = None,
    ) -> OutputTabularDatasetConfig:
        """The rows of its files; ``path_glob`` chooses files by their paths below the folder.

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
        """
        reading = delimited_reading(
            include_path=include_path,
            separator=separator,
            header=header,
            partition_format=partition_format or self.partition_format,
            set_column_types=set_column_types,
            pattern=path_glob,
        )
        return OutputTabularDatasetConfig(output_file_dataset_config=self, reading=reading)

    def read_parquet_files(
        self,
        include_path: bool = False,
        partition_format: str | None = None,
        path_glob: str | None = None,
        set_column_types: Any = None,
    ) -> OutputTabularDatasetConfig:
        """The rows of its Parquet files; ``path_glob`` chooses files by their paths below the folder.

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
        """
        reading = parquet_reading(
            include_path=include_path,
            partition_format=partition_format or self.partition_format,
            set_column_types=set_column_types,
            pattern=path_glob,
        )
        return OutputTabularDatasetConfig(output_file_dataset_config=self, reading=reading)


class OutputTabularDatasetConfig(OutputDatasetConfig):
    """The rows of the files that a step leaves; made by `OutputFileDatasetConfig.read_delimited_files` and ``read_parquet_files``."""

    type: Literal["file", "tabular"] = "tabular"

    def __init__(self, *, output_file_dataset_config: OutputFileDatasetConfig, reading: Reading) -> None:
        vars(self).update(vars(output_file_dataset_config))
        self._reading = reading
        self._registration = None

    def keep_columns(self, columns: str | Sequence[str]) -> OutputTabularDatasetConfig:
        """Only these columns.

        Raises:
            UserErrorException: ``columns`` are no names.
        """
        return self._copy(_reading=with_columns(self._reading or {}, "keep_columns", columns))

    def drop_columns(self, columns: str | Sequence[str]) -> OutputTabularDatasetConfig:
        """All columns but these.

        Raises:
            UserErrorException: ``columns`` are no names.
        """
        return self._copy(_reading=with_columns(self._reading or {}, "drop_columns", columns))

    def random_split(self, percentage: float, seed: int | None = None) -> tuple[OutputTabularDatasetConfig, OutputTabularDatasetConfig]:
        """Two datasets without a row in common, which together are this one; the first has about ``percentage`` (0 to 1) of its rows.

        Raises:
            UserErrorException: the percentage is not between 0 and 1.
        """
        first, second = split(self._reading, percentage, seed)
        return self._copy(_reading=first), self._copy(_reading=second)


class OutputDatasetInput(DatasetConsumptionConfig):
    """What one step leaves as a named input of another; ``dataset`` is the `OutputDatasetConfig`."""

    @property
    def key(self) -> str:
        """Which data it is, see `OutputDatasetConfig.key`."""
        key: str = self._dataset.key
        return key

    @property
    def input_port(self) -> InputPort:
        """The input of the step that reads it; who makes the data stands there only in the graph."""
        made: OutputDatasetConfig = self._dataset
        mode: Literal["direct", "mount", "download"] = "mount"
        if self._mode in (DIRECT, DOWNLOAD):
            mode = "direct" if self._mode == DIRECT else "download"
        return InputPort(self._name, OutputSource("", made.name, made.type, made.reading), mode, self._path_on_compute)

    def _check_mode(self) -> None:
        if not isinstance(self._dataset, OutputDatasetConfig):
            raise UserErrorException(f"Input {self._name} is made of {type(self._dataset).__name__} and not of an OutputFileDatasetConfig.")
        if self._mode != DIRECT and self._dataset.type != "file":
            raise UserErrorException(ONLY_FILES.format(type(self._dataset).__name__, self._mode, self._mode))


def _placed(destination: Any) -> tuple[str, str]:
    """The name of the datastore and the path of a destination."""
    if destination is None:
        return DATASTORE, DESTINATION
    if isinstance(destination, (DataPath, DataReference)):
        datastore, path = destination.datastore, destination.path_on_datastore
    elif isinstance(destination, tuple) and len(destination) == 2:
        datastore, path = destination
    else:
        datastore, path = destination, None
    name = getattr(datastore, "name", None)
    if not isinstance(name, str) or not isinstance(path, (str, type(None))):
        raise UserErrorException(f"The destination of an output is a tuple of a datastore and a path, not {destination!r}.")
    found = DESTINATION if path is None else relative_path(path).rstrip("/")
    if ".." in found.split("/"):
        raise UserErrorException(f"The destination '{path}' leads out of its datastore. Write the path without '..'.")
    return name, found
