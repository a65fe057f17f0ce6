"""Whatever the text and the cut: the slices together are the whole, no row twice, each row where its first byte says."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.data import type_pass
from batchmill.data.delimited_text import is_clean, line_rows, multi_line_rows, repair, rows_of
from tests.table_inputs import PlannedTable, table

CODECS = {"utf8": "utf-8", "utf8bom": "utf-8-sig", "latin1": "latin-1", "windows1252": "cp1252", "utf16": "utf-16", "utf32": "utf-32"}
cells = st.text(alphabet="ab1. -\"'é,;\t", max_size=6) | st.sampled_from(
    ["1", "2.5", "true", "2019-02-03", "", '"x"', '"a,b"', '"a""b"', "00501"]
)
ends = st.sampled_from(["\n", "\r\n"])
lines = st.tuples(st.lists(cells, min_size=1, max_size=4).map(",".join), ends).map("".join)
texts = st.tuples(st.lists(lines, max_size=12).map("".join), st.sampled_from(["", "1,2", "\r", '"open'])).map("".join)
json_cells = (
    st.none()
    | st.integers(-5, 2**63)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=2)
)


def _plan(text: bytes, size: Any, **options: Any) -> PlannedTable:
    with tempfile.TemporaryDirectory() as folder:
        name = options.pop("name", "t.csv")
        planned = table(Path(folder), text, size, name=name, **options)
        planned.kept = [(piece, piece.frame(), [piece.describe(row) for row in range(piece.rows)]) for piece in planned.slices()]  # type: ignore[attr-defined]
        return planned


def _content(planned: Any) -> tuple[list[list[str]], list[tuple[str, str]], list[str]]:
    rows, failed, places, types = [], [], [], set()
    for piece, frame, described in planned.kept:
        types.add(tuple(map(str, frame.dtypes)))
        assert list(frame.index) == list(range(len(frame)))
        assert len(frame) == piece.rows - len(piece.failed)
        rows += [[repr(value) for value in row] for row in frame.astype(object).values.tolist()]
        failed += [(kind, message) for _, kind, message in piece.failed]
        places += [place.split("/")[-1] for place in described]
    assert len(types) <= 1, types
    return rows, [(kind, message.split("/")[-1]) for kind, message in failed], places


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.integers(1, 80), st.sampled_from(sorted(CODECS)), st.sampled_from(["all_files_have_same_headers", "no_headers"]))
def test_slices_of_text_are_the_whole(text: str, size: int, encoding: str, header: str) -> None:
    data = text.encode(CODECS[encoding])
    whole = _content(_plan(data, 1 << 30, encoding=encoding, header=header))
    assert _content(_plan(data, size, encoding=encoding, header=header)) == whole
    by_rows = _plan(data, ("rows", size), encoding=encoding, header=header)
    assert _content(by_rows) == whole
    assert [piece.rows for piece, *_ in by_rows.kept] == [rows for *_, rows in by_rows.cuts]  # type: ignore[attr-defined]
    assert all(piece.rows == size for piece, *_ in by_rows.kept[:-1])  # type: ignore[attr-defined]


@settings(max_examples=80, deadline=None)
@given(texts, st.integers(1, 40))
def test_each_line_lies_in_the_block_of_its_first_byte(text: str, size: int) -> None:
    data = text.encode()
    planned = _plan(data, size, header="no_headers")
    expected = [0] * len(planned.cuts)
    offset = 0
    for line in data.split(b"\n"):
        if line not in (b"", b"\r"):
            expected[max(0, (offset - 1) // size)] += 1
        offset += len(line) + 1
    assert [piece.rows for piece, *_ in planned.kept] == expected  # type: ignore[attr-defined]


@settings(max_examples=80, deadline=None)
@given(texts, st.integers(1, 5))
def test_multi_line_rows_cut_by_number(text: str, rows: int) -> None:
    data = text.encode()
    whole = _content(_plan(data, None, header="no_headers", support_multi_line=True))
    cut = _plan(data, ("rows", rows), header="no_headers", support_multi_line=True)
    assert _content(cut) == whole
    assert [piece.rows for piece, *_ in cut.kept] == [count for *_, count in cut.cuts]  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), json_cells, max_size=3) | st.sampled_from(["", " ", "{", "5", '{"a":1} {"a":2}']),
        max_size=12,
    ),
    st.integers(1, 60),
)
def test_slices_of_json_lines_are_the_whole(values: list[Any], size: int) -> None:
    import json

    data = "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values).encode()
    whole = _content(_plan(data, 1 << 30, name="t.jsonl"))
    assert _content(_plan(data, size, name="t.jsonl")) == whole
    assert _content(_plan(data, ("rows", size), name="t.jsonl")) == whole
    assert len(whole[2]) == sum(bool(line.strip()) for line in data.split(b"\n"))


@given(texts, st.booleans())
def test_repaired_text_is_clean_and_says_the_same(text: str, multi_line: bool) -> None:
    data = text.encode()
    fixed = repair(data, b",", None, multi_line=multi_line)
    before = [fields + [b""] * (fixed.width - len(fields)) for _, fields in rows_of(data, b",", multi_line=multi_line)]
    again = list(multi_line_rows(fixed.data, b","))
    assert [fields for _, fields in again] == before
    assert is_clean(fixed.data, 0, len(fixed.data), b",", multi_line=True) or b"\r" in data


@given(texts)
def test_clean_text_reads_the_same_either_way(text: str) -> None:
    data = text.encode()
    if is_clean(data, 0, len(data), b",", multi_line=False):
        assert [fields for _, fields in line_rows(data, b",")] == [fields for _, fields in multi_line_rows(data, b",")]


@pytest.mark.parametrize("encoding", sorted(CODECS))
def test_every_encoding_reads_the_same(tmp_path: Path, encoding: str) -> None:
    text = "näme,n\r\nÄ,1\nb\n,3\n"
    frame = table(tmp_path, text.encode(CODECS[encoding]), 3, encoding=encoding).frame()
    assert frame.columns.tolist() == ["näme", "n"]
    assert frame["näme"].fillna("-").tolist() == ["Ä", "b", "-"]
    assert frame["n"].fillna(0).tolist() == [1.0, 0.0, 3.0]


def test_whole_numbers_beyond_the_exact_range_become_the_nearest_float(tmp_path: Path) -> None:
    text = '{}\n""\n{"a": 9007199254740993}\n{"a": -1.5}\n'
    frame = table(tmp_path, text, 1000, "a.jsonl").frame()
    assert frame.a.tolist()[1:] == [9007199254740992.0, -1.5]


@given(
    st.lists(st.text(alphabet="0123x-. ab\t:", max_size=6), min_size=1, max_size=12),
    st.sampled_from([",", ";", "\x1f", " ", "-", "\t"]),
    st.integers(1, 9),
)
def test_no_leading_zero_is_overlooked(cells: list[str], separator: str, window: int) -> None:
    line = separator.join(cells) + "\n"
    fields = [field for row in (line * 2).splitlines() for field in row.split(separator)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type_pass, "_WINDOW", window)
        found = type_pass._may_have_leading_zeros((line * 2).encode(), separator.encode())
    wanted = any(re.match(r"[ \t]*-?0[0-9xX]", field) for field in fields)
    assert found or not wanted
    if separator != "-" and not wanted:  # where a minus separates, one more look costs little
        assert not found
