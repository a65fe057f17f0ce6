from __future__ import annotations

import errno
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchmill.storage import files


def test_atomic_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.atomic_write(path, "old")
    files.atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]


def test_threads_write_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    texts = [f"{number:02d}" * 10_000 for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: files.atomic_write(path, text), texts))
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.atomic_write(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_local_files_open_by_path_and_by_url(tmp_path: Path) -> None:
    path = tmp_path / "a b"
    path.write_bytes(b"0123456789")
    for name in (path, str(path), f"file://{tmp_path}/a%20b"):
        with files.open_binary(name) as file:
            file.seek(-3, os.SEEK_END)
            assert file.read() == b"789"


def chained(cause: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except BaseException as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (chained(OSError(errno.ENOSPC, "x")), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (OSError(errno.EACCES, "x"), False),
        (ValueError("disk is full"), False),
        (chained(KeyError("x")), False),
    ],
)
def test_a_full_disk_is_recognized(error: BaseException, full: bool, tmp_path: Path) -> None:
    assert files.disk_is_full(error, tmp_path) is full


def test_the_disk_itself_is_asked_where_the_number_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = os.statvfs_result((4096, 4096, 100, 0, 0, 100, 50, 50, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _folder: state)
    assert files.disk_is_full(sqlite3.OperationalError("disk I/O error"), tmp_path)
    assert not files.disk_is_full(ValueError("x"), tmp_path)
