"""Models in a workspace: registered, found, changed, downloaded, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.errors import DiskFullError
from batchmill.workspace import model_registration
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import ModelNotFoundException, UserErrorException, WebserviceException
from batchmill.workspace.model import Model, resolve_model
from batchmill.workspace.workspace import Workspace

REGISTERS = """
import sys
from batchmill.workspace.current import find_workspace
from batchmill.workspace.model import Model
ws = find_workspace("team")
print("ready", flush=True)
sys.stdin.readline()
for n in range(5):
    print(Model.register(ws, "models", "shared").version, flush=True)
"""
DIES = """
import os, signal
from batchmill.workspace import model_store
from batchmill.workspace.current import find_workspace
from batchmill.workspace.model import Model
original = model_store.measure
def measure(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)
model_store.measure = measure
Model.register(find_workspace("team"), "models", "half")
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    return _made(tmp_path, monkeypatch)


@pytest.fixture
def each(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace on each kind of database."""
    return _made(tmp_path, monkeypatch)


def _made(folder: Path, patch: pytest.MonkeyPatch) -> Workspace:
    patch.chdir(folder)
    write(folder / "models", {"a.meta": "meta", "deep/b.bin": "b" * 100})
    return Workspace.create("team", show_output=False)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def contents(folder: Path | str) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_registering_copies_at_once(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    model = Model.register(workspace=ws, model_path="models/", model_name="mnist", tags={"area": "digits"}, description="TF1")
    assert capsys.readouterr().out == "Registering model mnist\n"
    shutil.rmtree("models")
    assert (model.name, model.version, model.id, model.description, model.tags) == ("mnist", 1, "mnist:1", "TF1", {"area": "digits"})
    assert before - timedelta(seconds=1) <= model.created_time <= datetime.now(UTC)
    assert (model.model_framework, model.model_framework_version, model.run_id, model.properties) == ("Custom", None, None, {})
    assert contents(model.download("got")) == {"a.meta": "meta", "deep/b.bin": "b" * 100}
    assert model.url.startswith("aml://asset/")
    assert model.workspace == ws


def test_every_registration_is_a_new_version(ws: Workspace) -> None:
    assert [Model.register(ws, "models", "mnist").version for _ in range(3)] == [1, 2, 3]
    assert ws.models["mnist"].version == 3
    assert list(ws.models) == ["mnist"]
    assert "mnist" in ws.models
    assert Model(ws, "mnist").version == 3
    assert Model(ws, "mnist", version=2).id == "mnist:2"
    assert Model(ws, id="mnist:1").version == 1


def test_processes_that_register_at_once_get_versions_of_their_own(each: Workspace) -> None:
    command = [sys.executable, "-c", REGISTERS]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    lines = [process.communicate(timeout=120)[0].split() for process in processes]
    versions = [int(line) for one in lines for line in one if line.isdigit()]
    assert sorted(versions) == list(range(1, 21))
    places = {resolve_model(each, "shared", version).definition["location"] for version in versions}
    assert len(places) == 20
    assert all((each.folder / place / "models" / "a.meta").read_text() == "meta" for place in places)


def test_a_process_killed_while_it_registers_leaves_nothing_that_counts(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -9, ended.stderr
    assert "half" not in ws.models
    [left] = (ws.folder / "models").iterdir()
    assert left.name.startswith(".staging-")
    assert Model.register(ws, "models", "half").version == 1
    assert left.exists()  # it might still be at work
    monkeypatch.setattr("batchmill.workspace.model_store.STALE", -1.0)
    Model.register(ws, "models", "half")
    assert not left.exists()


def test_what_fails_leaves_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise DiskFullError("No space is left.")

    with monkeypatch.context() as patch:
        patch.setattr(ws.registry, "add", full)
        with pytest.raises(DiskFullError):
            Model.register(ws, "models", "mnist")
    with pytest.raises(FileNotFoundError):
        Model.register(ws, "nothing", "mnist")
    with pytest.raises(WebserviceException, match="cannot be called"):
        Model.register(ws, "models", "no/name")
    assert list((ws.folder / "models").iterdir()) == []
    assert dict(ws.models) == {}


def test_files_outside_of_the_current_folder_links_and_rights(ws: Workspace, tmp_path: Path) -> None:
    away = write(tmp_path / "away", {"tool.sh": "#!/bin/sh"})
    (away / "tool.sh").chmod(0o755)
    (away / "link").symlink_to(tmp_path / "models" / "a.meta")
    os.chdir(tmp_path / "models")
    model = Model.register(ws, away, "away")
    assert model.files == ["away/link", "away/tool.sh"]
    got = Path(model.download(tmp_path / "got"))
    assert contents(got) == {"link": "meta", "tool.sh": "#!/bin/sh"}
    assert not (got / "link").is_symlink()
    assert os.access(got / "tool.sh", os.X_OK)
    assert not os.access(got / "link", os.X_OK)


def test_children_alone(ws: Workspace) -> None:
    assert Model.register(ws, "models", "mnist", child_paths=["deep/b.bin"]).files == ["models/deep/b.bin"]


def test_facts_of_a_model(each: Workspace, tmp_path: Path) -> None:
    rows = Dataset.Tabular.from_delimited_files(write(tmp_path / "rows", {"r.csv": "a\n1\n"}) / "r.csv", validate=False)
    model = Model.register(
        each,
        "models",
        "mnist",
        properties={"accuracy": 0.97},
        datasets=[("training", rows), ("training", rows), ("validation", rows)],
        model_framework=Model.Framework.SCIKITLEARN,
        model_framework_version="1.6",
        sample_input_dataset=rows,
        resource_configuration=SimpleNamespace(cpu=1, memory_in_gb=0.5),
    )
    found = Model(each, "mnist")
    assert (found.model_framework, found.model_framework_version, found.properties) == ("ScikitLearn", "1.6", {"accuracy": "0.97"})
    assert found.resource_configuration is not None
    assert (found.resource_configuration.cpu, found.resource_configuration.memory_in_gb) == (1, 0.5)
    assert {purpose: [one.id for one in datasets] for purpose, datasets in found.datasets.items()} == {
        "training": [rows.id, rows.id],
        "validation": [rows.id],
    }
    assert [one.id for one in Model.list(each, dataset_id=rows.id)] == ["mnist:1"]
    assert Model.list(each, dataset_id="other") == []
    told = found.serialize()
    assert {"name", "id", "version", "createdTime", "framework", "frameworkVersion", "tags", "properties", "url"} <= told.keys()
    assert (told["sampleInputDatasetId"], told["size"], told["files"]) == (rows.id, 104, 2)
    with pytest.raises(WebserviceException, match="must be a ResourceConfiguration"):
        Model.register(each, "models", "mnist", resource_configuration=3)
    assert model.version == 1


def test_lists(each: Workspace) -> None:
    Model.register(each, "models", "b", tags={"area": "digits", "stage": "dev"})
    Model.register(each, "models", "b", tags={"area": "digits", "stage": "prod"}, properties={"p": 1})
    Model.register(each, "models", "a", model_framework="Onnx")

    def ids(**filters: Any) -> list[str]:
        return [model.id for model in Model.list(each, **filters)]

    assert ids() == ["a:1", "b:2", "b:1"]
    assert ids(latest=True) == ["a:1", "b:2"]
    assert ids(name="b") == ["b:2", "b:1"]
    assert ids(tags=["area"]) == ["b:2", "b:1"]
    assert ids(tags=["area", ["stage", "dev"]]) == ["b:1"]
    assert ids(tags=[["stage", "dev"]], latest=True) == []
    assert ids(properties=[["p", "1"]]) == ["b:2"]
    assert ids(model_framework="Onnx") == ["a:1"]
    assert ids(run_id="none") == []
    assert Model(each, "b", tags=[["stage", "dev"]]).version == 1
    with pytest.raises(ModelNotFoundException, match="of those that fit the filters"):
        Model(each, "b", tags=["other"])


def test_what_is_not_there(ws: Workspace) -> None:
    Model.register(ws, "models", "mnist")
    with pytest.raises(ModelNotFoundException) as missing:
        resolve_model(ws, "mnits")
    assert missing.value.message == "Model/Version mnits/None not found in workspace. Did you mean 'mnist'?"
    with pytest.raises(ModelNotFoundException) as missing:
        resolve_model(ws, "mnist", 4)
    assert missing.value.message == "Model/Version mnist/4 not found in workspace. Workspace team has these versions of it: 1."
    with pytest.raises(WebserviceException, match="version should be an int"):
        resolve_model(ws, "mnist", "newest")
    with pytest.raises(WebserviceException, match="Model with name nobody not found in provided workspace"):
        Model(ws, "nobody")
    with pytest.raises(WebserviceException, match="Model with id mnist:9 not found"):
        Model(ws, id="mnist:9")
    with pytest.raises(WebserviceException, match="neither is given"):
        Model(ws)
    with pytest.raises(KeyError):
        ws.models["nobody"]


def test_labels_change_and_properties_only_grow(each: Workspace) -> None:
    model = Model.register(each, "models", "mnist", tags={"a": "1"}, properties={"p": "1"})
    model.add_tags({"b": 2, "a": 3})
    model.remove_tags(["b", "never"])
    model.remove_tags("never")
    model.add_properties({"q": 5, "p": 1})
    assert (model.tags, model.properties) == ({"a": "3"}, {"p": "1", "q": "5"})
    with pytest.raises(WebserviceException, match=r"Property 'p' of model mnist:1 is '1' and cannot be changed\."):
        model.add_properties({"p": 2})
    model.update(description="new", tags={"only": 1}, resource_configuration=SimpleNamespace(cpu=2))
    found = Model(each, "mnist")
    assert (found.description, found.tags, found.properties) == ("new", {"only": "1"}, {"p": "1", "q": "5"})
    assert found.resource_configuration is not None
    assert found.resource_configuration.cpu == 2
    other = Model(each, "mnist")
    other.add_tags({"from": "elsewhere"})
    model.add_tags({"here": "1"})
    assert model.tags == {"only": "1", "from": "elsewhere", "here": "1"}
    rows = Dataset.File.from_files(each.folder / "models", validate=False)
    other.add_dataset_references([("validation", rows)])
    model.add_dataset_references([("training", rows)])
    datasets = Model(each, "mnist").datasets
    assert {purpose: [one.id for one in found] for purpose, found in datasets.items()} == {"validation": [rows.id], "training": [rows.id]}


def test_downloads(ws: Workspace, tmp_path: Path) -> None:
    model = Model.register(ws, "models", "mnist")
    single = Model.register(ws, "models/a.meta", "single")
    os.chdir(write(tmp_path / "here", {"models/other": "stays"}))
    assert model.download() == str(tmp_path / "here" / "models")
    assert single.download("deep/er") == str(tmp_path / "here" / "deep" / "er" / "a.meta")
    assert (tmp_path / "here" / "models" / "other").read_text() == "stays"
    with pytest.raises(WebserviceException, match=r"File already exists. To overwrite, set exist_ok to True. .*/here/models/a.meta"):
        model.download()
    (tmp_path / "here" / "models" / "a.meta").write_text("changed")
    assert model.download(exist_ok=True) == model.download(exists_ok=True)
    assert (tmp_path / "here" / "models" / "a.meta").read_text() == "meta"


def test_content_that_was_changed_in_the_store_is_noticed(ws: Workspace, tmp_path: Path) -> None:
    model = Model.register(ws, "models", "mnist")
    stored = ws.folder / model._asset.definition["location"] / "models"
    (stored / "a.meta").write_text("META")
    with pytest.raises(WebserviceException, match=r"The files of model mnist:1 are not those that were registered"):
        model.download("got")
    assert contents("got") == {}
    (stored / "a.meta").unlink()
    with pytest.raises(WebserviceException, match=r"The files of model mnist:1 are not all in the workspace\. Cannot read .*a.meta"):
        model.download("got")


def test_removing(each: Workspace) -> None:
    for _ in range(3):
        model = Model.register(each, "models", "mnist")
    stored = each.folder / model._asset.definition["location"]
    assert stored.is_dir()
    model.delete()
    assert not stored.exists()
    assert Model(each, "mnist").version == 2
    model.delete()  # again
    assert Model.register(each, "models", "mnist").version == 4
    with pytest.raises(ModelNotFoundException):
        Model(each, "mnist", version=3)


def test_get_model_path_of_a_workspace_outside_of_a_run(ws: Workspace, tmp_path: Path) -> None:
    Model.register(ws, "models", "mnist")
    os.chdir(write(tmp_path / "here", {}) if (tmp_path / "here").exists() else (tmp_path / "models"))
    path = Model.get_model_path("mnist", _workspace=ws)
    assert path == str(Path.cwd() / "azureml-models" / "mnist" / "1" / "models")
    assert contents(path) == {"a.meta": "meta", "deep/b.bin": "b" * 100}
    assert Model.get_model_path("mnist") == path
    assert Model.get_model_path("mnist", 1, ws) == path
    with pytest.raises(ModelNotFoundException, match="Model other not found in cache at"):
        Model.get_model_path("other")
    with pytest.raises(WebserviceException, match="version should be an int"):
        Model.get_model_path("mnist", version="1")  # type: ignore[arg-type]


def test_how_a_model_shows_itself(ws: Workspace) -> None:
    model = Model.register(ws, "models", "mnist", tags={"<b>": "&"}, properties={"p": "1"})
    assert (
        repr(model)
        == str(model)
        == f"Model(workspace={ws!r}, name=mnist, id=mnist:1, version=1, tags={{'<b>': '&'}}, properties={{'p': '1'}})"
    )
    html = model._repr_html_()
    assert html.startswith("<table><tr><th>Name</th><td>mnist</td></tr>")
    assert "&lt;b&gt;=&amp;" in html


@pytest.mark.parametrize("name", ["deploy", "package", "profile", "print_configuration", "get_sas_urls"])
def test_what_is_left_out_says_so(ws: Workspace, name: str) -> None:
    model = Model.register(ws, "models", "mnist")
    with pytest.raises(UserErrorException, match=rf"Model\.{name} is not part of Batchmill\."):
        getattr(model, name)()


def test_models_lie_in_a_default_datastore_that_is_not_the_workspaces_own(ws: Workspace, tmp_path: Path) -> None:
    Datastore.register_local_folder(ws, "shared", tmp_path / "shared", create_if_not_exists=True)
    ws.set_default_datastore("shared")
    model = Model.register(ws, "models", "mnist")
    location = model._asset.definition["location"]
    assert location.startswith("datastore://shared/batchmill/models/")
    assert contents(tmp_path / "shared" / location.removeprefix("datastore://shared/")) == {
        "models/a.meta": "meta",
        "models/deep/b.bin": "b" * 100,
    }
    assert contents(model.download("got")) == {"a.meta": "meta", "deep/b.bin": "b" * 100}
    assert list((ws.folder / "models").iterdir()) == []
    model.delete()
    assert contents(tmp_path / "shared") == {}


def test_a_model_that_is_registered_by_a_run_knows_it(ws: Workspace) -> None:
    facts = model_registration.ModelFacts(run_id="run-1", experiment_name="e", created_by={"userName": "ann"})
    model_registration.register_model(ws, "models", "mnist", facts=facts)
    [model] = Model.list(ws, run_id="run-1")
    assert (model.run_id, model.experiment_name, model.serialize()["createdBy"]) == ("run-1", "e", {"userName": "ann"})
