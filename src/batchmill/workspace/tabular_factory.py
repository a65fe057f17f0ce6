"""Making tabular datasets (Azure ML: ``Dataset.Tabular``)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.data.definition import CSV, JSON_LINES, PARQUET, SQL, TABULAR, Definition
from batchmill.errors import BatchmillError
from batchmill.workspace.data_path import DataPath, DataReference
from batchmill.workspace.data_type import column_choices, header_word
from batchmill.workspace.exceptions import DatasetValidationError, UserErrorException
from batchmill.workspace.file_factory import INVALID_DATA, check_partition_format, check_sources, literal, target_of
from batchmill.workspace.tabular_dataset import TabularDataset

if TYPE_CHECKING:
    import pandas as pd

ENCODINGS = ("utf8", "iso88591", "latin1", "ascii", "utf16", "utf32", "utf8bom", "windows1252")
ALL_SAME = "all_files_have_same_headers"


class TabularDatasetFactory:
    """The factories of ``Dataset.Tabular`` (Azure ML: ``azureml.data.dataset_factory.TabularDatasetFactory``).

    ``path`` is one or a list of: a URL, a `DataPath`, a `DataReference`, a tuple of a datastore and a path (or paths), a local path;
    ``*``, ``?`` and ``**`` may stand in it. With ``validate`` the head of the data is looked at at once. ``set_column_types`` maps names
    to `DataType`. ``partition_format`` takes columns from the paths (``"{user}/{day:yyyy/MM/dd}/*.csv"``).
    """

    @staticmethod
    def from_delimited_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        infer_column_types: bool = True,
        set_column_types: Mapping[str, Any] | None = None,
        separator: str = ",",
        header: Any = True,
        partition_format: str | None = None,
        support_multi_line: bool = False,
        empty_as_string: bool = False,
        encoding: str = "utf8",
    ) -> TabularDataset:
        """A dataset of CSV files or the like, gzip and Zstandard included.

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
            DatasetValidationError: with ``validate``, the data is missing or cannot be read.
        """
        options = delimited_options(separator, header, support_multi_line) | {
            "encoding": _encoding(encoding),
            "infer_column_types": bool(infer_column_types),
            "empty_as_string": bool(empty_as_string),
        }
        return _made(path, CSV, options, include_path, set_column_types, partition_format, validate)

    @staticmethod
    def from_parquet_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: Mapping[str, Any] | None = None,
        partition_format: str | None = None,
    ) -> TabularDataset:
        """A dataset of Parquet files.

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
            DatasetValidationError: with ``validate``, the data is missing or cannot be read.
        """
        return _made(path, PARQUET, {}, include_path, set_column_types, partition_format, validate)

    @staticmethod
    def from_json_lines_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: Mapping[str, Any] | None = None,
        partition_format: str | None = None,
        invalid_lines: str = "error",
        encoding: str = "utf8",
    ) -> TabularDataset:
        """A dataset of files with one JSON object a line; ``invalid_lines`` is "error" or "drop".

        Raises:
            UserErrorException: an argument is not what it may be.
            ValueError: the partition format is not well formed.
            DatasetValidationError: with ``validate``, the data is missing or cannot be read.
        """
        word = invalid_lines.lower() if isinstance(invalid_lines, str) else invalid_lines
        if word not in ("error", "drop"):
            raise UserErrorException(f"Expected 'error' or 'drop' as value for invalid_lines, found {invalid_lines}")
        options = {"invalid_lines": word, "encoding": _encoding(encoding)}
        return _made(path, JSON_LINES, options, include_path, set_column_types, partition_format, validate)

    @staticmethod
    def from_sql_query(
        query: Any, validate: bool = True, set_column_types: Mapping[str, Any] | None = None, query_timeout: int = 30
    ) -> TabularDataset:
        """A dataset of the rows that a database answers; ``query`` is a `DataPath` or a tuple of a datastore and an SQL text.

        The database is asked anew for each run and each look; a run keeps the answer. ``query_timeout``: seconds without an answer.

        Raises:
            UserErrorException: ``query`` is nothing of the kind, or the datastore is no database.
            DatasetValidationError: with ``validate``, the query fails.
        """
        datastore, text = _query(query)
        if isinstance(query_timeout, bool) or not isinstance(query_timeout, (int, float)) or query_timeout <= 0:
            raise UserErrorException(f"The query_timeout {query_timeout!r} is not a number of seconds.")
        options: dict[str, Any] = {"query": text} | ({} if query_timeout == 30 else {"query_timeout": query_timeout})
        if choices := column_choices(set_column_types):
            options["column_types"] = choices
        dataset = TabularDataset(Definition(TABULAR, (f"datastore://{datastore.name}",), SQL, options), datastore.workspace)
        if validate:
            _check_readable(dataset)
        return dataset

    @staticmethod
    def register_pandas_dataframe(
        dataframe: pd.DataFrame,
        target: Any,
        name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        show_progress: bool = True,
        row_group_size: int | None = None,
        make_target_path_unique: bool = True,
    ) -> TabularDataset:
        """Write a data frame to ``target`` (a `DataPath`, or a tuple of a datastore and a path) as Parquet, and register it.

        The index is not written. With ``make_target_path_unique`` the file lies in a new folder below ``target``. A name that is taken
        gets a new version.

        Raises:
            UserErrorException: ``target`` names no place, or a column cannot be written.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.tabular_output import write_frame

        datastore, path = target_of(target)
        folder = "/".join(part for part in (path.strip("/"), str(uuid.uuid4()) if make_target_path_unique else "") if part)
        write_frame(dataframe, datastore, folder, row_group_size, show_progress=show_progress)
        dataset = TabularDatasetFactory.from_parquet_files(
            (datastore, f"{literal(folder)}/*.parquet" if folder else "*.parquet"), validate=False
        )
        return dataset.register(datastore.workspace, name, description=description, tags=tags, create_new_version=True)


def _made(
    path: Any, form: str, options: dict[str, Any], include_path: bool, set_column_types: Any, partition_format: str | None, validate: bool
) -> TabularDataset:
    from batchmill.workspace.sources import source_texts, workspace_of

    sources = tuple(source_texts(path))
    check_partition_format(partition_format)
    kept = kept_options(options, include_path, set_column_types)
    dataset = TabularDataset(Definition(TABULAR, sources, form, kept, partition_format=partition_format), workspace_of(path))
    if validate:
        check_sources(dataset)
        _check_readable(dataset)
    return dataset


def delimited_options(separator: str, header: Any, support_multi_line: bool) -> dict[str, Any]:
    """How delimited files are cut into rows and columns, in the words of a definition.

    Raises:
        UserErrorException: the separator or the header is not what it may be.
    """
    return {"separator": _separator(separator), "header": header_word(header), "support_multi_line": bool(support_multi_line)}


def kept_options(options: Mapping[str, Any], include_path: bool, set_column_types: Any) -> dict[str, Any]:
    """What a definition holds of the arguments of a factory: all that is not as it is by itself.

    Raises:
        UserErrorException: the column types are not what they may be.
    """
    defaults = {"separator": ",", "header": ALL_SAME, "encoding": "utf8", "infer_column_types": True, "invalid_lines": "error"}
    kept = {key: value for key, value in options.items() if value != defaults.get(key, False)}
    if include_path:
        kept["include_path"] = True
    if choices := column_choices(set_column_types):
        kept["column_types"] = choices
    return kept


def _check_readable(dataset: TabularDataset) -> None:
    from batchmill.data.table_rows import check_readable

    try:
        check_readable(dataset.physical_definition())
    except UserErrorException:
        raise
    except BatchmillError as error:
        raise DatasetValidationError(INVALID_DATA + error.line, inner_exception=error) from error


def _separator(separator: Any) -> str:
    if not isinstance(separator, str) or not separator or any(character in separator for character in '"\r\n'):
        raise UserErrorException(f"Invalid separator {separator!r}. It must be a text without quotes and line ends, and not empty.")
    return separator


def _encoding(encoding: Any) -> str:
    word = encoding.lower() if isinstance(encoding, str) else encoding
    if word not in ENCODINGS:
        raise UserErrorException(f"Invalid encoding '{encoding}'. The supported encodings are {', '.join(ENCODINGS)}.")
    return str(word)


def _query(query: Any) -> tuple[Any, str]:
    from batchmill.workspace.sources import INVALID_TUPLE
    from batchmill.workspace.sql_datastore import SqlDatastore

    if isinstance(query, (DataPath, DataReference)):
        datastore, text = query.datastore, query.path_on_datastore
    elif isinstance(query, tuple) and len(query) == 2:
        datastore, text = query
    else:
        raise UserErrorException(
            f"Invalid query: a DataPath or a tuple of a datastore and an SQL text is needed, not {type(query).__name__}."
        )
    if not isinstance(text, str) or not text.strip():
        raise UserErrorException(f"{INVALID_TUPLE}.")
    if not isinstance(datastore, SqlDatastore):
        name = getattr(datastore, "name", datastore)
        raise UserErrorException(f"Datastore '{name}' is no database: register one with Datastore.register_sql_database.")
    return datastore, text
