"""What a step leaves, as a dataset: `PipelineOutputFileDataset`, `PipelineOutputTabularDataset`; and `PipelineDataset` of old pipelines."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from batchmill.pipeline.graph import InputPort, OutputPort, OutputSource
from batchmill.pipeline.port_name import check_data_name
from batchmill.pipeline.read_output import Reading, delimited_reading, extension_pattern, parquet_reading, split, with_columns
from batchmill.workspace.abstract_dataset import AbstractDataset
from batchmill.workspace.data_type import PromoteHeadersBehavior

if TYPE_CHECKING:
    from batchmill.pipeline.pipeline_data import PipelineData

ALL_SAME = PromoteHeadersBehavior.ALL_FILES_HAVE_SAME_HEADERS
Mode = Literal["direct", "mount", "download"]


class PipelineOutputAbstractDataset:
    """Base of what `PipelineData.as_dataset` gives (Azure ML: the same name)."""

    type: Literal["file", "tabular"] = "file"

    def __init__(self, pipeline_data: PipelineData) -> None:
        self._data = pipeline_data
        self._input_name = pipeline_data.name
        self._mode: Mode = "direct"
        self._path_on_compute: str | None = None
        self._reading: Reading | None = None
        self._registration: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the data."""
        return self._data.name

    @property
    def input_name(self) -> str:
        """The name of the input of a step that reads it."""
        return self._input_name

    @property
    def mode(self) -> str:
        """How a step sees it: direct, mount or download."""
        return self._mode

    @property
    def key(self) -> str:
        """Which data it is, see `PipelineData.key`."""
        return self._data.key

    @property
    def pipeline_data(self) -> PipelineData:
        """The data as a folder."""
        return self._data

    def as_named_input(self, name: str) -> Self:
        """The same as an input of another name.

        Raises:
            ValueError: the name may not be used.
        """
        named = copy.copy(self)
        named._input_name = check_data_name(name, "Input name")
        return named

    def register(self, name: str, create_new_version: bool = True) -> Self:
        """Register the dataset when the step that makes it has completed; a name that is taken gets a new version.

        Returns this object, to which the registration belongs from now on.

        Raises:
            ValueError: the name is empty.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError("The registration name of the dataset must not be empty.")
        self._registration = {"name": name, "create_new_version": bool(create_new_version), "description": None, "tags": None}
        return self

    @property
    def input_port(self) -> InputPort:
        """The input of a step that reads it; who makes it stands there only in the graph."""
        source = OutputSource("", self._data.output_name, self.type, self._reading, self._registration)
        return InputPort(self._input_name, source, self._mode, self._path_on_compute)

    @property
    def port(self) -> OutputPort:
        """The output of the step that makes it."""
        return replace(self._data.port, register=self._registration, read=self._reading)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, input_name={self._input_name!r}, mode={self._mode!r})"


class PipelineOutputFileDataset(PipelineOutputAbstractDataset):
    """The files that a step leaves (Azure ML: ``azureml.pipeline.core.pipeline_output_dataset.PipelineOutputFileDataset``).

    A step that reads it finds a folder, unless it is taken ``as_direct``.
    """

    def __init__(self, pipeline_data: PipelineData) -> None:
        super().__init__(pipeline_data)
        self._mode = "mount"

    def as_mount(self, path_on_compute: str | None = None) -> Self:
        """The same, as a read-only folder."""
        return self._as("mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> Self:
        """The same, as a folder with copies of the files."""
        return self._as("download", path_on_compute)

    def as_direct(self) -> Self:
        """The same, as the id of the dataset."""
        return self._as("direct", None)

    def _as(self, mode: Mode, path_on_compute: str | None) -> Self:
        other = copy.copy(self)
        other._mode, other._path_on_compute = mode, path_on_compute
        return other

    def parse_delimited_files(
        self,
        include_path: bool = False,
        separator: str = ",",
        header: Any = ALL_SAME,
        partition_format: str | None = None,
        file_extension: str | None = "",
        set_column_types: Any = None,
        quoted_line_breaks: bool = False,
    ) -> PipelineOutputTabularDataset:
        """The rows of the delimited files among them.

        ``file_extension`` chooses files; "" means ``.csv`` for a comma, ``.tsv`` for a tab and all files for other separators; None all.

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
        """
        reading = delimited_reading(
            include_path=include_path,
            separator=separator,
            header=header,
            partition_format=partition_format,
            set_column_types=set_column_types,
            support_multi_line=quoted_line_breaks,
            pattern=extension_pattern(file_extension, separator),
        )
        return PipelineOutputTabularDataset(self, reading)

    def parse_parquet_files(
        self,
        include_path: bool = False,
        partition_format: str | None = None,
        file_extension: str | None = ".parquet",
        set_column_types: Any = None,
    ) -> PipelineOutputTabularDataset:
        """The rows of the Parquet files among them; ``file_extension`` None means all files.

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
        """
        reading = parquet_reading(
            include_path=include_path,
            partition_format=partition_format,
            set_column_types=set_column_types,
            pattern=extension_pattern(file_extension),
        )
        return PipelineOutputTabularDataset(self, reading)


class PipelineOutputTabularDataset(PipelineOutputAbstractDataset):
    """The rows of the files that a step leaves (Azure ML: the same name); a step that reads it is given the dataset."""

    type: Literal["file", "tabular"] = "tabular"

    def __init__(self, of: PipelineOutputAbstractDataset, reading: Reading) -> None:
        super().__init__(of.pipeline_data)
        self._input_name = of.input_name
        self._reading = reading

    def keep_columns(self, columns: str | Sequence[str]) -> PipelineOutputTabularDataset:
        """Only these columns.

        Raises:
            UserErrorException: ``columns`` are no names.
        """
        return self._read(with_columns(self._reading or {}, "keep_columns", columns))

    def drop_columns(self, columns: str | Sequence[str]) -> PipelineOutputTabularDataset:
        """All columns but these.

        Raises:
            UserErrorException: ``columns`` are no names.
        """
        return self._read(with_columns(self._reading or {}, "drop_columns", columns))

    def random_split(self, percentage: float, seed: int | None = None) -> tuple[PipelineOutputTabularDataset, PipelineOutputTabularDataset]:
        """Two datasets without a row in common, which together are this one; the first has about ``percentage`` (0 to 1) of its rows.

        Raises:
            UserErrorException: the percentage is not between 0 and 1.
        """
        first, second = split(self._reading, percentage, seed)
        return self._read(first), self._read(second)

    def _read(self, reading: Reading) -> PipelineOutputTabularDataset:
        return PipelineOutputTabularDataset(self, reading)


class PipelineDataset:
    """A dataset as an input of a pipeline (Azure ML: ``azureml.pipeline.core.PipelineDataset``); newer code has `DatasetConsumptionConfig`.

    ``dataset`` is a dataset or a pipeline parameter whose default is one. File datasets are mounted, tables given as they are.

    Raises:
        ValueError: it is no dataset, or the name may not be used.
    """

    def __init__(
        self,
        dataset: Any,
        name: str | None = None,
        parameter_name: str | None = None,
        bind_mode: str | None = None,
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        found = dataset if isinstance(dataset, AbstractDataset) else getattr(dataset, "default_dataset", None)
        if not isinstance(found, AbstractDataset):
            raise ValueError(f"A PipelineDataset is made of a dataset or a PipelineParameter of one, not of {type(dataset).__name__}.")
        self.dataset = found
        self.parameter = None if dataset is found else dataset
        self.parameter_name = parameter_name
        self.name = check_data_name(name or found.name or "dataset", "PipelineDataset name")
        self.bind_mode = bind_mode or ("direct" if found.kind == "tabular" else "mount")
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    @staticmethod
    def create(dataset: Any, name: str | None = None, parameter_name: str | None = None) -> PipelineDataset:
        """The constructor (Azure ML)."""
        return PipelineDataset(dataset, name, parameter_name)

    @staticmethod
    def is_dataset(dset: Any) -> bool:
        """Whether it is a dataset."""
        return isinstance(dset, AbstractDataset)

    def __repr__(self) -> str:
        return f"PipelineDataset(name={self.name!r}, bind_mode={self.bind_mode!r})"
