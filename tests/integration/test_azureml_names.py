"""The azureml names in interpreters that have nothing but the standard library, Python 3.9 among them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.interpreters import VERSIONS, interpreter

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "batchmill"
START = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("batchmill", {str(PACKAGE / "__init__.py")!r}, submodule_search_locations=[{str(PACKAGE)!r}])
sys.modules["batchmill"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["batchmill"])
sys.path.insert(0, {str(PACKAGE / "worker" / "names")!r})
"""


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"NOT TESTED under Python {request.param}: there is none on this machine")
    return found


def run(python: str, code: str, folder: Path, **variables: str) -> str:
    """What a script prints that begins as one in a worker does, isolated from what is installed."""
    ended = subprocess.run(
        [python, "-B", "-I", "-S", "-W", "error", "-c", START + textwrap.dedent(code)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_model_paths_need_nothing(python: str, tmp_path: Path) -> None:
    (tmp_path / "azureml-models" / "mnist" / "2" / "models").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "azureml-models" / "mnist" / "2" / "models" / name).touch()
    code = """
        from azureml.core import Model
        from azureml.core.model import Model as Same
        from azureml.exceptions import ModelNotFoundException, WebserviceException
        from azureml_user.parallel_run import EntryScript
        assert Model is Same and EntryScript().agent_name == "agent000"
        print(Model.get_model_path("mnist"), Model.get_model_path(model_name="mnist", version=2))
        for arguments in (("other",), ("mnist", "2")):
            try:
                Model.get_model_path(*arguments)
            except ModelNotFoundException as error:
                print(error.message)
            except WebserviceException as error:
                print(type(error).__name__, error.message)
    """
    path = tmp_path / "azureml-models" / "mnist" / "2" / "models"
    lines = run(python, code, tmp_path).splitlines()
    assert lines[0] == f"{path} {path}"
    assert lines[1].startswith(f"Model other not found in cache at {tmp_path}/azureml-models or in current working directory {tmp_path}. ")
    assert lines[2] == "WebserviceException version should be an int"


def test_the_run_of_a_script(python: str, tmp_path: Path) -> None:
    code = """
        from azureml.core import Run
        from azureml.core.run import Run as Same
        from azureml.exceptions import AzureMLException
        assert Run is Same
        run = Run.get_context()
        run.log("loss", 0.5)
        run.log_list("losses", (1, 2))
        run.log_row("row", x=1)
        print(run.id.split("_")[0], repr(run.experiment.name))
        try:
            Run.get_context(allow_offline=False)
        except AzureMLException as error:
            print(error.message)
    """
    outside = run(python, code, tmp_path).splitlines()
    assert outside[:4] == ["Attempted to log scalar metric loss:", "0.5", "Attempted to log list metric losses:", "[1, 2]"]
    assert outside[4:7] == ["Attempted to log row metric row:", "{'x': 1}", "OfflineRun ''"]
    assert outside[7].startswith("This process belongs to no run")
    inside = run(python, code, tmp_path, AZUREML_RUN_ID="run-7", AZUREML_ARM_PROJECT_NAME="digits").splitlines()
    assert inside[6:] == ["run-7 'digits'"]


def test_other_names_can_be_imported_and_say_what_is_missing_when_they_are_used(python: str, tmp_path: Path) -> None:
    code = """
        from azureml.core import ComputeTarget, CondaDependencies, Dataset, Datastore, Environment, Model, Workspace
        from azureml.core.dataset import Dataset as Same
        from azureml.core.datastore import Datastore
        from azureml.core.workspace import Workspace
        assert Dataset is Same
        for use in (
            lambda: Dataset.get_by_name(None, "x"),
            lambda: Workspace.from_config(),
            lambda: Model.register(None, "x", "y"),
            lambda: Model(None, "x"),
            lambda: isinstance(3, Datastore) and [][0],
        ):
            try:
                use()
            except ImportError as error:
                print(error)
            except Exception as error:
                print(type(error).__name__)
        try:
            from azureml.core import Nothing
        except ImportError as error:
            print("ImportError", "Nothing" in str(error))
        import azureml.core
        print("Model" in dir(azureml.core), hasattr(azureml.core, "nothing"))
    """
    lines = run(python, code, tmp_path).splitlines()
    assert lines[-2:] == ["ImportError True", "True False"]
    said = [line for line in lines if "cannot be used in this environment: " in line]
    assert said, lines
    for line in said:
        assert "Model.get_model_path and EntryScript work in every environment" in line
        assert "--environments current" in line


def test_what_is_installed_under_the_name_is_found_behind(tmp_path: Path) -> None:
    """Both kinds of neighbours: a namespace package, as azureml-compat is one, and a package with a module in its core."""
    (tmp_path / "site" / "azureml" / "widgets").mkdir(parents=True)
    (tmp_path / "site" / "azureml" / "widgets" / "__init__.py").write_text("RunDetails = 1")
    (tmp_path / "site" / "azureml" / "core").mkdir()
    (tmp_path / "site" / "azureml" / "core" / "__init__.py").write_text("raise ImportError('not this one')")
    (tmp_path / "site" / "azureml" / "core" / "runconfig.py").write_text("DEFAULT_CPU_IMAGE = 'image'")
    code = f"""
        sys.path.append({str(tmp_path / "site")!r})
        from azureml.widgets import RunDetails
        from azureml.core.runconfig import DEFAULT_CPU_IMAGE
        from azureml.core import Model
        print(RunDetails, DEFAULT_CPU_IMAGE, Model.__module__)
    """
    assert run(sys.executable, code, tmp_path) == "1 image azureml.core.model\n"


def test_where_everything_is_installed_the_names_are_the_classes_they_stand_for(tmp_path: Path) -> None:
    code = START + textwrap.dedent("""
        from azureml.core import Dataset, Environment, Model, Workspace
        ws = Workspace.create("team", show_output=False)
        open("m.txt", "w").write("content")
        model = Model.register(ws, "m.txt", "m")
        assert isinstance(model, Model) and isinstance(ws, Workspace) and not isinstance(ws, Model)
        assert Model(ws, "m").version == 1 and Model.Framework.ONNX == "Onnx"
        assert Model.get_model_path("m", _workspace=ws).endswith("azureml-models/m/1/m.txt")
        assert Environment("e").name == "e"
        import azureml.core, importlib
        for name, home in azureml.core._HOMES.items():
            assert isinstance(getattr(importlib.import_module(home), name), type)
            assert getattr(azureml.core, name).home == home
        assert azureml.core.VERSION == azureml.core.__version__ == "1.61.0"
        print(type(model).__module__, Dataset.File is not None)
    """)
    environment = {**os.environ, "BATCHMILL_HOME": str(tmp_path / "home")}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "batchmill.workspace.model True"
