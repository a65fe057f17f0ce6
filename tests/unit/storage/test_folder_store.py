from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import DiskFullError, StoreError
from batchmill.storage import folder_store
from batchmill.storage.folder_store import UNFINISHED, FolderStore

SEGMENT = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..") and not name.startswith(UNFINISHED)
)
NAMES = st.lists(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), max_size=12)


def refuse(number: int) -> Callable[..., None]:
    def refused(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


@given(names=NAMES, after=st.none() | st.lists(SEGMENT, min_size=1, max_size=3).map("/".join))
def test_a_listing_is_every_name_after_in_byte_order(names: list[str], after: str | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    store, there = FolderStore(tmp_path_factory.mktemp("store")), []
    for name in dict.fromkeys(names):
        parts = name.split("/")
        if any(other.startswith(f"{name}/") or "/".join(parts[:k]) == other for other in there for k in range(len(parts))):
            continue  # a file cannot be a folder, too
        store.put(name, b"")
        there.append(name)
    expected = sorted((name for name in there if after is None or name.encode() > after.encode()), key=str.encode)
    assert [entry.name for entry in store.list("", after)] == expected


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "/", "a//b", "a/./b", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be the name"):
        FolderStore(tmp_path).put(name, b"1")


def test_a_file_system_without_hard_links_is_refused_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    with pytest.raises(StoreError, match="has no hard links") as caught:
        FolderStore(tmp_path).create("a", b"1")
    assert "--output" in str(caught.value.cure)
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_was_made_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over NFS: the server has made it, and answers the repeated request that it exists."""
    link = os.link

    def twice(source: str, target: str) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    assert FolderStore(tmp_path).create("a", b"1")
    assert not FolderStore(tmp_path).create("a", b"2")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    store.put("a", b"before")
    monkeypatch.setattr(folder_store, "_sync", refuse(errno.ENOSPC))
    for write in (store.put, store.create):
        with pytest.raises(DiskFullError, match=r"No space is left for .*/a"):
            write("a", b"after")
    assert store.read("a") == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_other_troubles_are_told_in_one_line(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a", b"1")
    with pytest.raises(StoreError, match=r"Cannot write .*/a/b: Not a directory"):
        store.put("a/b", b"1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=r"Cannot delete .*: Is a directory"):
        store.delete("folder")


@pytest.mark.parametrize("action", ["put", "create"])
def test_killed_while_writing(tmp_path: Path, action: str) -> None:
    """The old content, or nothing, is there; what was begun is in no listing, and is in nobody's way."""
    store = FolderStore(tmp_path)
    store.put("put", b"before")
    code = (
        "import os, signal, sys\nfrom batchmill.storage import folder_store\n"
        "folder_store._sync = lambda file: (file.flush(), os.kill(os.getpid(), signal.SIGKILL))\n"
        f"folder_store.FolderStore(sys.argv[1]).{action}('{action}', b'half')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    assert [entry.name for entry in store.list()] == ["put"]
    assert store.read("put") == b"before"
    assert store.create("create", b"after")


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_is_to_be_durable_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    store, calls = FolderStore(tmp_path / "store"), []
    store.put("first", b"makes the folder")
    monkeypatch.setattr(os, "fsync", calls.append)
    store.put("beat", b"1", durable=durable)
    store.put_file("log", tmp_path / "store" / "first", durable=durable)
    assert bool(calls) is durable
    assert [store.read("beat"), store.read("log")] == [b"1", b"makes the folder"]
    assert sorted(os.listdir(tmp_path / "store")) == ["beat", "first", "log"]
