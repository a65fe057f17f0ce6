"""Inputs as a user names them, on real folders."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.data.listing import Input, open_input, reaches
from batchmill.errors import InputError
from batchmill.nodes.path_proof import make_proofs, remove_proofs


def touch(folder: Path, *names: str | bytes, content: bytes = b"x") -> None:
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def paths_of(one: Input) -> list[bytes]:
    return [chunk.prefix + name for chunk in one.chunks() for name in chunk.names]


def listed(text: str | Path, **options: object) -> list[str]:
    return [os.fsdecode(path) for path in paths_of(open_input(os.fspath(text), **options))]  # type: ignore[arg-type]


def test_a_folder_is_listed_in_byte_order_of_whole_paths(tmp_path: Path) -> None:
    names = ["a/b", "a-b", "a.b", "a0", "B", "a/b-/c", "a/z", "é", "z", "日/本"]
    touch(tmp_path, *names)
    assert (
        listed(tmp_path) == ["B", "a-b", "a.b", "a/b", "a/b-/c", "a/z", "a0", "z", "é", "日/本"] == sorted(listed(tmp_path), key=str.encode)
    )


def test_sizes_and_times_are_recorded(tmp_path: Path) -> None:
    touch(tmp_path, "a", content=b"123")
    touch(tmp_path, "b", content=b"")
    os.utime(tmp_path / "a", ns=(5, -1_000_000_007))
    (chunk,) = open_input(str(tmp_path)).chunks()
    assert list(chunk.sizes) == [3, 0]
    assert list(chunk.mtimes) == [(tmp_path / name).stat().st_mtime_ns for name in "ab"]
    assert chunk.mtimes[0] == -1_000_000_007


SEGMENT = st.binary(min_size=1, max_size=4).filter(lambda name: not {0, 0x2F} & set(name) and name not in (b".", b".."))
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=3), min_size=1, max_size=12)


@given(paths=PATHS, most=st.integers(1, 5))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_is_listed_completely_and_in_order(paths: list[list[bytes]], most: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tree")
    made = set()
    for path in paths:
        try:
            touch(folder, b"/".join(path))
        except OSError:  # a file where a folder is wanted, or the reverse
            continue
        made.add(b"/".join(path))
    assert paths_of(open_input(str(folder), include_hidden=True, most_names=most, scratch=str(folder.parent))) == sorted(made)


def test_a_folder_with_more_names_than_memory_may_hold_is_merged(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    descriptor = os.open(inner, os.O_RDONLY)
    for n in range(100_000):
        os.close(os.open(f"{n * 7919 % 100_000}", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = listed(inner, most_names=20_000, scratch=str(scratch))
    assert found == sorted(map(str, range(100_000)))
    assert list(scratch.iterdir()) == []


def test_hidden_names_are_skipped_unless_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "a", ".b", ".c/d")
    assert listed(tmp_path) == ["a"]
    assert listed(tmp_path, include_hidden=True) == [".b", ".c/d", "a"]
    assert listed(tmp_path / ".b") == [".b"]


def test_what_runs_on_clusters_leave_for_a_while_is_never_input(tmp_path: Path) -> None:
    touch(tmp_path, "a", ".b", "c/d")
    proofs = make_proofs([tmp_path, tmp_path / "c"])
    assert listed(tmp_path, include_hidden=True) == [".b", "a", "c/d"]
    assert listed(f"{tmp_path}/.*") == [".b"]
    remove_proofs(proofs)


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    touch(tmp_path, b"\xff\xfe.png", b"new\nline")
    assert paths_of(open_input(str(tmp_path))) == [b"new\nline", b"\xff\xfe.png"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "f", content=b"12345")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").symlink_to(tmp_path / "elsewhere" / "f")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "in") == ["file", "folder/f"]
    chunks = list(open_input(str(tmp_path / "in")).chunks())
    assert [size for chunk in chunks for size in chunk.sizes] == [5, 5]


def test_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/f", "b/g")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "self").symlink_to(tmp_path / "b")
    assert listed(tmp_path) == ["a/b/g", "a/f", "b/a/f", "b/g"]


def test_very_deep_folders_need_no_recursion(tmp_path: Path) -> None:
    for depth in range(1, 1501):
        os.mkdir(f"{tmp_path}/" + "d/" * depth)
    with open(f"{tmp_path}/" + "d/" * 1500 + "f", "wb"):
        pass
    assert listed(tmp_path) == ["d/" * 1500 + "f"]
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own removal of old folders is recursive


def test_pipes_and_sockets_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "f")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (tmp_path / "link").symlink_to("socket")
        assert listed(tmp_path) == ["f"]
    with pytest.raises(InputError, match="neither a file nor a folder"):
        listed(tmp_path / "pipe")


def test_a_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"broken cannot be followed to nowhere: No such file.* Repair"):
        listed(tmp_path)
    assert listed(f"{tmp_path}/a*") == ["a"]
    with pytest.raises(InputError, match="cannot be followed"):
        listed(tmp_path / "broken")


def test_a_link_in_a_circle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(InputError, match="cannot be followed"):
        listed(tmp_path)


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "secret")
    (tmp_path / "secret").chmod(0)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may read everything
    for text in (tmp_path, tmp_path / "secret"):
        with pytest.raises(InputError, match=r"secret cannot be read: Permission denied"):
            listed(text)


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/b")
    scandir = os.scandir

    def refuse(path: bytes) -> os.DirEntry[bytes]:
        if path.endswith(b"/a/"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[return-value]

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"a/ cannot be listed: Permission denied\. Give this user the right"):
        listed(tmp_path)


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.txt", "x/a.png", "x/y/a.png", "x/y/c.txt", ".h/a.png")
    assert listed(f"{tmp_path}/*.png") == ["a.png"]
    assert listed(f"{tmp_path}/**/*.png") == ["a.png", "x/a.png", "x/y/a.png"]
    assert listed(f"{tmp_path}/x/*") == ["a.png"]
    assert listed(f"{tmp_path}/*/") == ["x/a.png", "x/y/a.png", "x/y/c.txt"]
    assert open_input(f"{tmp_path}/x/*/c.txt").base == str(tmp_path / "x")
    assert listed(f"{tmp_path}/**/*.png", include_hidden=True)[0] == ".h/a.png"


def test_a_path_that_exists_is_no_glob(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].png", "a1.png")
    assert listed(f"{tmp_path}/a[1].png") == ["a[1].png"]


def test_what_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"Input missing does not exist. Check the path; relative paths start at {tmp_path}"):
        open_input("missing")
    with pytest.raises(InputError, match="there is no folder"):
        open_input("missing/*.png")
    with pytest.raises(InputError, match="empty"):
        open_input("")


def test_empty_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no files"):
        open_input(str(tmp_path)).require_items(0)
    with pytest.raises(InputError, match="No file matches"):
        open_input(f"{tmp_path}/*.png").require_items(0)


def test_a_list_names_files_relative_to_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "d/b", "d/a", "e/.c", b"d/\xff")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfd/b\r\n\n  \nd/./a\n" + os.fsencode(tmp_path) + b"/e/.c\nd/\xff\nd/../d/../e/../d/b2")
    touch(tmp_path, "d/b2")
    one = open_input(f"@{tmp_path}/list.txt")
    assert one.base == str(tmp_path)
    assert paths_of(one) == [b"d/a", b"d/b", b"d/b2", b"d/\xff", b"e/.c"]


def test_the_base_of_a_list_is_the_deepest_common_folder(tmp_path: Path) -> None:
    touch(tmp_path, "d/x/1", "d/x/2", "d/xy/3")
    (tmp_path / "one.txt").write_text("d/x/1\nd/x/2")
    (tmp_path / "two.txt").write_text("d/x/1\nd/xy/3")
    assert (open_input(f"@{tmp_path}/one.txt").base, listed(f"@{tmp_path}/one.txt")) == (f"{tmp_path}/d/x", ["1", "2"])
    assert (open_input(f"@{tmp_path}/two.txt").base, listed(f"@{tmp_path}/two.txt")) == (f"{tmp_path}/d", ["x/1", "xy/3"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\nd/../a\n", "twice: an item has one fate"),
        ("d\n", "neither a file nor a folder|is a folder|A list names files"),
        ("missing\n", r"missing cannot be read: No such file.*Relative lines start"),
        ("\n \n", "names no files"),
        ("a\ns3://bucket/b\n", "mixes local paths and URLs of s3://bucket"),
    ],
)
def test_bad_lists(tmp_path: Path, lines: str, message: str) -> None:
    touch(tmp_path, "a", "d/f")
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(InputError, match=message):
        listed(f"@{tmp_path}/list.txt")


def test_a_list_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        open_input(f"@{tmp_path}/list.txt")


def test_what_an_input_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "in/a/f")
    (tmp_path / "link").symlink_to(tmp_path / "in" / "a")
    monkeypatch.chdir(tmp_path)
    assert reaches("in", "in/out")
    assert reaches("in", "in")
    assert reaches("in", "link/out")
    assert reaches("link", str(tmp_path / "in" / "a" / "new"))
    assert reaches(".", "out")
    assert not reaches("in", "input")
    assert not reaches("in/a", "in")
    assert reaches("in/**/*.png", "in/x/y")
    assert reaches("in/*/f", "in/out")
    assert not reaches("in/*.png", "in/out")
    assert not reaches("in/a/f", "in/a/out")
    assert reaches("s3://b/in", "s3://b/in/out")
    assert not reaches("s3://b/in", "s3://b/inner")
    assert not reaches("s3://b/in", "in/out")
