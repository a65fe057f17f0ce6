"""Which files a model consists of, and what cannot be part of one."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model_files import ModelFile, find_files, measure
from batchmill.workspace.model_lookup import labels_of, whole_number
from batchmill.workspace.model_registration import check_name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.bin", "deep/b.bin", "deep/er/c.bin", ".hidden"):
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "models"


def names(*arguments: object) -> list[str]:
    return [file.name for file in find_files(*arguments)]  # type: ignore[arg-type]


def test_a_folder_is_named_with_its_own_name(folder: Path) -> None:
    all_files = ["models/.hidden", "models/a.bin", "models/deep/b.bin", "models/deep/er/c.bin"]
    for path in ("models", "models/", "./models/.", folder, str(folder)):
        assert names(path) == all_files
    assert names(folder, None, "model") == [name.replace("models/", "model/") for name in all_files]
    os.chdir(folder)
    assert names(".") == all_files


def test_a_file_has_its_name_alone(folder: Path) -> None:
    assert names("models/deep/b.bin") == ["b.bin"]
    [file] = find_files(folder / "deep" / "b.bin")
    assert (file.path, file.size, file.executable) == (str(folder / "deep" / "b.bin"), 10, False)
    (folder / "a.bin").chmod(0o755)
    assert find_files(folder / "a.bin")[0].executable


@pytest.mark.parametrize("children", [["deep/b.bin"], ["models/deep/b.bin"], ["./deep/../deep/b.bin"]])
def test_children_alone(folder: Path, children: list[str]) -> None:
    assert names("models", children) == ["models/deep/b.bin"]
    assert names("models", [str(folder / "deep" / "b.bin"), "deep"]) == ["models/deep/b.bin", "models/deep/er/c.bin"]


@pytest.mark.parametrize("child", ["nothing", "../beside", "/etc/hostname"])
def test_children_lie_below_the_folder(folder: Path, child: str) -> None:
    (folder.parent / "beside").touch()
    with pytest.raises(WebserviceException, match=f"child_paths names '{child}', which is nothing below models"):
        find_files("models", [child])
    with pytest.raises(WebserviceException, match="child_paths needs a folder"):
        find_files("models/a.bin", ["a.bin"])


def test_what_is_missing_is_missing_by_both_names_of_the_error(folder: Path) -> None:
    for kind in (FileNotFoundError, WebserviceException):
        with pytest.raises(kind) as missing:
            find_files("modles")
        assert 'Error, provided model path "modles" cannot be found' in str(missing.value)
        assert "Path does not exist" in str(missing.value)


def test_links_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.bin").write_text("far")
    (folder / "near").symlink_to("a.bin")
    (folder / "far").symlink_to(tmp_path / "elsewhere")
    found = {file.name: file for file in find_files(folder)}
    assert found["models/near"].size == 5
    assert found["models/far/d.bin"].size == 3
    (tmp_path / "link").symlink_to(folder)
    assert "link/a.bin" in names(tmp_path / "link")
    assert names(folder / "near") == ["near"]


def test_what_cannot_be_part_of_a_model(folder: Path, tmp_path: Path) -> None:
    link = folder / "link"
    link.symlink_to("nowhere")
    with pytest.raises(WebserviceException, match=r"Link .*/models/link leads nowhere"):
        find_files(folder)
    link.unlink()
    link.symlink_to(folder)
    with pytest.raises(WebserviceException, match=r"Link .*/models/link leads back"):
        find_files(folder)
    link.unlink()
    os.mkfifo(link)
    with pytest.raises(WebserviceException, match="is a pipe, socket or device"):
        find_files(folder)
    link.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(folder)
        server.bind("link")
        with pytest.raises(WebserviceException, match="is a pipe, socket or device"):
            find_files(folder)
    link.unlink()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
    with pytest.raises(WebserviceException, match="is no UTF-8 text"):
        find_files(folder)
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(WebserviceException, match=r"Folder '.*/empty' holds no file, so there is nothing to register"):
        find_files(tmp_path / "empty")


def test_two_links_to_one_folder_are_no_loop(folder: Path) -> None:
    (folder / "again").symlink_to("deep")
    assert "models/again/er/c.bin" in names(folder)


@pytest.mark.parametrize("durable", [True, False])
def test_files_are_known_by_size_and_content(folder: Path, durable: bool) -> None:
    (folder / "empty").touch()
    assert measure(str(folder), ["empty", "deep/b.bin"], durable=durable) == [
        ModelFile("deep/b.bin", 10, hashlib.sha256(b"deep/b.bin").hexdigest()),
        ModelFile("empty", 0, hashlib.sha256(b"").hexdigest()),
    ]
    with pytest.raises(OSError, match="nothing"):
        measure(str(folder), ["nothing"])


def test_a_file_crosses_the_registry() -> None:
    for file in (ModelFile("a/b", 3, "0" * 64), ModelFile("a/b", 3, "0" * 64, executable=True)):
        assert ModelFile.from_dict(file.to_dict()) == file


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-a", "\u00e4", "a" * 256, None, 7])
def test_names_that_no_model_has(name: object) -> None:
    with pytest.raises(WebserviceException, match="A model cannot be called"):
        check_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mnist", "a", "iris_model.v2-final", "9lives", "a" * 255])
def test_names_that_a_model_may_have(name: str) -> None:
    check_name(name)


def test_filters() -> None:
    assert labels_of(None) == {}
    assert labels_of("area") == {"area": None}
    assert labels_of(["area", ["kind", "digits"], ("stage", 1)]) == {"area": None, "kind": "digits", "stage": "1"}
    assert labels_of({"area": None, "stage": 1}) == {"area": None, "stage": "1"}
    with pytest.raises(WebserviceException, match="neither"):
        labels_of([["a", "b", "c"]])


def test_versions() -> None:
    assert (whole_number(3), whole_number("12")) == (3, 12)
    for wrong in ("latest", "1.0", 1.0, "", "-1"):
        with pytest.raises(WebserviceException, match="version should be an int"):
            whole_number(wrong)
