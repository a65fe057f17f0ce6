"""Requirement files, read as pip reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.workspace.environment import pip_file
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.pip_requirements import flattened, local_path, read_requirements


def test_lines(tmp_path: Path) -> None:
    text = [
        "# a comment",
        "",
        "six==1.16  # why",
        "url @ https://host/x#egg=x",
        "numpy \\",
        "  >=1.26,<3",
        "  idna ; python_version > '3.9'  ",
    ]
    assert flattened(text, tmp_path) == [
        "six==1.16",
        "url @ https://host/x#egg=x",
        "numpy   >=1.26,<3",
        "idna ; python_version > '3.9'",
    ]


def test_files_in_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.txt").write_text("\ufeffsix\n-r sub/two.txt\n", encoding="utf-8")
    (tmp_path / "sub" / "two.txt").write_text("./wheel-1.0-py3-none-any.whl\n--requirement=../three.txt\n-c limits.txt\n-f wheels\n")
    (tmp_path / "three.txt").write_text("idna\n")
    assert flattened(["-rone.txt", "../up"], tmp_path) == [
        "six",
        f"{tmp_path}/sub/wheel-1.0-py3-none-any.whl",
        "idna",
        f"--constraint {tmp_path}/sub/limits.txt",
        f"--find-links {tmp_path}/sub/wheels",
        f"{tmp_path}/../up",
    ]


def test_files_that_name_themselves_end(tmp_path: Path) -> None:
    (tmp_path / "loop.txt").write_text("-r loop.txt\n")
    with pytest.raises(UserErrorException, match="named by itself"):
        flattened(["-r loop.txt"], tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-r missing.txt", "cannot be read"),
        ("-r https://host/requirements.txt", "no file of this machine"),
        ("--no-such-option", "no option that a requirements file may hold"),
        ("--index-url", "has no value"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UserErrorException, match=said):
        read_requirements([line], tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00six")
    with pytest.raises(UserErrorException, match="no UTF-8 text"):
        flattened(["-r binary.txt"], tmp_path)


def test_sorting(tmp_path: Path) -> None:
    lines = ["-i https://one/simple --extra-index-url=https://two/simple", "--pre", "-e ./lib", "-U", "six", "-c limits.txt", "--pre"]
    found = read_requirements(lines, tmp_path)
    assert found.packages == ("six",)
    assert found.editable == (f"{tmp_path}/lib",)
    assert found.constraints == (f"{tmp_path}/limits.txt",)
    assert found.options == (("--index-url", "https://one/simple"), ("--extra-index-url", "https://two/simple"), ("--pre", ""))
    assert list(found.local_paths()) == [tmp_path / "lib", tmp_path / "limits.txt"]


def test_azureml_is_provided() -> None:
    lines = ["azureml-core~=1.61.0", "azureml_dataset_runtime[fuse,pandas]", "AzureML.Defaults", "batchmill", "azuremlish", "six"]
    found = read_requirements(lines, Path("/"))
    assert found.packages == ("azuremlish", "six")
    assert found.provided == ("azureml-core", "azureml-dataset-runtime", "azureml-defaults", "batchmill")
    assert found.brought == ("pyarrow", "pandas")
    assert not found.empty
    assert read_requirements(["azureml-defaults"], Path("/")).empty


def test_what_is_brought_gives_way_to_what_is_asked() -> None:
    found = read_requirements(["azureml-dataset-runtime[pandas]", "pandas<3"], Path("/"))
    assert (found.packages, found.brought) == (("pandas<3",), ("pyarrow",))
    assert found.names("pandas")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("/w/lib.whl", "/w/lib.whl"),
        ("/w/lib[extra]", "/w/lib"),
        ("/w/lib ; python_version > '3'", "/w/lib"),
        ("file:///w/a%20b.whl", "/w/a b.whl"),
        ("lib @ file:///w/lib", "/w/lib"),
        ("lib @ https://host/lib.whl", None),
        ("git+ssh://git@host/lib", None),
        ("lib==1", None),
    ],
)
def test_local_paths(line: str, path: str | None) -> None:
    assert local_path(line) == (None if path is None else Path(path))


def test_paths_with_spaces_are_read_back_as_they_were(tmp_path: Path) -> None:
    """The lines of an environment are read when it is made, when it is registered, and when it is built."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "one.txt").write_text("-f wheels\n-c limits.txt\n-e 'own package'\n--index-url=https://host/simple\nsix\n")
    lines = pip_file(folder / "one.txt")
    assert flattened(lines, Path("/")) == lines
    found = read_requirements(lines, Path("/"))
    assert (found.packages, found.constraints, found.editable) == (("six",), (f"{folder}/limits.txt",), (f"{folder}/own package",))
    assert found.options == (("--find-links", f"{folder}/wheels"), ("--index-url", "https://host/simple"))
