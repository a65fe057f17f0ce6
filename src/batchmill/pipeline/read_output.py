"""How the files that a step leaves are read as a dataset, long before they are there: a *reading*.

A reading is what `OutputSource.read` and `OutputPort.read` hold, in the terms of `batchmill.data.definition.Definition` without its
sources: ``format`` ("files" unless given), ``options``, ``partition_format``, ``operations``, and ``pattern``, a path pattern below the
folder of the output (default: all files).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from batchmill.data.definition import CSV, FILE, FILES, PARQUET, TABULAR, Definition
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.file_factory import check_partition_format, literal

Reading = dict[str, Any]
EXTENSIONS = {",": ".csv", "\t": ".tsv"}
"""Of delimited files, by their separator."""


def definition_of(read: Mapping[str, Any] | None, place: str, type: str, *, is_file: bool = False) -> Definition:
    """The dataset of what lies at ``place``, as a reading says.

    ``place`` is ``datastore://NAME/PATH``, a URL or an absolute path: the folder of an output, or (``is_file``) the one file that the
    output is. ``type``: "tabular" is a table; "file" and "folder" are files.

    >>> definition_of({"format": "csv", "pattern": "**/*.csv"}, "datastore://store/azureml/1/out", "tabular").sources
    ('datastore://store/azureml/1/out/**/*.csv',)

    Raises:
        UserErrorException: a table is asked for, and the reading does not say how.
        InputError: the reading is not understood.
    """
    facts = dict(read or {})
    pattern = facts.pop("pattern", None)
    kind = TABULAR if type == TABULAR else FILE
    form = facts.setdefault("format", FILES)
    if kind == TABULAR and form == FILES:
        raise UserErrorException(
            f"The output at {place} cannot be read as a table: say how with parse_delimited_files, read_parquet_files or the like."
        )
    source = place.rstrip("/") if is_file or pattern is None else f"{_literal(place)}/{pattern}"
    return Definition.from_dict({**facts, "kind": kind, "sources": [source], "is_file": is_file and kind == FILE})


def _literal(place: str) -> str:
    """A place before a pattern: its own wildcards mean themselves."""
    scheme, mark, path = place.rstrip("/").rpartition("://")
    return f"{scheme}{mark}{literal(path)}"


def type_of(read: Mapping[str, Any] | None) -> Literal["file", "tabular"]:
    """Whether a reading gives files or a table."""
    return "file" if (read or {}).get("format", FILES) == FILES else "tabular"


def files_reading(partition_format: str | None = None) -> Reading | None:
    """All files; ``partition_format`` takes columns from their paths.

    Raises:
        ValueError: the partition format is not well formed.
    """
    check_partition_format(partition_format)
    return None if partition_format is None else {"partition_format": partition_format}


def delimited_reading(
    *,
    include_path: bool = False,
    separator: str = ",",
    header: Any = True,
    partition_format: str | None = None,
    set_column_types: Any = None,
    support_multi_line: bool = False,
    pattern: str | None = None,
) -> Reading:
    """The rows of delimited files; arguments as of ``Dataset.Tabular.from_delimited_files``.

    Raises:
        UserErrorException: an argument is not what it may be.
        ValueError: the partition format is not well formed.
    """
    from batchmill.workspace.tabular_factory import delimited_options, kept_options

    options = kept_options(delimited_options(separator, header, support_multi_line), include_path, set_column_types)
    return _reading(CSV, options, partition_format, pattern)


def parquet_reading(
    *, include_path: bool = False, partition_format: str | None = None, set_column_types: Any = None, pattern: str | None = None
) -> Reading:
    """The rows of Parquet files; arguments as of ``Dataset.Tabular.from_parquet_files``.

    Raises:
        UserErrorException: an argument is not what it may be.
        ValueError: the partition format is not well formed.
    """
    from batchmill.workspace.tabular_factory import kept_options

    return _reading(PARQUET, kept_options({}, include_path, set_column_types), partition_format, pattern)


def extension_pattern(file_extension: str | None, separator: str | None = None) -> str | None:
    """The pattern of all files with an extension, in any folder; None for all files.

    The empty text means that of the separator: ``.csv`` for a comma, ``.tsv`` for a tab, else all files (Azure ML).

    >>> extension_pattern("", "\\t"), extension_pattern("txt"), extension_pattern(None)
    ('**/*.tsv', '**/*.txt', None)
    """
    found = EXTENSIONS.get(separator or "") if file_extension == "" else file_extension
    if found is None:
        return None
    if not isinstance(found, str) or "/" in found:
        raise UserErrorException(f"The file_extension {found!r} is not a text like '.csv'.")
    return f"**/*{literal(found if found.startswith('.') else '.' + found)}" if found else None


def with_operation(read: Mapping[str, Any] | None, **operation: Any) -> Reading:
    """A reading with one more operation behind the others."""
    facts = dict(read or {})
    return {**facts, "operations": [*facts.get("operations", ()), operation]}


def with_columns(read: Mapping[str, Any], op: str, columns: Any) -> Reading:
    """A reading that keeps (``op`` "keep_columns") or drops ("drop_columns") columns, one name or a list of them.

    Raises:
        UserErrorException: ``columns`` are no names.
    """
    names = [columns] if isinstance(columns, str) else columns
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise UserErrorException(f"Columns are named by a text or a list of texts, not by {columns!r}.")
    return with_operation(read, op=op, columns=list(names))


def split(read: Mapping[str, Any] | None, percentage: float, seed: int | None) -> tuple[Reading, Reading]:
    """Two readings without a row or file in common, which together are this one; the first has about ``percentage`` (0 to 1) of it.

    Raises:
        UserErrorException: the percentage is no fraction.
    """
    from batchmill.workspace.abstract_dataset import split_operations

    first, second = split_operations(percentage, seed)
    return with_operation(read, **first), with_operation(read, **second)


def _reading(form: str, options: dict[str, Any], partition_format: str | None, pattern: str | None) -> Reading:
    check_partition_format(partition_format)
    if pattern is not None and (not isinstance(pattern, str) or not pattern or pattern.startswith("/")):
        raise UserErrorException(f"The pattern {pattern!r} of files is not a path below the output like '**/*.csv'.")
    facts = {"options": options or None, "partition_format": partition_format, "pattern": pattern}
    return {"format": form, **{key: value for key, value in facts.items() if value is not None}}
