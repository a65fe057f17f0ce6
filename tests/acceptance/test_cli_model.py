"""``batchmill model``, and ``batchmill run --model``, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Project

SCORE = """
import os
from azureml.core.model import Model

def init():
    global path
    path = Model.get_model_path("greeting")

def run(mini_batch):
    return [f"{os.path.basename(item)}: {open(path).read()} from {path.split(os.sep)[-2]}" for item in mini_batch]
"""


@pytest.fixture
def models(project: Project) -> Project:
    """A folder with the files of a model, a script that uses one, and items."""
    items = {f"in/{number}.txt": str(number) for number in range(4)}
    return project.write({"models/a.meta": "meta", "models/deep/b.bin": "b" * 1000, "hello.txt": "hello", "score.py": SCORE, **items})


def test_create_list_show_update_download_remove(models: Project) -> None:
    made = models.batchmill("model", "create", "mnist", "models", "--tag", "area=digits", "--property", "p=1", "--description", "TF1")
    assert (made.returncode, made.stdout) == (0, "")
    assert made.stderr == ('Model mnist:1 is registered in workspace default. In an entry script: Model.get_model_path("mnist")\n')
    second = models.batchmill("model", "create", "mnist", "models/a.meta", "--framework", "TensorFlow", "--json")
    assert json.loads(second.stdout)["version"] == 2
    models.batchmill("model", "create", "greeting", "hello.txt")

    listed = models.batchmill("model", "list").stdout.splitlines()
    assert [line.split()[:4] for line in listed] == [
        ["NAME", "VERSION", "FRAMEWORK", "BYTES"],
        ["greeting", "1", "Custom", "5"],
        ["mnist", "2", "TensorFlow", "4"],
    ]
    versions = json.loads(models.batchmill("model", "list", "--name", "mnist", "--json").stdout)
    assert [(one["version"], one["files"], one["size"]) for one in versions] == [(2, 1, 4), (1, 2, 1004)]
    assert json.loads(models.batchmill("model", "list", "--tag", "area=digits", "--json").stdout) == []
    page = models.batchmill("model", "list", "--limit", "1")
    assert page.stderr == "1 are shown. More: --after greeting, or a larger --limit.\n"
    assert "mnist" in models.batchmill("model", "list", "--after", "greeting").stdout

    shown = json.loads(models.batchmill("model", "show", "mnist:1", "--json").stdout)
    assert (shown["tags"], shown["properties"], shown["description"]) == ({"area": "digits"}, {"p": "1"}, "TF1")
    assert [file["path"] for file in shown["files"]] == ["models/a.meta", "models/deep/b.bin"]
    text = models.batchmill("model", "show", "mnist:1").stdout
    assert "models/deep/b.bin" in text
    assert "2, 1" in text

    changed = models.batchmill("model", "update", "mnist:1", "--tag", "stage=old", "--remove-tag", "area", "--property", "q=2")
    assert changed.stderr == "Model mnist:1 has been changed.\n"
    models.batchmill("model", "update", "mnist:1", "--description", "of TF1")
    shown = json.loads(models.batchmill("model", "show", "mnist:1", "--json").stdout)
    assert (shown["tags"], shown["properties"], shown["description"]) == ({"stage": "old"}, {"p": "1", "q": "2"}, "of TF1")
    refused = models.batchmill("model", "update", "mnist:1", "--property", "p=2")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "Property 'p' of model mnist:1 is '1' and cannot be changed." in refused.stderr

    got = models.batchmill("model", "download", "mnist:1", "--to", "got")
    assert got.stdout == f"{models.folder}/got/models\n"
    assert models.read("got/models/deep/b.bin") == "b" * 1000
    again = models.batchmill("model", "download", "mnist:1", "--to", "got")
    assert again.returncode == 2
    assert "File already exists. To overwrite, set exist_ok to True." in again.stderr
    assert models.batchmill("model", "download", "mnist:1", "--to", "got", "--overwrite").returncode == 0

    asked = models.batchmill("model", "remove", "mnist")
    assert asked.returncode == 2
    assert "Model mnist with all its versions and the files of it would be lost." in asked.stderr
    assert models.batchmill("model", "remove", "mnist:2", "--yes").stderr == "Model mnist:2 has been removed.\n"
    assert json.loads(models.batchmill("model", "show", "mnist", "--json").stdout)["version"] == 1
    assert models.batchmill("model", "remove", "mnist", "--yes").stderr == "Model mnist with all its versions has been removed.\n"
    assert [one["name"] for one in json.loads(models.batchmill("model", "list", "--json").stdout)] == ["greeting"]
    assert len(list((models.home / "workspaces" / "default" / "models").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("create", "m", "nothing"), 'Error, provided model path "nothing" cannot be found. Path does not exist.'),
        (("create", "m"), "A model is made of a PATH or --from-mlflow URI, one of them."),
        (("create", "a/b", "models"), "A model cannot be called 'a/b'"),
        (("create", "m", "models", "--tag", "x"), "Option --tag has the value 'x': it must be of the form KEY=VALUE."),
        (("create", "m", "--from-mlflow", "models"), "models holds no model of MLflow: there is no MLmodel file in it."),
        (("show", "m"), "Model/Version m/None not found in workspace."),
        (("show", "m:x"), "version should be an int"),
        (("update", "m"), "Nothing to change was given."),
        (("show", "m", "--workspace", "nowhere"), "There is no workspace 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(models: Project, arguments: tuple[str, ...], text: str) -> None:
    ended = models.batchmill("model", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert text in ended.stderr


def test_from_mlflow(models: Project) -> None:
    models.write({"run/artifacts/clf/MLmodel": "flavors: {sklearn: {sklearn_version: '1.6'}}\nrun_id: r1\n", "run/artifacts/clf/w": "w"})
    assert models.batchmill("model", "create", "digits", "--from-mlflow", "run").returncode == 0
    shown = json.loads(models.batchmill("model", "show", "digits", "--json").stdout)
    assert (shown["model_framework"], shown["model_framework_version"]) == ("ScikitLearn", "1.6")
    assert shown["properties"] == {"mlflow.source": "run", "mlflow.run_id": "r1", "mlflow.flavors": "sklearn"}


def test_no_models(project: Project) -> None:
    assert json.loads(project.batchmill("model", "list", "--json").stdout) == []
    assert "No models in workspace default. Register one: batchmill model create NAME PATH" in project.batchmill("model", "list").stderr


def lines(project: Project, output: str) -> list[str]:
    return project.read(f"{output}/parallel_run_step.txt").splitlines()


def test_a_run_with_a_model(models: Project) -> None:
    for text in ("hello", "good day"):
        models.write({"hello.txt": text})
        models.batchmill("model", "create", "greeting", "hello.txt")
    ended = models.batchmill("run", "score.py", "--input", "in", "--output", "out", "--model", "greeting")
    assert ended.returncode == 0, ended.stderr
    assert lines(models, "out") == [f"{number}.txt: good day from 2" for number in range(4)]
    older = models.batchmill("run", "score.py", "--input", "in", "--output", "older", "--model", "greeting:1")
    assert older.returncode == 0, older.stderr
    assert lines(models, "older") == [f"{number}.txt: hello from 1" for number in range(4)]
    unnamed = models.batchmill("run", "score.py", "--input", "in", "--output", "unnamed")
    assert unnamed.returncode == 0, unnamed.stderr
    assert lines(models, "unnamed") == lines(models, "out")
    assert not any(path.is_symlink() for path in (models.home / "runs").rglob("*"))


def test_a_run_with_a_model_that_is_not_there_does_not_begin(models: Project) -> None:
    ended = models.batchmill("run", "score.py", "--input", "in", "--output", "out", "--model", "greeting")
    assert ended.returncode == 2
    assert "Model/Version greeting/None not found in workspace." in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (models.folder / "out").exists()
    assert list((models.home / "runs").iterdir()) == []


def test_trying_and_replaying_one_mini_batch_with_a_model(models: Project) -> None:
    models.batchmill("model", "create", "greeting", "hello.txt")
    tried = models.batchmill("plan", "score.py", "--input", "in", "--try", "2")
    assert tried.returncode == 0, tried.stderr
    models.batchmill("run", "score.py", "--input", "in", "--output", "out", "--mini-batch-size", "1")
    models.write({"hello.txt": "another"})
    models.batchmill("model", "create", "greeting", "hello.txt")
    replayed = models.batchmill("runs", "replay", "last", "--mini-batch", "1")
    assert replayed.returncode == 0, replayed.stderr
    assert "hello from 1" in replayed.stdout + replayed.stderr


def test_models_of_a_path_with_odd_names(project: Project) -> None:
    odd = Path("mod\u00e8le \u2713/a b.bin")
    project.write({str(odd): "x"})
    assert project.batchmill("model", "create", "odd", str(odd.parent)).returncode == 0
    got = project.batchmill("model", "download", "odd", "--to", "got")
    assert Path(got.stdout.rstrip("\n")) == project.folder / "got" / odd
