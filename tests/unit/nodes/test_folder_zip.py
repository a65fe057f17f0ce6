"""A folder arrives as it was."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import StoreError
from batchmill.nodes.folder_zip import files_of, pack_folder, unpack_folder

NAMES = st.lists(st.text("abcäx .", min_size=1, max_size=5).filter(lambda name: name.strip(". ")), min_size=1, max_size=3).map("/".join)


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        if not any(parent.is_file() for parent in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def content(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {name: (path.read_bytes(), os.access(path, os.X_OK)) for name, path in files_of(folder)}


@given(st.dictionaries(NAMES, st.binary(max_size=50), max_size=6), st.booleans())
def test_files_arrive_and_are_named_by_what_they_are(files: dict[str, bytes], compress: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for copy in ("one", "two", "there"):
            (top / copy).mkdir()
        write(top / "one", files)
        write(top / "two", files)
        digest = pack_folder(top / "one", top / "one.zip", compress=compress)
        assert pack_folder(top / "two", top / "two.zip", compress=compress) == digest
        assert (top / "one.zip").read_bytes() == (top / "two.zip").read_bytes()
        unpack_folder(top / "one.zip", top / "there")
        assert content(top / "there") == content(top / "one")
        (top / "two" / "more").write_text("") if not (top / "two" / "more").exists() else (top / "two" / "more").unlink()
        assert pack_folder(top / "two", top / "two.zip", compress=compress) != digest


def test_programs_stay_programs_and_links_become_files(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "tool.sh").write_text("#!/bin/sh\n")
    (source / "tool.sh").chmod(0o755)
    (source / "link").symlink_to(source / "tool.sh")
    (source / "broken").symlink_to("nowhere")
    pack_folder(source, tmp_path / "it.zip")
    unpack_folder(tmp_path / "it.zip", target)
    assert content(target) == {"tool.sh": (b"#!/bin/sh\n", True), "link": (b"#!/bin/sh\n", True)}
    assert not (target / "link").is_symlink()


def test_damaged_and_hostile_archives_are_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK not at all")
    with pytest.raises(StoreError, match=r"damaged\.zip cannot be unpacked"):
        unpack_folder(damaged, tmp_path)
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.writestr("../outside", "x")
    (tmp_path / "room").mkdir()
    with pytest.raises(StoreError, match="leads out of it"):
        unpack_folder(tmp_path / "hostile.zip", tmp_path / "room")
    assert not (tmp_path / "outside").exists()
