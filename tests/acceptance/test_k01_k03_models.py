"""Models in the acceptance cases K01, K02 and K03: registered through the SDK's names, found by entry scripts of their kind."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.acceptance.conftest import shown
from tests.conftest import Project
from tests.table_inputs import iris_csv

DIGITS = """
import os
from azureml.core.model import Model

def init():
    global reader
    print(f"script {__file__}")
    folder = Model.get_model_path("MODEL")
    assert os.path.exists(os.path.join(folder, "mnist-tf.model.meta"))
    with open(os.path.join(folder, "mnist-tf.model.data")) as file:
        reader = int(file.read())

def run(mini_batch):
    return ["{}: {}".format(os.path.basename(image), os.path.getsize(image) % reader) for image in mini_batch]
"""
IRIS = """
import argparse
import pickle
from azureml.core import Model
from azureml_user.parallel_run import EntryScript

def init():
    global model
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_name", required=True)
    options, _ = parser.parse_known_args()
    path = Model.get_model_path(options.model_name)
    EntryScript().logger.info("model %s", path)
    with open(path, "rb") as file:
        model = pickle.load(file)

def run(input_data):
    del input_data["species"]
    input_data["variety"] = [model[length > 2.5] for length in input_data["petal_length"]]
    return input_data
"""
REGISTER = """
import os, pickle, shutil
from azureml.core import Workspace
from azureml.core.model import Model

ws = Workspace.from_config()
model = Model.register(workspace=ws, model_path="models/", model_name="NAME", description="digits", tags={"data": "mnist"})
shutil.rmtree("models")
print(model.name, model.version, model.id)
"""


def python(project: Project, code: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def digits(project: Project) -> Project:
    files = {f"models/mnist-tf.model.{part}": "10" for part in ("meta", "index", "data")}
    return project.write({**files, **{f"mnist/{number}.png": "x" * number for number in range(20)}})


@pytest.mark.parametrize("name", ["mnist", "mnist-prs"])
def test_k01_k02_a_folder_is_found_where_its_files_are(digits: Project, name: str) -> None:
    digits.write({"scripts/digit_identification.py": DIGITS.replace("MODEL", name)})
    assert python(digits, REGISTER.replace("NAME", name)) == f"Registering model {name}\n{name} 1 {name}:1\n"
    options = "--mini-batch-size 5 --error-threshold 10 --nodes 4 --quiet"
    ended = digits.batchmill("run", "scripts/digit_identification.py", "--input", "mnist", "--output", "out", *options.split())
    assert ended.returncode == 0, ended.stderr
    assert shown(digits)["counts"]["mini_batches"]["succeeded"] == 4
    rows = pd.read_csv(io.StringIO(digits.read("out/parallel_run_step.txt")), delimiter=":", header=None)
    assert rows.shape == (20, 2)
    assert dict(zip(rows[0], rows[1], strict=True)) == {f"{number}.png": number % 10 for number in range(20)}
    one = digits.batchmill("run", "scripts/digit_identification.py", "--input", "mnist/0.png", "--output", "one", "--quiet")
    assert one.returncode == 0, one.stderr
    assert digits.read("one/parallel_run_step.txt") == "0.png: 0\n"


def test_k03_a_file_is_found_as_a_file(project: Project) -> None:
    project.write({"iris.csv": iris_csv(), "step/iris_score.py": IRIS})
    python(
        project,
        "import pickle\npickle.dump({True: 'long', False: 'short'}, open('iris_model.pkl', 'wb'))\n"
        "from azureml.core import Model, Workspace\n"
        "Model.register(Workspace.from_config(), model_path='iris_model.pkl', model_name='iris-prs')",
    )
    Path(project.folder, "iris_model.pkl").unlink()
    options = "--mini-batch-size 1KB --output out --quiet -- --model_name iris-prs --other 1"
    ended = project.batchmill("run", "step/iris_score.py", "--input", "iris.csv", *options.split())
    assert ended.returncode == 0, ended.stderr
    assert shown(project)["counts"]["mini_batches"]["succeeded"] == 5
    rows = pd.read_csv(io.StringIO(project.read("out/parallel_run_step.txt")), delimiter=" ", header=None)
    assert rows.shape == (150, 5)
    assert set(rows[4]) == {"short", "long"}
    assert "model " in "".join(path.read_text() for path in (project.home / "runs").glob("*/logs/user/entry_script_log/*/*"))
