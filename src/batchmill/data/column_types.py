"""The types of columns of delimited text, and turning text into them.

Kinds, in the order in which they are tried: ``int``, ``float``, ``bool``, ``datetime`` (ISO), ``datetime_utc`` (ISO with a zone),
``datetime:FORMAT`` (month-day-year), ``str``. A *kind* is what the cells look like, a *type* what the column is in every mini-batch:
an ``int`` column becomes ``int64`` only where all cells of the input were seen and none was empty, else ``float64``; a ``bool`` column
likewise ``bool`` or ``object``.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    import pyarrow as pa

PARSED_TOGETHER = 1 << 20
"""Bytes of text that the parser takes at a time: as many as stay in the cache of a core."""
TOO_LONG_A_ROW = "straddling object"
"""In the parser's message about a row that does not fit into what it takes at a time."""
MONTH_FIRST = (
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m-%d-%Y",
    "%m-%d-%Y %H:%M",
    "%m-%d-%Y %H:%M:%S",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
)
_HOPEFUL = {
    "int64": re.compile(r"\s*-?(0[xX][0-9a-fA-F]+|[0-9]+)\s*"),
    "float64": re.compile(r"\s*[-+]?(\d|\.\d|inf|nan).*", re.IGNORECASE | re.DOTALL),
    "datetime": re.compile(r"\d{4}-\d.*", re.DOTALL),
    "datetime_utc": re.compile(r"\d{4}-\d.*", re.DOTALL),
}


def any_case(word: str) -> list[str]:
    """All ways to write ``word`` in capitals and small letters."""
    return ["".join(letters) for letters in product(*((c.lower(), c.upper()) for c in word))]


def arrow_type(type_name: str) -> pa.DataType:
    """How a column of this type is parsed (text as pandas keeps it, so that it need not be copied)."""
    import pyarrow as pa

    fixed = {
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "object_bool": pa.bool_(),
        "datetime": pa.timestamp("ns"),
        "datetime_utc": pa.timestamp("ns", "UTC"),
    }
    return fixed.get(type_name, pa.large_string())


def convert_options(names: list[str], types: list[Any], *, empty_as_string: bool) -> Any:
    """Options of the fast parser for columns ``names`` of Arrow ``types``."""
    from pyarrow import csv

    return csv.ConvertOptions(
        column_types=dict(zip(names, types)),
        null_values=[""],
        true_values=any_case("true"),
        false_values=any_case("false"),
        strings_can_be_null=not empty_as_string,
    )


def type_of_kind(kind: Optional[str], *, complete: bool, nulls: bool) -> str:
    """The type of a column whose cells are of ``kind`` (None: no cell had a value)."""
    if kind == "int":
        return "int64" if complete and not nulls else "float64"
    if kind == "bool":
        return "bool" if complete and not nulls else "object_bool"
    if kind == "float":
        return "float64"
    return kind or "str"


def finished(column: pa.ChunkedArray, type_name: str) -> pa.ChunkedArray:
    """A parsed column as scripts get it: date-times without a zone (in UTC), month-first dates parsed.

    Raises:
        pyarrow.ArrowInvalid: a cell is no date of the column's format.
    """
    import pyarrow as pa

    if type_name == "datetime_utc":
        return column.cast(pa.timestamp("ns"))
    if type_name.startswith("datetime:"):
        return pa.chunked_array([month_first(column, type_name.partition(":")[2])])
    return column


def month_first(column: pa.ChunkedArray, format: str) -> pa.Array:
    """Text as date-times of ``format``; raises ArrowInvalid where a cell does not fit."""
    import pandas as pd
    import pyarrow as pa

    text = pd.Series(column.to_pylist(), dtype=object)
    parsed = pd.to_datetime(text.where(text != "", None), format=format, errors="coerce")
    wrong = parsed.isna() & text.notna() & (text != "")
    if wrong.any():
        raise pa.ArrowInvalid(f"invalid value '{text[wrong].iloc[0]}'")
    try:
        return pa.array(parsed, from_pandas=True).cast(pa.timestamp("ns"))
    except pd.errors.OutOfBoundsDatetime as error:
        raise pa.ArrowInvalid(str(error)) from None


def convert_column(column: pa.ChunkedArray, type_name: str) -> tuple[pa.ChunkedArray, list[int]]:
    """Text as a column of ``type_name``, and the positions of the cells that do not parse (null in the result)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if type_name == "str":
        return column, []
    whole = _try_convert(column, type_name)
    if whole is not None:
        return whole, []
    bad = _bad_values(column, type_name)
    is_bad = pc.is_in(column, value_set=pa.array(bad, pa.large_string()))
    cleaned = pc.if_else(is_bad, pa.scalar(None, pa.large_string()), column)
    converted = _try_convert(cleaned, type_name)
    if converted is None:  # pragma: no cover - the bad values were found with the very same parser
        raise AssertionError(f"a column of type {type_name} has a cell that parses alone and not in company")
    return converted, pc.indices_nonzero(is_bad).to_pylist()


def _try_convert(column: pa.ChunkedArray, type_name: str) -> Optional[pa.ChunkedArray]:
    """The column parsed by the same parser that reads whole blocks; None where it refuses."""
    import pyarrow as pa
    from pyarrow import csv

    if len(column) == 0:
        return pa.chunked_array([], type=finished(pa.chunked_array([], type=arrow_type(type_name)), type_name).type)
    lines = ['""' if not cell else '"' + cell.replace('"', '""') + '"' for cell in column.to_pylist()]
    data = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(use_threads=False, column_names=["f0"], block_size=len(data) + 1),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=convert_options(["f0"], [arrow_type(type_name)], empty_as_string=False),
        )
        return finished(table.column(0), type_name)
    except pa.ArrowInvalid:
        return None


def _bad_values(column: pa.ChunkedArray, type_name: str) -> list[str]:
    """The distinct values of ``column`` that do not parse; halved until they are found, after the hopeless ones are set aside."""
    import pyarrow as pa

    hopeful = _HOPEFUL.get(type_name)
    bad: list[str] = []
    stack: list[list[str]] = []
    candidates = []
    for value in column.unique().to_pylist():
        if not value:
            continue
        if hopeful is not None and not hopeful.fullmatch(value):
            bad.append(value)
        else:
            candidates.append(value)
    stack.append(candidates)
    while stack:
        values = stack.pop()
        if not values or _try_convert(pa.chunked_array([pa.array(values, pa.large_string())]), type_name) is not None:
            continue
        if len(values) == 1:
            bad.append(values[0])
            continue
        middle = len(values) // 2
        stack += [values[:middle], values[middle:]]
    return bad
