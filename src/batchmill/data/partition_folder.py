"""Folders that stand for the values of key columns: what ``partition_by`` writes, one folder per key, and reads again.

A text is its own folder name; characters that a path cannot hold, or that mean something in one, stand as ``%`` and two hexadecimal
digits. Moments are ``yyyyMMddHHmmss`` (Azure ML), with ``-`` and nine digits behind where there is a fraction of a second.

A *partitioning* is what a definition keeps of it: ``{"keys": [NAME, ...], "types": {NAME: column type}, "schema": Arrow schema of the
keys, IPC format in base64}``. Read by worker processes: standard library only at import, Python 3.9.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Mapping, Sequence
from urllib.parse import unquote

from batchmill.errors import PartitionFormatError, ReadError

if TYPE_CHECKING:
    import pyarrow as pa

NULL = "__HIVE_DEFAULT_PARTITION__"
EMPTY = "%"
LONGEST_NAME = 255
_UNSAFE = re.compile(r"[^\w\-., =+@()!~'&;$]|^[.]|^__HIVE")
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MOMENT = re.compile(r"(\d{14})(?:-(\d{9}))?")


def partitioning(keys: Sequence[str], types: Mapping[str, str], schema: pa.Schema) -> dict[str, Any]:
    """What a definition keeps; ``schema`` has the Arrow types of the keys.

    Raises:
        PartitionFormatError: a key is of a type that no folder name can stand for.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    fields = [schema.field(key) for key in keys]
    for field in fields:
        tests = (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_timestamp, kinds.is_date32, kinds.is_decimal)
        if types[field.name] == "json" or not (any(test(field.type) for test in tests) or _is_text(field.type)):
            raise PartitionFormatError(f"Column {field.name!r} is of the type {field.type}: no folder can be named after its values.")
    text = base64.b64encode(pa.schema(fields).remove_metadata().serialize().to_pybytes()).decode("ascii")
    return {"keys": list(keys), "types": {key: types[key] for key in keys}, "schema": text}


def _is_text(type: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(type) or kinds.is_large_string(type))


def folder_name(value: pa.Scalar) -> str:
    """The folder of a key value.

    Raises:
        PartitionFormatError: the name would be longer than file systems take.
    """
    name = _name(value)
    if len(name.encode("utf-8")) > LONGEST_NAME:
        raise PartitionFormatError(f"The key value {name[:60]!r}... is too long for the name of a folder.")
    return name


def _name(value: pa.Scalar) -> str:
    import pyarrow.types as kinds

    if not value.is_valid:
        return NULL
    if _is_text(value.type):
        return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8")), value.as_py()) or EMPTY
    if kinds.is_timestamp(value.type):
        seconds, rest = divmod(value.value * _NANOSECONDS[value.type.unit], 10**9)
        shown = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y%m%d%H%M%S").rjust(14, "0")
        return f"{shown}-{rest:09d}" if rest else shown
    if kinds.is_date32(value.type):
        return str(value.as_py().strftime("%Y%m%d").rjust(8, "0")) + "000000"
    return repr(value.as_py()) if kinds.is_floating(value.type) else str(value.as_py())


def folder_value(name: str, type: pa.DataType) -> Any:
    """The value (as ``pyarrow.scalar`` takes it) that a folder stands for; the opposite of `folder_name`.

    Raises:
        ValueError: the name stands for no value of that type.
    """
    import pyarrow.types as kinds

    if name == NULL:
        return None
    if _is_text(type):
        return "" if name == EMPTY else unquote(name, errors="strict")
    if kinds.is_timestamp(type) or kinds.is_date32(type):
        found = _MOMENT.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r} is no moment")
        moment = datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
        if kinds.is_date32(type):
            return moment.date()
        return (int(moment.timestamp()) * 10**9 + int(found[2] or 0)) // _NANOSECONDS[type.unit]
    if kinds.is_boolean(type):
        return {"True": True, "False": False}[name]
    return int(name) if kinds.is_integer(type) else Decimal(name) if kinds.is_decimal(type) else float(name)


def folder_columns(partitioned: Mapping[str, Any]) -> list[dict[str, str]]:
    """Names and types of the key columns."""
    return [{"name": key, "type": partitioned["types"][key]} for key in partitioned["keys"]]


def folder_values(partitioned: Mapping[str, Any], source: str) -> list[tuple[str, Any, Any]]:
    """Name, Arrow type and value of each key of the file ``source``, whose last folders are named after them.

    Raises:
        ReadError: they are not.
    """
    schema = _schema(partitioned["schema"])
    folders = source.split("/")[-len(schema) - 1 : -1]
    if len(folders) == len(schema):
        try:
            return [(field.name, field.type, folder_value(name, field.type)) for field, name in zip(schema, folders)]
        except (ValueError, KeyError, ArithmeticError):
            pass
    raise ReadError(f"{source} does not lie in folders that are named after the keys {', '.join(schema.names)}.")


@lru_cache(maxsize=8)
def _schema(text: str) -> pa.Schema:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
