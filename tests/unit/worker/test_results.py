"""What run() returned becomes bytes (specification C2-C4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchmill.worker.results import WrongResultType, count_rows, to_rows


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ([], b""),
        ((), b""),
        (range(3), b"0\n1\n2\n"),
        (["a", None, 1.0, b"x", [1, "a"], {"k": 1}], b"a\nNone\n1.0\nb'x'\n[1, 'a']\n{'k': 1}\n"),
        (("é", "a\nb"), "é\na\nb\n".encode()),
        (np.array([1, 2]), b"1\n2\n"),
        (pd.Series(["a", "b"], index=[5, 6]), b"a\nb\n"),
        (pd.DataFrame({"a": [1], "b": ["x y"]}), b'1 "x y"\n'),
        (pd.DataFrame({"a": []}), b""),
        (pa.table({"a": [1, 2]}), b"1\n2\n"),
    ],
)
def test_rows(result: Any, data: bytes) -> None:
    rows = to_rows(result)
    assert rows.data == data
    assert rows.count == count_rows(result) == len(result)
    assert rows.unencodable == []


@pytest.mark.parametrize("result", [None, "text", b"bytes", 1, {}, set(), iter([]), np.zeros((2, 2)), np.float64(1), object])
def test_what_cannot_be_counted_is_refused_by_name(result: Any) -> None:
    for function in (count_rows, to_rows):
        with pytest.raises(WrongResultType, match=f"The actual type of output is {type(result).__name__}"):
            function(result)


def test_rows_that_are_no_utf8_are_left_out() -> None:
    rows = to_rows(["a", "\udcff", "b"])
    assert (rows.data, rows.count, [position for position, _ in rows.unencodable]) == (b"a\nb\n", 3, [1])
    rows = to_rows(pd.DataFrame({"x": pd.Series(["\ud800", "b"], dtype=object)}))
    assert (rows.data, rows.count, [position for position, _ in rows.unencodable]) == (b"b\n", 2, [0])


def test_the_header_of_a_frame() -> None:
    assert to_rows(pd.DataFrame({"a b": [1], "c": [2]}), with_header=True).header == '"a b" c\n'
    assert to_rows([1], with_header=True).header is None
    assert to_rows(pd.DataFrame({"a": [1]})).header is None
