"""The same path on another machine may be another folder: here folders take each other's places."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchmill.nodes.path_proof import PathProof, check_proofs, make_proofs, remove_proofs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_text("x")
    return folder


def deep(tmp_path: Path) -> Path:
    """A folder whose path is so long that no token file can be written into it, not even by root."""
    path = tmp_path
    while len(str(path)) < 4060:
        path /= "d" * min(200, 4074 - len(str(path)))
        os.mkdir(path)
    return path


def test_a_token_proves_a_folder_until_it_is_removed(folder: Path) -> None:
    proofs = make_proofs([folder, str(folder)])
    assert [proof.path for proof in proofs] == [str(folder)], "once, however often it is named"
    assert check_proofs(proofs) == []
    assert [name for name in os.listdir(folder) if not name.startswith(".")] == ["a"], "what was written is hidden"
    remove_proofs(proofs)
    assert os.listdir(folder) == ["a"]
    assert check_proofs(proofs) == [str(folder)]


def test_another_folder_of_the_same_name_is_told_apart(folder: Path, tmp_path: Path) -> None:
    proofs = make_proofs([folder])
    folder.rename(tmp_path / "elsewhere")
    assert check_proofs(proofs) == [str(folder)]
    folder.mkdir()
    (folder / "a").write_text("x")
    assert check_proofs(proofs) == [str(folder)]


def test_a_token_with_another_text_proves_nothing(folder: Path) -> None:
    (proof,) = make_proofs([folder])
    assert proof.token is not None
    (folder / proof.token[0]).write_text("guessed")
    assert check_proofs([proof]) == [str(folder)]


def test_a_folder_that_takes_no_token_is_known_by_its_entries(tmp_path: Path) -> None:
    folder = deep(tmp_path)
    (folder / "a").write_text("x")
    (folder / "sub").mkdir()
    (proof,) = make_proofs([folder])
    assert proof.token is None
    assert check_proofs([proof]) == []
    (folder / "a").write_text("longer")
    assert check_proofs([proof]) == [str(folder)]


def test_a_file_is_known_by_size_and_time(folder: Path) -> None:
    (proof,) = make_proofs([folder / "a"])
    assert check_proofs([proof]) == []
    os.utime(folder / "a", ns=(1, 1))
    assert check_proofs([proof]) == [str(folder / "a")]


def test_what_is_nowhere_is_never_proved(tmp_path: Path) -> None:
    proofs = make_proofs([tmp_path / "nothing"])
    assert check_proofs(proofs) == [str(tmp_path / "nothing")]
    assert check_proofs([PathProof(str(tmp_path))]) == [str(tmp_path)]
