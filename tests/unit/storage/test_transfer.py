from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.errors import DiskFullError, ItemChangedError, OutputError, StoreError, UsageError
from batchmill.storage.crew import Crew
from batchmill.storage.location import Location
from batchmill.storage.transfer import PARTIAL, Moved, StoreFile, Transfer
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.store_files import download, files_in, files_to_upload, folder_to_upload, upload


def place(folder: Path) -> Location:
    return Location("local", path=str(folder))


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


FILES = {"a.txt": "a", "sub/b.txt": "b", "sub/.hidden/c": "c", "empty": ""}


def test_a_folder_is_copied_whole(tmp_path: Path) -> None:
    write(tmp_path / "from", FILES)
    seen: list[int] = []
    moved = upload(
        folder_to_upload(tmp_path / "from"), place(tmp_path / "to/x"), overwrite=False, tell=lambda so_far: seen.append(so_far.files)
    )
    assert (moved.files, moved.size, moved.skipped) == (4, 3, 0)
    assert seen == [1, 2, 3, 4]
    assert read(tmp_path / "to/x") == FILES


def test_what_is_there_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "from", FILES)
    write(tmp_path / "to", {"a.txt": "mine"})
    assert upload(folder_to_upload(tmp_path / "from"), place(tmp_path / "to"), overwrite=False) == Moved(3, 2, 1)
    assert read(tmp_path / "to") == FILES | {"a.txt": "mine"}
    assert upload(folder_to_upload(tmp_path / "from"), place(tmp_path / "to"), overwrite=True) == Moved(4, 3, 0)
    assert read(tmp_path / "to") == FILES


def test_links_are_followed_and_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "else", {"linked.txt": "linked", "deep/d.txt": "d"})
    source = tmp_path / "from"
    write(source, {"a.txt": "a"})
    (source / "file-link").symlink_to(tmp_path / "else/linked.txt")
    (source / "folder-link").symlink_to(tmp_path / "else/deep")
    (source / "loop").symlink_to(source)
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
        upload(folder_to_upload(source), place(tmp_path / "to"), overwrite=False)
    assert read(tmp_path / "to") == {"a.txt": "a", "file-link": "linked", "folder-link/d.txt": "d"}
    assert not any(path.is_symlink() for path in (tmp_path / "to").rglob("*"))


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/broken").symlink_to("nowhere")
    with pytest.raises(UsageError, match="broken cannot be followed to nowhere"):
        upload(folder_to_upload(tmp_path / "from"), place(tmp_path / "to"), overwrite=False)


def test_only_folders_are_uploaded_as_folders(tmp_path: Path) -> None:
    write(tmp_path, {"file": ""})
    for bad in (tmp_path / "file", tmp_path / "nothing"):
        with pytest.raises(UserErrorException, match=r"src_path must be a directory\."):
            folder_to_upload(bad)


def test_single_files_lie_relative_to_their_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"oj.csv": "1", "d/x.csv": "2", "d/e/y.csv": "3"})

    def names(files: list[str], root: str | None = None) -> list[str]:
        return [file.name for file in files_to_upload(files, root)]

    assert names(["./oj.csv"], ".") == ["oj.csv"]
    assert names(["d/x.csv"]) == ["x.csv"]
    assert names(["d/x.csv", "d/e/y.csv", "./d/x.csv"]) == ["x.csv", "e/y.csv"]
    assert names(["d/x.csv", "oj.csv"]) == ["d/x.csv", "oj.csv"]
    assert names(["d/e/y.csv"], "d") == ["e/y.csv"]
    assert names([]) == []
    with pytest.raises(UserErrorException, match=r"'.*/nothing.csv' does not point to a file\."):
        names(["oj.csv", "nothing.csv"])
    with pytest.raises(UserErrorException, match=r"'.*/d' does not point to a file"):
        names(["d"])
    with pytest.raises(UserErrorException, match=r"relative_root: '.*/d' is not part of the file_path: '.*/oj.csv'"):
        names(["oj.csv"], "d")


def test_a_prefix_is_the_beginning_of_a_name(tmp_path: Path) -> None:
    write(tmp_path, {"iris.csv": "", "iris/a": "", "iris_model.pkl": "", "other/iris": "", ".iris": ""})
    found = [file.name for file in files_in(place(tmp_path), "iris")]
    assert found == ["iris.csv", "iris/a", "iris_model.pkl"]
    assert [file.name for file in files_in(place(tmp_path), "other/ir")] == ["other/iris"]
    assert [file.name for file in files_in(place(tmp_path), "other/")] == ["other/iris"]
    assert list(files_in(place(tmp_path), "nothing/x")) == list(files_in(place(tmp_path), "nothing")) == []
    assert len(list(files_in(place(tmp_path)))) == 5


def test_files_come_down_under_their_whole_names(tmp_path: Path) -> None:
    write(tmp_path / "store", FILES)
    assert download(place(tmp_path / "store"), "sub/", tmp_path / "here", overwrite=False).files == 2
    assert read(tmp_path / "here") == {"sub/b.txt": "b", "sub/.hidden/c": "c"}
    assert download(place(tmp_path / "store"), "nothing", tmp_path / "there", overwrite=False) == Moved()
    assert (tmp_path / "there").is_dir()


def test_a_file_and_a_folder_of_one_name_are_told(tmp_path: Path) -> None:
    write(tmp_path / "store", {"a/b": "1"})
    write(tmp_path / "here", {"a": "file"})
    with pytest.raises(OutputError, match=r"a/b: (Not a directory|File exists)\. A file and a folder would have one name"):
        download(place(tmp_path / "store"), "", tmp_path / "here", overwrite=False)
    write(tmp_path / "store2", {"a": "file"})
    (tmp_path / "here2/a").mkdir(parents=True)
    with pytest.raises(OutputError, match="Is a directory"):
        download(place(tmp_path / "store2"), "", tmp_path / "here2", overwrite=True)
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/escaped", "a//b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="does not fit into a local folder"):
        Transfer(place(tmp_path)).fetch([StoreFile(name, str(tmp_path / "here" / name), 1)])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"from/a": "1", "file": ""})
    with pytest.raises(OutputError, match=r"Cannot write .*/file/x/a: Not a directory\."):
        upload(folder_to_upload(tmp_path / "from"), place(tmp_path / "file/x"), overwrite=False)
    with pytest.raises(OutputError, match=r"Cannot write /proc/x/a: .*\. Check the folder and its rights\."):
        upload(folder_to_upload(tmp_path / "from"), place(Path("/proc/x")), overwrite=False)


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"from/a": "1" * 100})

    def full(source: object, target: object, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DiskFullError, match=r"No space is left for .*/to/a\. Make room"):
        upload(folder_to_upload(tmp_path / "from"), place(tmp_path / "to"), overwrite=False)
    assert read(tmp_path / "to") == {}


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(UsageError, match="gone cannot be read: No such file"):
        Transfer(place(tmp_path / "to")).send([StoreFile("gone", str(tmp_path / "gone"), 1)])
    with pytest.raises(ItemChangedError, match=r"gone: it vanished\."):
        Transfer(place(tmp_path / "store")).fetch([StoreFile("gone", str(tmp_path / "here/gone"), 1)])
    assert read(tmp_path) == {}


# --- the crew ---------------------------------------------------------------------------------------------------------------------


def test_a_crew_works_through_a_stream_without_holding_it() -> None:
    ahead, done, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal ahead, most
        for number in range(5_000):
            ahead += 1
            most = max(most, ahead - done)
            yield number

    def count(_: int) -> None:
        nonlocal done
        done += 1

    Crew(3).work(items(), lambda number: number, count)
    assert done == 5_000
    assert most <= 4 * 3 + 1


def test_the_first_error_stops_a_crew_and_is_raised() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        Crew(2).work(range(100_000), work, lambda _: None)
    assert len(begun) < 1_000


def test_an_error_of_the_stream_ends_a_crew() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("stream")

    before = threading.active_count()
    with pytest.raises(KeyError, match="stream"):
        Crew(4).work(items(), lambda number: number, lambda _: None)
    assert threading.active_count() == before


def test_a_thread_that_hangs_is_left_behind() -> None:
    release, stuck = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            stuck.set()
            release.wait(60)
        else:
            assert stuck.wait(60)
            raise ValueError("the other one")

    began = time.monotonic()
    with pytest.raises(ValueError, match="the other one"):
        Crew(2).work(range(2), work, lambda _: None)
    assert time.monotonic() - began < 30
    release.set()
