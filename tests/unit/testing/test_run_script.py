from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from batchmill import EntryScript
from batchmill.errors import EntryScriptError, InputError, SettingError
from batchmill.testing import run_script
from batchmill.workspace.exceptions import ModelNotFoundException

SIZES = """
import os
def run(mini_batch):
    return [f"{os.path.basename(path)}: {os.path.getsize(path)}" for path in mini_batch]
"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [folder / f"{name}.txt" for name in "abc"]
    for size, path in enumerate(paths):
        path.write_bytes(b"x" * size)
    return paths


def script(folder: Path, text: str, name: str = "score.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_files(tmp_path: Path, files: list[Path]) -> None:
    result = run_script(script(tmp_path, SIZES), files)
    assert result.rows == ["a.txt: 0", "b.txt: 1", "c.txt: 2"]
    assert result.output == b"a.txt: 0\nb.txt: 1\nc.txt: 2\n"
    assert result.results == (result.rows,)
    assert result.counts.items.succeeded == 3
    assert result.counts.items.failed == 0
    assert result.problems == ()


def test_mini_batch_size(tmp_path: Path, files: list[Path]) -> None:
    result = run_script(script(tmp_path, "def run(batch): return [len(batch)] * len(batch)"), files, mini_batch_size=2)
    assert result.rows == ["2", "2", "1"]
    assert result.counts.mini_batches.succeeded == 2


def test_inputs_are_planned_as_for_a_run(tmp_path: Path, files: list[Path]) -> None:
    assert run_script(script(tmp_path, SIZES), inputs=str(files[0].parent), mini_batch_size=2).counts.mini_batches.total == 2
    (tmp_path / "table.csv").write_text("n,word\n1,x\n2,y\n")
    text = "def run(frame): return frame[['word', 'n']]"
    result = run_script(script(tmp_path, text), inputs=tmp_path / "table.csv", append_row_dataframe_header=True)
    assert result.rows == ["word n", "x 1", "y 2"]


def test_data_frame_is_handed_over_as_a_copy(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3]}, index=[7, 8, 9])
    text = "def run(frame):\n    frame['n'] *= 10\n    return [f'{i} {n}' for i, n in frame['n'].items()]"
    assert run_script(script(tmp_path, text), frame, mini_batch_size="2rows").rows == ["0 10", "1 20", "0 30"]
    assert list(frame["n"]) == [1, 2, 3]


def test_the_script_finds_what_a_worker_would_give_it(tmp_path: Path, files: list[Path]) -> None:
    script(tmp_path, "FACTOR = 3", "sibling_of_score.py")
    text = """
import os, sys
from batchmill import EntryScript
from azureml_user.parallel_run import EntryScript as Same
import sibling_of_score
calls = []
def init(): calls.append("init")
def run(batch, context):
    assert EntryScript() is Same()
    entry = EntryScript()
    entry.logger.info("hello")
    open(os.path.join(entry.output_dir, "made.txt"), "w").close()
    assert os.getcwd() == entry.working_dir
    return [(sys.argv[1:], context.minibatch_index, context.partition_key_value, os.environ["COLOUR"], sibling_of_score.FACTOR, calls)]
def shutdown(): print("down")
"""
    result = run_script(
        script(tmp_path, text),
        files[:1],
        arguments=["--model", 5],
        keys={"user": "eve"},
        environment_variables={"COLOUR": "red"},
        folder=tmp_path / "room",
    )
    assert result.results[0] == [(["--model", "5"], "0", {"user": "eve"}, "red", 3, ["init"])]
    assert (tmp_path / "room" / "output" / "made.txt").exists()
    assert "hello" in (tmp_path / "room" / "logs" / "process000.log.txt").read_text()


def test_everything_is_put_back(tmp_path: Path, files: list[Path]) -> None:
    script(tmp_path, "VALUE = 1", "neighbour_a.py")
    text = "import os, neighbour_a\nos.environ['LEFT'] = '1'\ndef init(): os.chdir('/')\ndef run(batch): return [neighbour_a.VALUE]"
    before = (os.getcwd(), list(sys.argv), list(sys.path), dict(os.environ), dict(vars(EntryScript())))
    assert run_script(script(tmp_path, text), files[:1]).rows == ["1"]
    assert (os.getcwd(), sys.argv, sys.path, dict(os.environ)) == before[:4]
    assert EntryScript().agent_name == before[4]["agent_name"] == "agent000"
    assert logging.getLogger("batchmill.entry_script").handlers == []
    assert not (tmp_path / "__pycache__").exists()
    script(tmp_path, "VALUE = 2", "neighbour_a.py")
    assert run_script(tmp_path / "score.py", files[:1]).rows == ["2"]


def test_short_results_and_unencodable_rows_are_counted(tmp_path: Path, files: list[Path]) -> None:
    result = run_script(script(tmp_path, "def run(batch): return ['a', '\\udc80']"), files)
    assert result.counts.items.failed == 2
    assert result.counts.mini_batches.failed == 1
    assert result.rows == ["a"]
    assert len(result.problems) == 2


def test_what_the_script_raises_passes_through(tmp_path: Path, files: list[Path]) -> None:
    path = script(tmp_path, "def run(batch): raise KeyError('x')\ndef shutdown(): print('down')")
    with pytest.raises(KeyError):
        run_script(path, files)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({}, InputError, "either items or inputs"),
        ({"items": []}, InputError, "no items"),
        ({"items": ["missing.png"]}, InputError, "'missing.png' does not exist"),
        ({"items": "a.png"}, InputError, "not a list of paths"),
        ({"items": ["x"], "colour": 1}, SettingError, "no setting 'colour'"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: dict[str, object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        run_script(script(tmp_path, SIZES), **arguments)  # type: ignore[arg-type]


def test_missing_script(tmp_path: Path) -> None:
    with pytest.raises(EntryScriptError, match="does not exist"):
        run_script(tmp_path / "none.py", ["x"])


MODEL = """
import os, pathlib
from azureml.core.model import Model
def init():
    global path
    path = Model.get_model_path("digits")
def run(mini_batch):
    return [f"{pathlib.Path(path).read_text()} {os.path.relpath(path, os.getcwd())}" for item in mini_batch]
"""


@pytest.mark.parametrize("kept", [True, False])
def test_models(tmp_path: Path, files: list[Path], kept: bool) -> None:
    """Each test gets its own, also where the working folder stays."""
    room = tmp_path / "room" if kept else None
    for number in (1, 2):
        model = tmp_path / f"made{number}" / "weights.txt"
        model.parent.mkdir()
        model.write_text(f"w{number}")
        result = run_script(script(tmp_path, MODEL), files[:1], models={"digits": model}, folder=room)
        assert result.rows == [f"w{number} azureml-models/digits/1/weights.txt"]
    folder = run_script(script(tmp_path, MODEL), files[:1], models={"digits": tmp_path / "made2"})
    assert folder.rows == ["w2 azureml-models/digits/1/made2/weights.txt"]


def test_models_that_are_not_there(tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(ModelNotFoundException, match=r"Model/Version digits/None not found in workspace\. In a test, models="):
        run_script(script(tmp_path, MODEL), files, models={"other": files[0]})
    with pytest.raises(ModelNotFoundException, match="Model digits not found in cache at"):
        run_script(script(tmp_path, MODEL), files)
    with pytest.raises(FileNotFoundError):
        run_script(script(tmp_path, MODEL), files, models={"digits": tmp_path / "nothing"})
    with pytest.raises(SettingError, match="In a test, models is"):
        run_script(script(tmp_path, MODEL), files, models=["digits"])  # type: ignore[arg-type]
