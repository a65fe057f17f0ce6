"""The columns whose types the user chose, put into a table header: read as they are found, converted, their nulls looked for once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchmill.data.chosen_types import WITHOUT_NULLS, check_choices, chosen_type
from batchmill.data.input_survey import InputSurvey
from batchmill.data.path_columns import all_columns
from batchmill.data.schema_scan import WHOLE_PASS
from batchmill.data.table_options import TableOptions
from batchmill.errors import InputError, ReadError

THREADS = 2


def choose_types(header: dict[str, Any], files: Sequence[Any], survey: InputSurvey, options: TableOptions) -> None:
    """Give the columns of ``header`` that `TableOptions.column_types` names their types; ``read_as`` keeps the one that was found.

    Raises:
        InputError: there is no such column, or no such type, or a file cannot be read.
    """
    if not options.column_types:
        return
    check_choices(options.column_types)
    for schema in header["schemas"] or [{"columns": []}]:
        _check_names(options, [*schema["columns"], *header["path_columns"]])
        for column in [*schema["columns"], *header["path_columns"]]:
            choice = options.column_types.get(column["name"])
            if choice is not None:
                column.setdefault("read_as", column["type"])
                column["type"] = chosen_type(choice, never_null=False)
    if header["complete"] and survey.size <= WHOLE_PASS:
        _find_nulls(header, files, options)


def _check_names(options: TableOptions, columns: Sequence[dict[str, Any]]) -> None:
    names = [column["name"] for column in columns]
    unknown = [name for name in options.column_types if name not in names]
    if unknown and names:
        raise InputError(
            f"The dataset has no column {unknown[0]!r}, which set_column_types names.", cure=f"Its columns are: {', '.join(names[:20])}."
        )


def _find_nulls(header: dict[str, Any], files: Sequence[Any], options: TableOptions) -> None:
    """Columns that never hold null get the types that cannot."""
    from batchmill.data.table_pieces import read_in_pieces

    wanted = [name for name, choice in options.column_types.items() if choice["type"] in WITHOUT_NULLS]
    if not wanted or not len(files):
        return
    only = {**header, "grouped": None, "positions": None, "operations": [{"op": "keep_columns", "columns": wanted}]}
    nulls: list[set[str]] = [set() for _ in header["schemas"]]
    try:
        for position, piece in read_in_pieces(only, files, THREADS):
            number = header["schema_of_input"][files[position].input]
            table = piece.arrow
            nulls[number].update(name for name in wanted if table.column(name).null_count)
    except ReadError as error:
        raise InputError(error.message, cure=error.cure) from None
    for number, found in enumerate(nulls):
        for column in all_columns(header, number):
            if column["name"] in wanted and column["name"] not in set().union(*nulls if column in header["path_columns"] else (found,)):
                column["type"] = chosen_type(options.column_types[column["name"]], never_null=True)
