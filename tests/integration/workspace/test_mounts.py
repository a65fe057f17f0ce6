"""Mounts and downloads of remote datasets: fetched once, bounded, and readable for as long as they are mounted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import DiskFullError, ItemChangedError, SettingError
from batchmill.storage import fetch
from batchmill.workspace import mount_cache
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.file_dataset import FileDataset
from batchmill.workspace.mount import MountContext
from batchmill.workspace.workspace import Workspace
from tests.integration.conftest import Bucket

SIZE = 100_000
COST = 102_400
"""What a file of SIZE bytes takes, in blocks."""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Workspace.create("default", show_output=False)


def filled(bucket: Bucket, folder: str, count: int = 4) -> FileDataset:
    """A dataset of some files of SIZE bytes, each of its own letter."""
    for n in range(count):
        bucket.put(f"{folder}/deep/{n}.bin", bytes([65 + n]) * SIZE)
    return Dataset.File.from_files(f"{bucket.url}/{folder}")


def bounded(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.setenv("BATCHMILL_MOUNT_CACHE", str(files * COST))


def cached(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "home" / "cache" / "datasets" / "files").rglob("*") if path.is_file())


def pins(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "cache" / "datasets" / "mounts").iterdir())


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that were really asked for."""
    names: list[str] = []
    original = fetch.Source.fetch

    def counting(self: fetch.Source, item: Any) -> None:
        names.append(item.name)
        original(self, item)

    monkeypatch.setattr(fetch.Source, "fetch", counting)
    return names


def test_remote_files_are_there_while_the_mount_lasts(ws: Workspace, bucket: Bucket, tmp_path: Path, fetched: list[str]) -> None:
    dataset = filled(bucket, "in")
    with dataset.mount() as mounted:
        point = Path(mounted.mount_point)
        assert sorted(path.name for path in (point / "deep").iterdir()) == ["0.bin", "1.bin", "2.bin", "3.bin"]
        assert (point / "deep" / "2.bin").read_bytes() == b"C" * SIZE
        assert (point / "deep" / "2.bin").resolve().suffix == ".bin"
        assert (point / "deep" / "2.bin").stat().st_mode & 0o222 == 0
        assert len(pins(tmp_path)) == 2  # the folder and its lock
    assert not point.exists()
    assert pins(tmp_path) == []
    assert len(fetched) == 4
    with dataset.skip(1).mount() as mounted:
        assert Path(mounted.mount_point, "deep/3.bin").read_bytes() == b"D" * SIZE
    assert len(fetched) == 4  # the second mount found them in the cache
    bucket.put("in/deep/3.bin", b"new")
    with dataset.mount() as mounted:
        assert Path(mounted.mount_point, "deep/3.bin").read_bytes() == b"new"
    assert fetched[4:] == ["deep/3.bin"]


def test_the_cache_is_bounded_and_forgets_what_was_not_used_for_longest(
    ws: Workspace, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    bounded(monkeypatch, 5)
    first, second = filled(s3, "first", 3), filled(s3, "second", 2)
    for dataset in (first, second, first.take(1)):
        with dataset.mount():
            pass
    assert len(cached(tmp_path)) == 5
    with filled(s3, "third", 2).mount():
        assert len(cached(tmp_path)) == 5
    fetched.clear()
    with first.take(1).mount(), second.mount():
        assert fetched == []
    with first.mount():
        assert fetched == ["deep/1.bin", "deep/2.bin"]
    assert sum(path.stat().st_size for path in cached(tmp_path)) <= 5 * SIZE


def test_a_file_that_is_forgotten_stays_readable_in_the_mount(
    ws: Workspace, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded(monkeypatch, 3)
    with filled(s3, "first", 3).mount() as mounted:
        path = Path(mounted.mount_point, "deep/1.bin")
        with path.open("rb") as opened:
            assert opened.read(10) == b"B" * 10
            for one in cached(tmp_path):
                one.unlink()  # all that a cache in need of room could do
            with filled(s3, "second", 3).mount() as other:
                assert Path(other.mount_point, "deep/0.bin").read_bytes() == b"A" * SIZE
                assert len(cached(tmp_path)) == 3
            assert opened.read() == b"B" * (SIZE - 10)
        assert path.read_bytes() == b"B" * SIZE
        opened = path.open("rb")
    with opened:
        assert opened.read() == b"B" * SIZE  # as of any file that is taken away while it is open


def test_more_than_the_cache_may_hold_is_refused(
    ws: Workspace, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    dataset = filled(s3, "in")
    bounded(monkeypatch, 3)
    with pytest.raises(UserErrorException, match=r"take 400 KB, more than the 300 KB that a mount may bring.*BATCHMILL_MOUNT_CACHE"):
        dataset.mount().start()
    assert fetched == []
    with dataset.take(3).mount() as mounted:
        assert len(list(Path(mounted.mount_point, "deep").iterdir())) == 3
    monkeypatch.setenv("BATCHMILL_MOUNT_CACHE", "a lot")
    with pytest.raises(SettingError, match="must be a size like 500MB"):
        dataset.mount().start()
    monkeypatch.setenv("BATCHMILL_MOUNT_CACHE", "1GB")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(mount_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFullError, match="Make room, or set BATCHMILL_HOME"):
        dataset.mount().start()
    assert pins(tmp_path) == []


def test_a_mount_that_cannot_be_made_leaves_nothing(ws: Workspace, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = filled(bucket, "in")
    original = fetch.Source.fetch

    def vanish(self: fetch.Source, item: Any) -> None:
        if item.name.endswith("1.bin"):
            bucket.delete("in/deep/1.bin")
        original(self, item)

    monkeypatch.setattr(fetch.Source, "fetch", vanish)
    with pytest.raises(ItemChangedError, match=r"in/deep/1\.bin: it vanished"):
        dataset.mount(tmp_path / "point").start()
    assert not (tmp_path / "point").exists()
    assert pins(tmp_path) == []
    with Dataset.File.from_files(f"{bucket.url}/nowhere/*.bin", validate=False).mount(tmp_path / "point") as mounted:
        assert os.listdir(mounted.mount_point) == []


def test_local_and_remote_files_in_one_mount(ws: Workspace, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "here.txt").write_text("here")
    bucket.put("in/there.txt", b"there")
    with Dataset.File.from_files([str(tmp_path / "local"), f"{bucket.url}/in"]).mount() as mounted:
        point = Path(mounted.mount_point)
        assert {path.name: path.read_text() for path in point.iterdir()} == {"here.txt": "here", "there.txt": "there"}
        assert (point / "here.txt").resolve() == tmp_path / "local" / "here.txt"


def test_a_remote_dataset_of_one_file_is_the_file(ws: Workspace, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("in/model.bin", b"weights")
    dataset = Dataset.File.from_files(f"{bucket.url}/in/model.bin")
    with dataset.mount(tmp_path / "model") as mounted:
        assert Path(mounted.mount_point).read_bytes() == b"weights"
    assert not os.path.lexists(tmp_path / "model")
    with dataset.mount() as mounted:
        assert os.path.basename(mounted.mount_point) == "model.bin"


HOLDS = """
import sys
from batchmill.workspace.dataset import Dataset
mounted = Dataset.File.from_files(sys.argv[1]).mount()
mounted.start()
print(mounted.mount_point, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_held_is_let_go(ws: Workspace, s3: Bucket, tmp_path: Path) -> None:
    filled(s3, "in")
    command = [sys.executable, "-c", HOLDS, f"{s3.url}/in"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        point = Path(process.stdout.readline().strip())
        held = pins(tmp_path)
        with Dataset.File.from_files(f"{s3.url}/in").mount():
            assert set(held) < set(pins(tmp_path))  # the living keep what they hold
        assert (point / "deep" / "0.bin").read_bytes() == b"A" * SIZE
        process.send_signal(signal.SIGKILL)
    with Dataset.File.from_files(f"{s3.url}/in").mount():
        assert not set(held) & set(pins(tmp_path))
    assert not point.exists()


def test_mounts_of_many_processes_share_the_cache(ws: Workspace, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounded(monkeypatch, 6)
    for name in ("a", "b", "c"):
        filled(s3, name, 4)
    code = HOLDS.replace(
        "sys.stdin.read()", "import pathlib\nassert len(list(pathlib.Path(mounted.mount_point).rglob('*.bin'))) == 4\n"
    ) + ("assert all(len(one.read_bytes()) == 100000 for one in pathlib.Path(mounted.mount_point).rglob('*.bin'))\nmounted.stop()\n")
    processes = [subprocess.Popen([sys.executable, "-c", code, f"{s3.url}/{name}"], stdout=subprocess.DEVNULL) for name in "abcab"]
    deadline = time.monotonic() + 120
    assert [process.wait(max(0, deadline - time.monotonic())) for process in processes] == [0] * 5
    assert pins(tmp_path) == []
    with filled(s3, "d", 4).mount():
        assert len(cached(tmp_path)) <= 6


def test_downloads_of_remote_files(ws: Workspace, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = filled(bucket, "in")
    paths = dataset.download(tmp_path / "copy")
    assert paths == [f"{tmp_path}/copy/deep/{n}.bin" for n in range(4)]
    assert Path(paths[3]).read_bytes() == b"D" * SIZE
    listed = dataset.files()
    files = listed.listed()
    bucket.delete("in/deep/1.bin")
    from batchmill.workspace.dataset_download import download

    monkeypatch.setattr(type(listed), "listed", lambda self: files)
    with pytest.raises(ItemChangedError, match="it vanished"):
        download(listed, tmp_path / "other")
    assert download(listed, tmp_path / "third", ignore_not_found=True) == [f"{tmp_path}/third/deep/{n}.bin" for n in (0, 2, 3)]


def test_data_changed_time_and_validation_of_stores(ws: Workspace, bucket: Bucket) -> None:
    dataset = filled(bucket, "in", 2)
    changed = dataset.data_changed_time
    assert changed is not None
    assert abs(changed.timestamp() - time.time()) < 600
    with pytest.raises(UserErrorException, match="Failed to validate the data"):
        Dataset.File.from_files(f"{bucket.url}/nowhere")
    assert MountContext(dataset).__repr__() == "<MountContext of a dataset, not mounted>"
