from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.cli.log_files import _copy_span
from batchmill.cli.pace import Pace
from batchmill.cli.terminal import number, short_path, show_error, table
from batchmill.cli.watching import Lines, numbers, opening
from batchmill.records import Counts, ItemCounts, MiniBatchCounts


def test_columns_are_aligned_whatever_their_colour() -> None:
    rows = [["a", "1", "x"], ["\x1b[31mlong\x1b[0m", "22", ""]]
    assert table(rows, right=(1,)) == ["a      1  x", "\x1b[31mlong\x1b[0m  22"]
    assert table([["a", "b"]], left=3, gap="|") == ["a  |b"]


def test_numbers_people_can_read() -> None:
    assert (number(1234567), number(0), number(None)) == ("1,234,567", "0", "?")


def test_paths_below_are_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "out" / "rows.txt") == "out/rows.txt"
    assert short_path("/elsewhere/rows.txt") == "/elsewhere/rows.txt"
    assert short_path("s3://bucket/rows.txt") == "s3://bucket/rows.txt"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("one\ntwo\n")
    assert capsys.readouterr() == ("", "Error: one two\n")


TABLE = Counts(ItemCounts(None, 40, 2, None), MiniBatchCounts(10, 3, 1, 6, 2))


def test_items_may_be_unknown() -> None:
    assert opening("Run x", TABLE) == "Run x: 10 mini-batches, 4 done before"
    assert numbers(TABLE, Pace()) == ["4/10 mini-batches", "42 items", "2 failed", "2 retried"]
    one = Counts(ItemCounts(1, 0, 0, 1), MiniBatchCounts(1, 0, 0, 1, 0))
    assert opening("Run x", one) == "Run x: 1 item in 1 mini-batch"


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    seldom = Lines("Run x", every=1e9)
    seldom.planning(5)
    seldom.started(TABLE)
    for _ in range(100):
        seldom.update(TABLE)
    assert capsys.readouterr().err.splitlines() == [opening("Run x", TABLE)]
    often = Lines("Run x", every=0)
    often.planning(5)
    often.update(TABLE)
    assert capsys.readouterr().err.splitlines() == ["Run x: 5 items listed", "4/10 mini-batches, 42 items, 2 failed, 2 retried"]


def test_a_span_of_a_log_that_was_cut(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"0123456789")
    _copy_span(log, 2, 5)
    _copy_span(log, 8, 20)
    assert capsysbinary.readouterr().out == b"23489"
