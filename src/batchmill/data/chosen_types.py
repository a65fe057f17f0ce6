"""Columns whose types the user chose (Azure ML: ``set_column_types``): values that do not fit become null and are counted.

A choice is a mapping as a definition holds it: ``{"type": "string" | "long" | "float" | "bool" | "datetime" | "stream"}``, with
``decimal_mark`` for floats and ``formats`` (a list, tried in order) for date-times. Whole numbers and truth values keep a plain type
only where all values of the input were seen and none is null (as for inferred types), else they are ``float64`` and ``object``.

Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence

from batchmill.data.column_types import MONTH_FIRST
from batchmill.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Choice = Mapping[str, Any]

WITHOUT_NULLS = {"long": "int64", "bool": "bool"}
WITH_NULLS = {"long": "float64", "bool": "object_bool", "string": "str", "stream": "str", "float": "float64", "datetime": "datetime"}
_WHOLE = r"^[-+]?[0-9]+$"
_DECIMAL = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|^[-+]?(?i:inf|infinity|nan)$"
_YEAR_FIRST = r"^\d{4}-\d"
_TRUE, _FALSE = ("true", "1"), ("false", "0")


def check_choices(choices: Mapping[str, Choice]) -> None:
    """Refuse what is no choice.

    Raises:
        InputError: a column has an unknown type.
    """
    for column, choice in choices.items():
        if not isinstance(choice, Mapping) or choice.get("type") not in WITH_NULLS:
            raise InputError(f"Column {column!r} is to have the type {choice!r}.", cure=f"Known are {', '.join(WITH_NULLS)}.")


def chosen_type(choice: Choice, *, never_null: bool) -> str:
    """The column type of a choice, in the words of `data.column_types`."""
    kind = choice["type"]
    return WITHOUT_NULLS.get(kind, WITH_NULLS[kind]) if never_null else WITH_NULLS[kind]


def convert_chosen(column: pa.ChunkedArray, choice: Choice, type_name: str, read_as: str) -> tuple[pa.ChunkedArray, int]:
    """A column as chosen, and how many values became null on the way; ``read_as`` is the column type that it was read as."""
    converted = _CONVERSIONS[choice["type"]](_decoded(column, read_as), choice)
    lost = int(converted.null_count - column.null_count)
    import pyarrow as pa

    if type_name == "float64" and pa.types.is_integer(converted.type):
        converted = converted.cast(pa.float64(), safe=False)
    return converted, lost


def _decoded(column: pa.ChunkedArray, read_as: str) -> pa.ChunkedArray:
    """Values of several types, which travel as JSON, as texts."""
    if read_as != "json":
        return column
    import pyarrow as pa

    texts = []
    for cell in column.to_pylist():
        value = None if cell is None else json.loads(cell)
        texts.append(value if value is None or isinstance(value, str) else json.dumps(value))
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def _texts(column: pa.ChunkedArray) -> Optional[pa.ChunkedArray]:
    """The column where it holds texts, as large strings."""
    import pyarrow as pa

    if pa.types.is_large_string(column.type):
        return column
    if pa.types.is_string(column.type):
        return column.cast(pa.large_string())
    return pa.chunked_array([pa.nulls(len(column), pa.large_string())]) if pa.types.is_null(column.type) else None


def _nothing(column: pa.ChunkedArray, type: Any) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([pa.nulls(len(column), type)])


def _where(keep: Any, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(keep, column, pa.scalar(None, column.type))


def _to_string(column: pa.ChunkedArray, choice: Choice) -> pa.ChunkedArray:
    import pyarrow as pa

    texts = _texts(column)
    if texts is not None:
        return texts
    if pa.types.is_boolean(column.type) or pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return pa.chunked_array([pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.large_string())])
    return column.cast(pa.large_string())


def _to_long(column: pa.ChunkedArray, choice: Choice) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _texts(column)
    if texts is not None:
        texts = pc.utf8_trim_whitespace(texts)
        texts = _where(pc.match_substring_regex(texts, _WHOLE), texts)
        texts = pc.replace_substring_regex(texts, r"^\+", "")
        return _cast_each(texts, pa.int64())
    if pa.types.is_floating(column.type):
        whole = pc.and_(pc.equal(pc.round(column), column), pc.less(pc.abs(column), 2.0**63))
        return _where(whole, column).cast(pa.int64(), safe=False)
    return _cast_each(column, pa.int64())


def _to_float(column: pa.ChunkedArray, choice: Choice) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _texts(column)
    if texts is None:
        return _cast_each(column, pa.float64())
    texts = pc.utf8_trim_whitespace(texts)
    mark = choice.get("decimal_mark") or "."
    if mark != ".":
        texts = pc.replace_substring(pc.replace_substring(texts, ".", "?"), mark, ".")
    texts = _where(pc.match_substring_regex(texts, _DECIMAL), texts)
    return _cast_each(pc.replace_substring_regex(texts, r"^\+", ""), pa.float64())


def _cast_each(column: pa.ChunkedArray, type: Any) -> pa.ChunkedArray:
    """Cast, with null for the values that the type cannot hold."""
    import pyarrow as pa

    try:
        return column.cast(type)
    except pa.ArrowNotImplementedError:
        return _nothing(column, type)
    except pa.ArrowInvalid:
        pass
    values = []
    for scalar in column:
        try:
            values.append(scalar.cast(type).as_py())
        except pa.ArrowInvalid:
            values.append(None)
    return pa.chunked_array([pa.array(values, type)])


def _to_bool(column: pa.ChunkedArray, choice: Choice) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _texts(column)
    if texts is not None:
        texts = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
        true, false = (pc.is_in(texts, value_set=pa.array(words, pa.large_string())) for words in (_TRUE, _FALSE))
    elif pa.types.is_boolean(column.type):
        return column
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        true, false = pc.fill_null(pc.equal(column, 1), False), pc.fill_null(pc.equal(column, 0), False)
    else:
        return _nothing(column, pa.bool_())
    return _where(pc.or_(true, false), true)


def _to_datetime(column: pa.ChunkedArray, choice: Choice) -> pa.ChunkedArray:
    import pyarrow as pa

    texts = _texts(column)
    if texts is None:
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            if getattr(column.type, "tz", None):
                column = column.cast(pa.timestamp(column.type.unit))
            return _cast_each(column, pa.timestamp("ns"))
        return _nothing(column, pa.timestamp("ns"))
    encoded = texts.combine_chunks().dictionary_encode() if len(texts) else pa.array([], pa.large_string()).dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    parsed = _parsed(encoded.dictionary.to_pylist(), choice.get("formats") or ())
    moments = pa.array(parsed, from_pandas=True).cast(pa.timestamp("ns"))
    return pa.chunked_array([moments.take(encoded.indices)])


def _parsed(values: Sequence[str], formats: Sequence[str]) -> Any:
    """Distinct texts as date-times: by the first format that fits each, or, without formats, ISO and then month before day."""
    import pandas as pd

    texts = pd.Series([value.strip() for value in values], dtype=object)
    result = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[ns]")
    for form in formats or ("ISO8601", *MONTH_FIRST):
        missing = result.isna()
        if form == "ISO8601":
            missing &= texts.str.match(_YEAR_FIRST)
        if missing.any():
            found = pd.to_datetime(texts[missing], errors="coerce", utc=True, **_pandas_format(form))
            found = found.dt.tz_localize(None)
            reached = (found > pd.Timestamp.min.ceil("D")) & (found < pd.Timestamp.max.floor("D"))
            result[missing] = found.where(reached).astype("datetime64[ns]")
    return result


def _pandas_format(form: str) -> dict[str, Any]:
    import pandas as pd

    iso_by_itself = int(pd.__version__.partition(".")[0]) < 2
    return {} if form == "ISO8601" and iso_by_itself else {"format": form}


_CONVERSIONS: Mapping[str, Callable[[Any, Choice], Any]] = {
    "string": _to_string,
    "stream": _to_string,
    "long": _to_long,
    "float": _to_float,
    "bool": _to_bool,
    "datetime": _to_datetime,
}
