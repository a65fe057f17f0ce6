"""Snapshots: copies of source folders by their content."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from batchmill.errors import SnapshotError
from batchmill.pipeline.source_snapshot import copy_snapshot, keep_snapshot, snapshot_folder
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_same_content_is_the_same_snapshot(ws: Workspace, tmp_path: Path) -> None:
    one = keep_snapshot(ws, write(tmp_path / "one", a__py="1"), "a.py")
    assert keep_snapshot(ws, write(tmp_path / "two", a__py="1"), "a.py") == one
    assert keep_snapshot(ws, write(tmp_path / "two", a__py="2")) != one
    assert keep_snapshot(ws, write(tmp_path / "three", b__py="1")) != one
    assert names(snapshot_folder(ws, one)) == ["a.py"]
    assert not [path for path in Path(ws.folder, "snapshots").iterdir() if path.name.startswith(".")]


def test_what_a_killed_process_has_left_is_removed_later(ws: Workspace, tmp_path: Path) -> None:
    left, new = (write(Path(ws.folder, "snapshots", name), a__py="1") for name in (".new-left", ".new-being-made"))
    os.utime(left, (0, 0))
    keep_snapshot(ws, write(tmp_path / "one", a__py="1"))
    assert (left.exists(), new.exists()) == (False, True)


def test_what_is_ignored_is_no_part_of_it_but_the_script_is(ws: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "source", a__py="1", data__csv="x", __amlignore="*.csv\n*.py\n")
    assert names(snapshot_folder(ws, keep_snapshot(ws, source, "a.py"))) == [".amlignore", "a.py"]


def test_data_of_the_workspace_is_no_part_of_it(ws: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "source", a__py="1")
    before = keep_snapshot(ws, source, "a.py")
    write(source / "results", out__txt="x")
    Datastore.register_local_folder(ws, "results", str(source / "results"))
    assert keep_snapshot(ws, source, "a.py") == before


def test_the_folder_must_be_there(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="does not exist"):
        keep_snapshot(ws, tmp_path / "nowhere")
    with pytest.raises(SnapshotError, match="Submit or publish the pipeline here again"):
        snapshot_folder(ws, "0" * 64)


def test_many_at_once(ws: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "source", a__py="1", b__py="2")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(keep_snapshot(ws, source, "a.py"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_working_copy(ws: Workspace, tmp_path: Path) -> None:
    digest = keep_snapshot(ws, write(tmp_path / "source", a__sh="echo"), "a.sh")
    (copy_snapshot(ws, digest, tmp_path / "copy") / "a.sh").write_text("changed")
    assert (snapshot_folder(ws, digest) / "a.sh").read_text() == "echo"
