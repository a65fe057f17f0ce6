"""What ``run()`` returned, turned into the bytes of the append_row file.

Azure ML rules (specification C2-C4): a list or tuple gives one line per element, ``str(element)``; a DataFrame gives ``to_csv`` with
one space between columns, without header and index. Accepted beyond Azure: ``range``, 1-D numpy arrays, pandas Series, pyarrow Tables.
"""

from __future__ import annotations

import sys
from typing import Any, Optional


class WrongResultType(TypeError):
    """run() should return a list or a pandas DataFrame; the message names what it returned."""

    def __init__(self, result: object) -> None:
        super().__init__(
            "run() should return a list or a pandas DataFrame with one row per processed item. "
            f"The actual type of output is {type(result).__name__}."
        )


class Rows:
    """The rows of one mini-batch: their bytes, their number, and which of them could not be written as UTF-8."""

    __slots__ = ("count", "data", "header", "unencodable")

    def __init__(self, data: bytes, count: int, header: Optional[str] = None, unencodable: Optional[list[tuple[int, str]]] = None) -> None:
        self.data = data
        self.count = count
        self.header = header
        self.unencodable = unencodable or []


def _is_instance(result: object, module: str, name: str) -> bool:
    """isinstance() that never imports a library the script itself has not imported."""
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None)
    return kind is not None and isinstance(result, kind)


def count_rows(result: Any) -> int:
    """The number of rows of a result.

    Raises:
        WrongResultType: the result is nothing Batchmill can count.
    """
    if isinstance(result, (list, tuple, range)) or _is_instance(result, "pandas", "DataFrame") or _is_instance(result, "pandas", "Series"):
        return len(result)
    if _is_instance(result, "pyarrow", "Table"):
        return int(result.num_rows)
    if _is_instance(result, "numpy", "ndarray") and result.ndim == 1:
        return len(result)
    raise WrongResultType(result)


def to_rows(result: Any, *, with_header: bool = False) -> Rows:
    """The rows of a result, ready to be appended.

    Raises:
        WrongResultType: the result is of no accepted type.
    """
    if type(result) is list:
        return _line_rows(list(map(str, result)))
    count = count_rows(result)
    if _is_instance(result, "pyarrow", "Table"):
        result = result.to_pandas()
    if _is_instance(result, "pandas", "DataFrame"):
        return _frame_rows(result, count, with_header)
    return _line_rows([str(row) for row in result])


def _line_rows(lines: list[str]) -> Rows:
    if not lines:
        return Rows(b"", 0)
    try:
        return Rows(("\n".join(lines) + "\n").encode("utf-8"), len(lines))
    except UnicodeEncodeError:
        pass
    kept, refused = [], []
    for position, line in enumerate(lines):
        try:
            kept.append(line.encode("utf-8"))
        except UnicodeEncodeError as error:
            refused.append((position, f"Row {position} of the result cannot be written as UTF-8: {error.reason}."))
    data = b"\n".join(kept) + b"\n" if kept else b""
    return Rows(data, len(lines), None, refused)


def _frame_rows(frame: Any, count: int, with_header: bool) -> Rows:
    header = frame.head(0).to_csv(sep=" ", index=False, lineterminator="\n") if with_header else None
    if count == 0:
        return Rows(b"", 0, header)
    text = _frame_text(frame)
    try:
        return Rows(text.encode("utf-8"), count, header)
    except UnicodeEncodeError:
        pass
    kept, refused = [], []
    for position in range(count):
        try:
            kept.append(_frame_text(frame.iloc[position : position + 1]).encode("utf-8"))
        except UnicodeEncodeError as error:
            refused.append((position, f"Row {position} of the result cannot be written as UTF-8: {error.reason}."))
    return Rows(b"".join(kept), count, header, refused)


def _frame_text(frame: Any) -> str:
    return str(frame.to_csv(sep=" ", header=False, index=False, lineterminator="\n"))
