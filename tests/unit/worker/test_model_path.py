"""Where the files of a model are, by the rules of Azure ML."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.worker.channel import NotTheWorker
from batchmill.worker.entry_script import EntryScript
from batchmill.worker.model_path import model_path, path_of, place
from batchmill.worker.questions import Refusal, answer_with

CONTENTS = {
    "one file": (["model.pkl"], "model.pkl"),
    "a folder": (["models/a.meta", "models/b.index"], "models"),
    "nested folders": (["models/a.bin", "models/deep/er/b.bin"], "models"),
    "files in one nested folder only": (["models/deep/a", "models/deep/b"], "models/deep"),
    "a folder with one file": (["models/a.bin"], "models/a.bin"),
    "a folder with one nested file": (["models/deep/er/a.bin"], "models/deep/er/a.bin"),
    "names with a common beginning": (["models/ab", "models/abc"], "models"),
    "several tops": (["a/x", "b/y"], ""),
    "blanks and accents": (["mod\u00e8les/a b", "mod\u00e8les/c"], "mod\u00e8les"),
}


def write(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture(autouse=True)
def _no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(EntryScript(), "working_dir", str(tmp_path / "work"))
    monkeypatch.delenv("AML_APP_ROOT", raising=False)
    monkeypatch.chdir(write(tmp_path / "here", ["unrelated"]))
    before = answer_with(None)
    yield
    answer_with(before)


class Run:
    """A run that knows some models, and counts what it is asked."""

    def __init__(self, **folders: Path) -> None:
        self.folders = folders
        self.asked: list[dict[str, Any]] = []

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(question)
        folder = self.folders.get(question["name"])
        if folder is None:
            return {"error": {"class": "ModelNotFoundException", "message": "there is none"}}
        return {"name": question["name"], "version": question["version"] or 3, "folder": str(folder)}


@pytest.mark.parametrize("case", CONTENTS)
def test_in_a_run(tmp_path: Path, case: str) -> None:
    names, expected = CONTENTS[case]
    source = write(tmp_path / "cache", names)
    answer_with(Run(mnist=source))
    below = tmp_path / "work" / "azureml-models" / "mnist" / "3"
    path = model_path("mnist")
    assert path == str(below / expected if expected else below)
    for name in names:
        assert (below / name).read_text() == name
        assert os.path.realpath(below / name) == str(source / name)
        assert not (below / name).parent.is_symlink()


@pytest.mark.parametrize("case", CONTENTS)
@pytest.mark.parametrize("by_variable", [True, False])
def test_outside_a_run_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, by_variable: bool) -> None:
    names, expected = CONTENTS[case]
    root = tmp_path / "app" if by_variable else Path.cwd()
    if by_variable:
        monkeypatch.setenv("AML_APP_ROOT", str(root))
    for version in (2, 10):
        write(root / "azureml-models" / "mnist" / str(version), names)
    (root / "azureml-models" / "mnist" / "11").mkdir()
    newest = root / "azureml-models" / "mnist" / "10"
    assert model_path("mnist") == str(newest / expected if expected else newest)
    assert model_path("mnist", 2).startswith(str(root / "azureml-models" / "mnist" / "2"))


def test_outside_a_run_in_the_current_folder() -> None:
    assert model_path("unrelated") == str(Path.cwd() / "unrelated")


def test_outside_a_run_and_nowhere() -> None:
    with pytest.raises(Refusal) as refused:
        model_path("mnist", 4)
    cache = Path.cwd() / "azureml-models"
    assert refused.value.kind == "ModelNotFoundException"
    assert refused.value.message.startswith(f"Model mnist not found in cache at {cache} or in current working directory {Path.cwd()}. ")
    assert "batchmill model download mnist:4" in refused.value.message


@pytest.mark.parametrize("in_run", [True, False])
@pytest.mark.parametrize("version", ["2", 2.0, [], "latest"])
def test_a_version_is_a_whole_number(in_run: bool, version: object) -> None:
    answer_with(Run() if in_run else None)
    with pytest.raises(Refusal, match=r"^version should be an int$") as refused:
        model_path("mnist", version)
    assert refused.value.kind == "WebserviceException"


def test_a_name_is_a_text() -> None:
    with pytest.raises(Refusal, match="model_name should be a str"):
        model_path(None)  # type: ignore[arg-type]


def test_it_asks_once_for_each_name_and_version(tmp_path: Path) -> None:
    run = Run(mnist=write(tmp_path / "cache", ["m"]))
    answer_with(run)
    assert model_path("mnist") == model_path("mnist") == model_path("mnist", 3)
    assert model_path("mnist", 1) != model_path("mnist")
    assert [one["version"] for one in run.asked] == [None, 3, 1]


def test_it_asks_again_when_the_script_removed_what_it_got(tmp_path: Path) -> None:
    run = Run(mnist=write(tmp_path / "cache", ["m"]))
    answer_with(run)
    os.unlink(model_path("mnist"))
    assert Path(model_path("mnist")).read_text() == "m"
    assert len(run.asked) == 2


def test_files_that_a_script_put_beside_the_model_stay(tmp_path: Path) -> None:
    source = write(tmp_path / "cache", ["models/a", "models/b"])
    target = Path(place(str(source), "mnist", 1, str(tmp_path)))
    (target / "own").write_text("own")
    (target.parent / "elsewhere").mkdir()
    (target.parent / "elsewhere" / "own").write_text("own")
    assert place(str(source), "mnist", 1, str(tmp_path)) == str(target)
    assert sorted(path.name for path in target.iterdir()) == ["a", "b", "own"]
    assert sorted(path.name for path in (source / "models").iterdir()) == ["a", "b"]


def test_a_child_of_the_worker_gets_what_the_worker_had_got(tmp_path: Path) -> None:
    run = Run(mnist=write(tmp_path / "cache", ["m"]))
    in_child = False

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        if in_child:
            raise NotTheWorker
        return run(question)

    answer_with(ask)
    path = model_path("mnist")
    in_child = True
    assert model_path("mnist") == path
    with pytest.raises(Refusal, match=r"child process.*init.*hand the path on") as refused:
        model_path("other")
    assert refused.value.kind == "WebserviceException"


def test_another_run_gets_models_of_its_own(tmp_path: Path) -> None:
    for number in (1, 2):
        answer_with(Run(mnist=write(tmp_path / f"cache{number}", [f"m{number}"])))
        EntryScript().working_dir = str(tmp_path / f"work{number}")
        assert Path(model_path("mnist")).read_text() == f"m{number}"


def test_no_file_no_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        path_of(str(tmp_path / "here" / "nothing"))
