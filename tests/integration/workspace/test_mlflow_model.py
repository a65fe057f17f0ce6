"""Models of MLflow, taken over from local stores of it: a database and folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.model import Model
from batchmill.workspace.workspace import Workspace

# MLflow's own use of SQLAlchemy is the source of these.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

LOGS = """
import pathlib, sys, mlflow
root = pathlib.Path.cwd()
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = mlflow.create_experiment("e", artifact_location=(root / "artifacts").as_uri())
with mlflow.start_run(experiment_id=experiment, tags={"team": "vision", "mlflow.note": "hidden"}) as run:
    folder = root / "made"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "w.txt").write_text("weights")
    model = mlflow.models.Model(artifact_path="clf", run_id=run.info.run_id)
    model.add_flavor("python_function", loader_module="nothing")
    model.add_flavor("sklearn", sklearn_version="1.6.1", pickled_model="data/w.txt")
    model.save(str(folder / "MLmodel"))
    mlflow.log_artifacts(str(folder), "clf")
client.create_registered_model("digits")
client.create_model_version(
    "digits", run.info.artifact_uri + "/clf", run.info.run_id, tags={"stage": "prod"}, description="Digits of 8 x 8"
)
client.set_registered_model_alias("digits", "champion", 1)
print(run.info.run_id, flush=True)
"""


class Mlflow:
    """A store of MLflow with one run and one registered model."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOGS, uri], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stderr
        self.run_id = ended.stdout.split()[-1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Mlflow:
    folder = tmp_path_factory.mktemp("mlflow")
    return Mlflow(f"sqlite:///{folder / 'mlflow.db'}", folder)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, as MLflow's file store lays it out."""
    folder = tmp_path_factory.mktemp("mlruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        files = Mlflow((folder / "mlruns").as_uri(), folder)
    [found] = (folder / "mlruns").glob(f"*/{files.run_id}")
    (folder / "artifacts" / files.run_id / "artifacts").rename(found / "artifacts")
    return found


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return Workspace.create("default", show_output=False)


def check(model: Model, source: str, run_id: str) -> None:
    assert model.files == ["model/MLmodel", "model/data/w.txt"]
    assert (model.model_framework, model.model_framework_version) == ("ScikitLearn", "1.6.1")
    assert model.tags["team"] == "vision"
    assert "mlflow.note" not in model.tags
    assert model.properties["mlflow.source"] == source
    assert model.properties["mlflow.run_id"] == run_id
    assert model.properties["mlflow.flavors"] == "python_function,sklearn"
    assert model.properties["mlflow.mlflow_version"]
    path = Path(model.download("got", exist_ok=True))
    assert (path / "data" / "w.txt").read_text() == "weights"
    assert (path / "MLmodel").is_file()


@pytest.mark.parametrize("which", ["1", "@champion"])
def test_a_registered_version(ws: Workspace, store: Mlflow, which: str) -> None:
    uri = f"models:/digits{which}" if which.startswith("@") else f"models:/digits/{which}"
    model = Model.from_mlflow(uri, tracking_uri=store.uri, workspace=ws)
    check(model, uri, store.run_id)
    assert (model.id, model.description, model.tags["stage"]) == ("digits:1", "Digits of 8 x 8", "prod")
    assert (model.properties["mlflow.registered_model"], model.properties["mlflow.registered_version"]) == ("digits", "1")


def test_the_artifact_of_a_run(ws: Workspace, store: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    uri = f"runs:/{store.run_id}/clf"
    model = Model.from_mlflow(uri, tags={"team": "vision", "more": 1}, properties={"mine": 2}, description="own")
    check(model, uri, store.run_id)
    assert (model.id, model.description, model.tags["more"], model.properties["mine"]) == ("clf:1", "own", "1", "2")
    assert Model.from_mlflow(uri, "clf").version == 2


def test_the_folder_of_a_run_and_of_a_model(ws: Workspace, run_folder: Path) -> None:
    model = Model.from_mlflow(run_folder)
    check(model, str(run_folder), run_folder.name)
    assert model.name == "clf"
    other = Model.from_mlflow((run_folder / "artifacts" / "clf").as_uri(), "other")
    assert (other.name, other.files, other.tags) == ("other", model.files, {})


def test_local_folders_need_no_mlflow(ws: Workspace, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert Model.from_mlflow(run_folder).name == "clf"
    with pytest.raises(
        UserErrorException, match=r"models:/digits/1 cannot be taken over: MLflow is not installed .*pip install 'batchmill\[mlflow\]'"
    ):
        Model.from_mlflow("models:/digits/1")


def test_importing_models_does_not_load_mlflow() -> None:
    code = "import sys, batchmill.workspace.model, batchmill.workspace.mlflow_model; assert not {'mlflow', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("models:/nobody/1", r"models:/nobody/1 cannot be taken over: MLflow says: .*nobody"),
        ("models:/digits/9", r"models:/digits/9 cannot be taken over: MLflow says: .*digits"),
        ("runs:/0123456789abcdef/clf", "runs:/0123456789abcdef/clf cannot be taken over: MLflow says"),
        ("nothing", "nothing is no folder. Name models:/NAME/VERSION"),
    ],
)
def test_what_is_not_there(ws: Workspace, store: Mlflow, uri: str, text: str) -> None:
    with pytest.raises(UserErrorException, match=text) as error:
        Model.from_mlflow(uri, tracking_uri=store.uri)
    assert "\n" not in error.value.message


def test_folders_that_are_no_model(ws: Workspace, tmp_path: Path) -> None:
    def refused(folder: str) -> str:
        with pytest.raises(UserErrorException) as error:
            Model.from_mlflow(folder)
        return error.value.message

    for name in ("none", "two/a", "two/b", "broken", "list"):
        (tmp_path / name).mkdir(parents=True)
    assert "holds no model of MLflow: there is no MLmodel file in it" in refused("none")
    for name in ("two/a", "two/b"):
        (tmp_path / name / "MLmodel").write_text("flavors: {}")
    assert "two holds 2 models of MLflow (a, b). Name one of them." in refused("two")
    (tmp_path / "broken" / "MLmodel").write_text("flavors: [")
    assert "MLmodel cannot be read: " in refused("broken")
    (tmp_path / "list" / "MLmodel").write_text("- a")
    assert "is no description of a model of MLflow" in refused("list")
    assert dict(ws.models) == {}


def test_a_name_that_does_not_fit_is_made_to(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "my model (new)"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {onnx: {onnx_version: '1.19'}}")
    model: Any = Model.from_mlflow(os.fspath(folder))
    assert (model.name, model.model_framework, model.model_framework_version) == ("my-model-new", "Onnx", "1.19")
