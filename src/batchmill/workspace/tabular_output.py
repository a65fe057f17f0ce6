"""Rows of a dataset, or of a data frame, written to a datastore: as partitions, as CSV or Parquet files."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.data.definition import FILE, PARQUET, TABULAR, Definition
from batchmill.errors import PartitionFormatError
from batchmill.workspace.data_path import relative_path
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    import pandas as pd

    from batchmill.data.table_slice import TableSlice
    from batchmill.workspace.file_dataset import FileDataset
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.tabular_dataset import TabularDataset

SUCCESS = "_SUCCESS"
CONVERTED = "managed/converted"
"""Below the default datastore: where `to_csv_files` and `to_parquet_files` write."""


def write_partitioned(
    dataset: TabularDataset, keys: Sequence[str], target: Any, name: str | None, *, as_files: bool, show_progress: bool
) -> TabularDataset | FileDataset:
    """See `TabularDataset.partition_by`."""
    from batchmill.data.partition_writer import write_partitions
    from batchmill.workspace.file_factory import target_of

    datastore, path = target_of(target)
    with _published(datastore, _checked(path), show_progress=show_progress) as (folder, where, scratch), dataset.open_rows() as rows:
        columns = [column["name"] for column in rows.columns]
        unknown = [key for key in keys if key not in columns]
        if unknown:
            raise UserErrorException(f"{unknown} are invalid partition keys. The columns of the dataset are {columns[:20]}.")
        try:
            partitioned = write_partitions(rows, keys, folder, scratch, dots=not as_files)
        except PartitionFormatError as error:
            raise UserErrorException(error.line, inner_exception=error) from error
    source = f"datastore://{datastore.name}/{_literal(where)}/{'*/' * len(keys)}*.parquet"
    made = _partitioned_dataset(dataset, source, keys, partitioned, datastore.workspace, as_files=as_files)
    return made if name is None else made.register(datastore.workspace, name, create_new_version=True)


def _partitioned_dataset(
    dataset: TabularDataset, source: str, keys: Sequence[str], partitioned: dict[str, Any], workspace: Any, *, as_files: bool
) -> TabularDataset | FileDataset:
    from batchmill.workspace.file_dataset import FileDataset
    from batchmill.workspace.tabular_dataset import TabularDataset

    if as_files:
        dates = [key for key in keys if partitioned["types"][key].startswith(("datetime", "timestamp", "date"))]
        pattern = "/".join(f"{{{key}:yyyyMMddHHmmss}}" if [key] == dates else f"{{{key}}}" for key in keys) + "/*.parquet"
        return FileDataset(Definition(FILE, (source,), partition_format=pattern), workspace)
    time, partition_time = dataset.timestamp_columns
    definition = Definition(TABULAR, (source,), PARQUET, partitioned=partitioned, timestamp=time, partition_timestamp=partition_time)
    return TabularDataset(definition, workspace)


def write_frame(frame: pd.DataFrame, datastore: StorageDatastore, path: str, row_group_size: int | None, *, show_progress: bool) -> None:
    """Write a data frame as one Parquet file into the folder ``path``.

    Raises:
        UserErrorException: it is no data frame, or a column holds what Parquet does not.
        StoreError: the store is unreachable or refuses.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    if not isinstance(frame, pd.DataFrame):
        raise UserErrorException(f"A pandas DataFrame is registered, not a {type(frame).__name__}.")
    if row_group_size is not None and (isinstance(row_group_size, bool) or not isinstance(row_group_size, int) or row_group_size < 1):
        raise UserErrorException(f"The row_group_size {row_group_size!r} is not a number of rows.")
    datastore.require_writable()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise UserErrorException(f"The data frame cannot be written as Parquet: {error}.", inner_exception=error) from error
    with tempfile.TemporaryDirectory(prefix="batchmill-frame-") as scratch:
        file = Path(scratch) / "part-0.parquet"
        parquet.write_table(table, file, row_group_size=row_group_size)
        datastore.upload_files([file], scratch, path, overwrite=True, show_progress=show_progress)


def write_files(dataset: TabularDataset, form: str, separator: str | None) -> FileDataset:
    """See `TabularDataset.to_csv_files` and `TabularDataset.to_parquet_files`."""
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.file_dataset import FileDataset

    workspace = dataset.workspace or find_workspace()
    datastore: Any = workspace.get_default_datastore()
    with _published(datastore, CONVERTED, show_progress=False) as (folder, where, _), dataset.open_rows() as rows:
        folder.mkdir(parents=True)
        number, last = 0, None
        for last in rows.pieces():
            if last.rows:
                _write_piece(last, folder / f"part-{number:05d}.{form}", separator)
                number += 1
        if last is not None and not number:  # the columns at least
            _write_piece(last, folder / f"part-{number:05d}.{form}", separator)
    return FileDataset(Definition(FILE, (f"datastore://{datastore.name}/{_literal(where)}/*.{form}",)), workspace)


def _write_piece(piece: TableSlice, path: Path, separator: str | None) -> None:
    if separator is not None:
        piece.frame().to_csv(path, index=False, sep=separator)
        return
    from pyarrow import parquet

    parquet.write_table(piece.arrow, path)


@contextmanager
def _published(datastore: StorageDatastore, path: str, *, show_progress: bool) -> Iterator[tuple[Path, str, Path]]:
    """A folder to write into, its path on the datastore (new, below ``path``), and a folder for what is needed meanwhile.

    What was written appears when the block ends well: on a local store by a rename, on others file by file, ``_SUCCESS`` last.
    """
    from batchmill.storage.files import fsync_folder, fsync_tree
    from batchmill.workspace.store_files import folder_to_upload

    datastore.require_writable()
    name = str(uuid.uuid4())
    where = "/".join(part for part in (path, name) if part)
    local = datastore.connection.kind == "local"
    target = Path(datastore.connection.root, path) if local else None
    if target is not None:
        target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".batchmill-write-", dir=target) as scratch:
        sorting = Path(scratch) / "scratch"
        sorting.mkdir()
        folder = Path(scratch) / name
        yield folder, where, sorting
        if target is not None:
            fsync_tree(folder)
            folder.rename(target / name)
            fsync_folder(target)
            return
        files = sorted(folder_to_upload(folder), key=lambda file: file.name == SUCCESS)
        datastore.send(files[:-1], where, True, show_progress)
        datastore.send(files[-1:], where, True, False)


def _checked(path: str) -> str:
    path = relative_path(path).strip("/")
    if ".." in path.split("/"):
        raise UserErrorException(f"'{path}' leads out of its datastore. Write the path without '..'.")
    return path


def _literal(path: str) -> str:
    """A path whose own wildcards mean themselves."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)
