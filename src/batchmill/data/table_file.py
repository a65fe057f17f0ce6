"""Opening the files of a table while planning: local paths as workers open them, URLs through the object store."""

from __future__ import annotations

from typing import Any, Protocol

from batchmill.data.parquet import ParquetTable
from batchmill.data.table_options import TableOptions
from batchmill.data.text_file import TextFile
from batchmill.errors import InputError, ReadError
from batchmill.storage.files import open_binary
from batchmill.storage.location import SCHEME


class _File(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...


def open_text(file: _File, options: TableOptions, *, with_header: bool) -> TextFile:
    """Open a text file.

    Raises:
        InputError: it cannot be opened.
    """
    remote = SCHEME.match(file.path) is not None
    try:
        return TextFile(file.path, options, with_header=with_header, opener=open_binary if remote else None, size=file.size)
    except (OSError, ReadError) as error:
        raise unreadable(file.path, error) from None


def open_parquet(file: _File) -> ParquetTable:
    """Open a Parquet file.

    Raises:
        InputError: it cannot be opened or is no Parquet file.
    """
    source: Any = open_binary(file.path) if SCHEME.match(file.path) is not None else None
    try:
        return ParquetTable(file.path, source)
    except (OSError, ReadError) as error:
        raise unreadable(file.path, error) from None


def unreadable(path: str, error: BaseException) -> InputError:
    """The error of an input file that cannot be read while planning."""
    if isinstance(error, ReadError):
        return InputError(error.message, cure=error.cure)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{path} cannot be read: {reason}.", cure="Nothing was started.")
