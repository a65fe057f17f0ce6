"""Datasets of rows (Azure ML: ``azureml.data.TabularDataset``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self

from batchmill.data.definition import TABULAR
from batchmill.data.expression import Expression
from batchmill.errors import BatchmillError
from batchmill.workspace.abstract_dataset import AbstractDataset
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.time_series import check_moment, check_timestamps, time_filter

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pandas as pd

    from batchmill.data.table_rows import TableRows
    from batchmill.workspace.file_dataset import FileDataset

ERROR_WORDS = ("null", "fail")
SHOWN_ROWS = 5
CHEAP = 1 << 20
"""Bytes of local files up to which showing a dataset in a notebook reads it."""


class TabularDataset(AbstractDataset):
    """Rows with named columns, read from files or asked of a database.

    >>> iris = Dataset.Tabular.from_delimited_files((datastore, "iris.csv"))                 # doctest: +SKIP
    >>> iris.filter(iris["sepal_width"] > 3).keep_columns("species").take(2).to_pandas_dataframe()  # doctest: +SKIP
    """

    kind = TABULAR

    # --- rows -----------------------------------------------------------------------------------------------------------------------

    def to_pandas_dataframe(self, on_error: str = "null", out_of_range_datetime: str = "null") -> pd.DataFrame:
        """All rows; planned and read as a run does it. A dataset with a timestamp has it as its index too.

        ``on_error`` and ``out_of_range_datetime``: values that do not fit become null, or ("fail") an error.

        Raises:
            UserErrorException: an argument is neither "null" nor "fail".
            InputError: the data is missing or cannot be read, or, with "fail", a value does not fit.
        """
        for name, word in (("on_error", on_error), ("out_of_range_datetime", out_of_range_datetime)):
            if word not in ERROR_WORDS:
                raise UserErrorException(f"Invalid value '{word}' for {name}. It can be 'null' or 'fail'.")
        with self.open_rows() as rows:
            frame = rows.frame(strict="fail" in (on_error, out_of_range_datetime))
        timestamp = self._definition.timestamp
        if timestamp is not None and timestamp in frame and len(frame):
            frame = frame.set_index(timestamp, drop=False).rename_axis(index=None)
        return frame

    def open_rows(self) -> AbstractContextManager[TableRows]:
        """The rows, a piece at a time: ``with dataset.open_rows() as rows: rows.pieces()``.

        Raises:
            InputError: the data is missing or cannot be read, or an operation names a column that is not there.
        """
        from batchmill.data.table_rows import open_rows

        return open_rows(self.physical_definition())

    def to_spark_dataframe(self) -> NoReturn:
        """Batchmill has no Spark.

        Raises:
            UserErrorException: always.
        """
        raise UserErrorException("Batchmill runs no Spark: use to_pandas_dataframe(), or to_parquet_files() and read the files with Spark.")

    # --- columns --------------------------------------------------------------------------------------------------------------------

    def keep_columns(self, columns: str | Sequence[str], validate: bool = False) -> Self:
        """Only these columns, in the order of the table. Without its timestamp a dataset is no time series any more.

        Raises:
            UserErrorException: ``columns`` are no names; with ``validate``, there is no such column.
        """
        names = _names(columns)
        return self._with_columns(self._checked(names, validate=validate), "keep_columns", names, lambda name: name in names)

    def drop_columns(self, columns: str | Sequence[str]) -> Self:
        """All columns but these. Without its timestamp a dataset is no time series any more.

        Raises:
            UserErrorException: ``columns`` are no names.
        """
        names = _names(columns)
        return self._with_columns(self._definition, "drop_columns", names, lambda name: name not in names)

    def _with_columns(self, definition: Any, op: str, names: list[str], left: Any) -> Self:
        timestamp, partition = definition.timestamp, definition.partition_timestamp
        timestamp = timestamp if timestamp is not None and left(timestamp) else None
        partition = partition if timestamp is not None and partition is not None and left(partition) else None
        found = definition.with_operation(op=op, columns=names)
        return self._derived(replace(found, timestamp=timestamp, partition_timestamp=partition))

    def _checked(self, names: Sequence[str], *, validate: bool) -> Any:
        if validate:
            known = [column["name"] for column in self._columns()]
            missing = [name for name in names if name not in known]
            if missing:
                raise UserErrorException(f"The dataset has no column {missing[0]!r}. Its columns are: {', '.join(known[:20])}.")
        return self._definition

    def _columns(self) -> list[dict[str, str]]:
        with self.open_rows() as rows:
            found: list[dict[str, str]] = rows.columns
        return found

    def _check_expression(self, expression: Expression) -> None:
        if expression.uses_metadata():
            raise UserErrorException(
                "Rows have no file metadata: filter a FileDataset by it, or keep the path of each row with include_path."
            )

    # --- time series ------------------------------------------------------------------------------------------------------------------

    @property
    def timestamp_columns(self) -> tuple[str | None, str | None]:
        """The columns for the time of a row and for the time of its partition."""
        return self._definition.timestamp, self._definition.partition_timestamp

    def with_timestamp_columns(
        self, timestamp: str | None = None, partition_timestamp: str | None = None, validate: bool = False, **_azure: Any
    ) -> Self:
        """The same rows as a time series: ``timestamp`` is the time of a row, ``partition_timestamp`` that of its partition.

        Raises:
            UserErrorException: they are the same, or only the second is given; with ``validate``, one is no column of date-times.
        """
        check_timestamps(timestamp, partition_timestamp)
        if validate:
            kinds = {column["name"]: column["type"] for column in self._columns()}
            for name in (timestamp, partition_timestamp):
                if name is not None and not kinds.get(name, "").startswith(("datetime", "timestamp", "date")):
                    raise UserErrorException(f"Column {name!r} of the dataset is {kinds.get(name, 'not there')}, and no date-time.")
        return self._derived(replace(self._definition, timestamp=timestamp, partition_timestamp=partition_timestamp))

    def time_before(self, end_time: datetime, include_boundary: bool = True, validate: bool = True) -> Self:
        """The rows until ``end_time``.

        Raises:
            DatasetTimestampMissingError: the dataset is no time series.
            UserErrorException: ``end_time`` is no date-time; with ``validate``, a timestamp is no column of date-times.
        """
        return self._in_time("time_before", None, check_moment("end_time", end_time), include_boundary, validate)

    def time_after(self, start_time: datetime, include_boundary: bool = True, validate: bool = True) -> Self:
        """The rows from ``start_time`` on.

        Raises:
            DatasetTimestampMissingError: the dataset is no time series.
            UserErrorException: ``start_time`` is no date-time; with ``validate``, a timestamp is no column of date-times.
        """
        return self._in_time("time_after", check_moment("start_time", start_time), None, include_boundary, validate)

    def time_between(self, start_time: datetime, end_time: datetime, include_boundary: bool = True, validate: bool = True) -> Self:
        """The rows from ``start_time`` until ``end_time``.

        Raises:
            DatasetTimestampMissingError: the dataset is no time series.
            UserErrorException: a time is no date-time; with ``validate``, a timestamp is no column of date-times.
        """
        start, end = check_moment("start_time", start_time), check_moment("end_time", end_time)
        return self._in_time("time_between", start, end, include_boundary, validate)

    def time_recent(self, time_delta: timedelta, include_boundary: bool = True, validate: bool = True) -> Self:
        """The rows of the last ``time_delta``, counted from now (UTC).

        Raises:
            DatasetTimestampMissingError: the dataset is no time series.
            UserErrorException: ``time_delta`` is no timedelta; with ``validate``, a timestamp is no column of date-times.
        """
        if not isinstance(time_delta, timedelta):
            raise UserErrorException(f"The time_delta {time_delta!r} is not a datetime.timedelta.")
        return self._in_time("time_recent", datetime.now(UTC) - time_delta, None, include_boundary, validate)

    def _in_time(self, method: str, start: datetime | None, end: datetime | None, include_boundary: bool, validate: bool) -> Self:
        expression = time_filter(self._definition, method, start, end, include_boundary=include_boundary)
        if validate:
            self.with_timestamp_columns(*self.timestamp_columns, validate=True)
        return self._with(op="filter", expression=expression.tree)

    # --- files and partitions -----------------------------------------------------------------------------------------------------------

    def to_csv_files(self, separator: str = ",") -> FileDataset:
        """The rows as CSV files with headers, written now to the default datastore of the workspace, as a dataset of files.

        Raises:
            InputError: the data is missing or cannot be read.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.tabular_output import write_files

        return write_files(self, "csv", separator)

    def to_parquet_files(self) -> FileDataset:
        """The rows as Parquet files, written now to the default datastore of the workspace, as a dataset of files.

        Raises:
            InputError: the data is missing or cannot be read.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.tabular_output import write_files

        return write_files(self, "parquet", None)

    def partition_by(
        self,
        partition_keys: Sequence[str],
        target: Any,
        name: str | None = None,
        show_progress: bool = True,
        partition_as_file_dataset: bool = False,
    ) -> TabularDataset | FileDataset:
        """Write the rows in partitions, one Parquet file per combination of keys, and return the dataset of what was written.

        ``target`` is a `DataPath` or a tuple of a datastore and a path; below it lies a new folder with
        ``<value>/<value>/part-0.parquet`` and, written last, ``_SUCCESS``. The key columns are columns of the dataset that is returned,
        with their types, behind the others. With ``name`` it is registered, as a new version where the name is taken.

        Raises:
            UserErrorException: the keys are empty, unknown or twice there, or ``target`` names no place.
            InputError: the data is missing or cannot be read.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.tabular_output import write_partitioned

        keys = [partition_keys] if isinstance(partition_keys, str) else list(partition_keys or ())
        if not keys:
            raise UserErrorException("partition_keys cannot be empty")
        if len(set(keys)) != len(keys):
            raise UserErrorException("partition_keys cannot have duplicates")
        return write_partitioned(self, keys, target, name, as_files=partition_as_file_dataset, show_progress=show_progress)

    def get_partition_key_values(self, partition_keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The distinct combinations of key values, in ascending order; ``partition_keys`` are some of `partition_keys`, by default all.

        Raises:
            UserErrorException: one is none of the dataset's partition keys.
        """
        from batchmill.data.table_rows import key_values

        keys = self.partition_keys if partition_keys is None else _names(partition_keys)
        unknown = [key for key in keys if key not in self.partition_keys]
        if unknown or not keys:
            raise UserErrorException(f"{unknown} are invalid partition keys. The dataset's partition keys are {self.partition_keys}.")
        return [dict(zip(keys, values, strict=True)) for values in key_values(self.physical_definition(), keys)]

    # --- what only files can --------------------------------------------------------------------------------------------------------------

    def as_mount(self, path_on_compute: str | None = None) -> NoReturn:
        """Rows cannot be mounted.

        Raises:
            UserErrorException: always, with Azure ML's words.
        """
        raise self._only_files("mount")

    def as_download(self, path_on_compute: str | None = None) -> NoReturn:
        """Rows cannot be downloaded.

        Raises:
            UserErrorException: always, with Azure ML's words.
        """
        raise self._only_files("download")

    def mount(self, mount_point: Any = None) -> NoReturn:
        """As `as_mount`."""
        raise self._only_files("mount")

    def download(self, target_path: Any = None, overwrite: bool = False) -> NoReturn:
        """As `as_download`."""
        raise self._only_files("download")

    def _only_files(self, mode: str) -> UserErrorException:
        kind = type(self).__name__
        return UserErrorException(f"{kind} does not support {mode}. Only FileDataset supports {mode}")

    # --- showing --------------------------------------------------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        """As for any dataset, and the first rows where they are at hand: of small local files, never by asking a store or a database."""
        head = self._cheap_rows()
        if head is None:
            return super()._repr_html_()
        return super()._repr_html_() + f"<p>First {len(head)} rows</p>" + head.to_html(index=False, max_cols=20)

    def _cheap_rows(self) -> pd.DataFrame | None:
        from batchmill.data.table_rows import local_size

        try:
            physical = self.take(SHOWN_ROWS).physical_definition()
            if local_size(physical, CHEAP) is None:
                return None
            return self.take(SHOWN_ROWS).to_pandas_dataframe()
        except (BatchmillError, OSError):
            return None


def _names(columns: Any) -> list[str]:
    names = [columns] if isinstance(columns, str) else list(columns) if isinstance(columns, (list, tuple)) else [columns]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserErrorException(f"Columns are named by a text or a list of texts, not by {columns!r}.")
    return names
