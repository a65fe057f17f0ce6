"""What scripts of steps ask, answered by a runner of the suite: real processes, with Batchmill in their environment and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchmill.pipeline.step_questions_server import StepQuestions
from batchmill.worker.step_script import command_of
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.model import Model
from batchmill.workspace.registered_run import PIPELINE_RUN, STEP_RUN
from batchmill.workspace.run_answers import BOUND, RunAnswers
from batchmill.workspace.workspace import Workspace
from tests.interpreters import VERSIONS, interpreter
from tests.used_secrets import ACCOUNT_KEY, MARK

STEP = "3f0c5d7e-step"


@pytest.fixture
def step(ws: Workspace) -> str:
    """A step run below the run of a pipeline."""
    ws.registry.add_run("parent", kind=PIPELINE_RUN, name="scoring", experiment="digits")
    ws.registry.add_run(STEP, kind=STEP_RUN, name="train", experiment="digits", parent="parent", tags={"team": "a"}, properties={"p": "1"})
    return STEP


@pytest.fixture(params=VERSIONS)
def bare(request: pytest.FixtureRequest) -> str:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"NOT TESTED under Python {request.param}: there is none on this machine")
    return found


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner has the key of the team, which no script is given: scripts read nothing by themselves."""
    from cryptography.fernet import Fernet

    monkeypatch.setenv("BATCHMILL_SECRET_KEY", Fernet.generate_key().decode())


def run(answers: Any, code: str, python: str = sys.executable, **variables: str) -> str:
    """What a script prints that is run as a step of this process."""
    Path("step").mkdir(exist_ok=True)
    Path("step/s.py").write_text(textwrap.dedent(code), encoding="utf-8")
    with StepQuestions(getattr(answers, "answer", answers)) as asked:
        words, _ = command_of(python, "s.py", [])
        kept = {name: value for name, value in os.environ.items() if name != "BATCHMILL_SECRET_KEY"}
        environment = {**kept, "PYTHONWARNINGS": "error", **asked.variables, **variables}
        done = subprocess.run(words, cwd="step", env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_run_of_a_step_in_any_python(ws: Workspace, step: str, bare: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    inputs = {"images": {"mode": "mount", "path": "/data/images", "dataset": None}}
    code = f"""
        from azureml.core import Dataset, Datastore, Environment, Experiment, Model, Run, Workspace
        from azureml.core.run import Run as Same
        run = Run.get_context(allow_offline=False)
        assert isinstance(run, Run) and Run is Same
        print(run.id, run.name, run.type, run.get_status(), run.experiment.name, run.parent.id, run.input_datasets, run.output_datasets)
        run.log("loss", 0.5)
        run.log("loss", 0.25)
        run.log("nan", float("nan"))
        run.log_list("all", (1, 2, 3))
        run.log_row("row", x=1, y="a")
        run.log_row("row", x=2, y="b")
        run.log_table("table", {{"a": [1, 2]}})
        run.parent.log("of parent", 1)
        print(run.get_metrics("loss"), run.get_metrics()["row"], run.parent.get_metrics())
        run.tag("a"); run.set_tags({{"b": 2}}); run.add_properties({{"q": 5}})
        print(run.get_tags(), run.remove_tags("a"), run.properties)
        try:
            run.add_properties({{"p": 2}})
        except Exception as error:
            print(type(error).__name__, error.message)
        print(run.upload_file("outputs/x.txt", {str(tmp_path / "x.txt")!r}))
        run.flush(); run.complete()
        model = run.register_model("m", model_path="outputs/x.txt", tags={{"k": "v"}})
        print(model.name, model.version, model.tags, open(Model.get_model_path("m")).read())
        print(run)
    """
    with RunAnswers(ws, step, inputs, {"out": "/data/out"}, folder=tmp_path / "asked") as answers:
        lines = run(answers, code, bare, PYTHONNOUSERSITE="1").splitlines()
        assert answers.failure is None
    assert lines == [
        f"{STEP} train azureml.StepRun Queued digits parent {{'images': '/data/images'}} {{'out': '/data/out'}}",
        "{'loss': [0.5, 0.25]} {'x': [1, 2], 'y': ['a', 'b']} {'of parent': 1}",
        "{'team': 'a', 'a': '', 'b': '2'} {'team': 'a', 'b': '2'} {'p': '1', 'q': '5'}",
        f"UserErrorException Property p of run {STEP} is '1': properties cannot be changed.",
        "['outputs/x.txt']",
        "m 1 {'k': 'v'} x",
        "Run(Experiment: digits,",
        f"Id: {STEP},",
        "Type: azureml.StepRun,",
        "Status: Queued)",
    ]
    assert [(one.name, one.kind) for one in ws.registry.metrics(STEP)][:4] == [
        ("loss", "value"),
        ("loss", "value"),
        ("nan", "value"),
        ("all", "list"),
    ]
    assert Model(ws, "m").run_id == STEP
    assert [file.name for file in ws.get_default_datastore().files(f"azureml/ExperimentRun/dcid.{STEP}/")]  # type: ignore[attr-defined]


def test_files_of_a_dataset_in_any_python(ws: Workspace, step: str, bare: str, tmp_path: Path) -> None:
    for name in ("a.txt", "deep/b.txt"):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    Dataset.File.from_files(str(tmp_path / "files")).register(ws, "texts")
    code = """
        import os
        from azureml.core import Dataset, Run
        ws = Run.get_context().experiment.workspace
        files = Dataset.get_by_name(ws, "texts")
        print(ws.name, files.name, files.version, files.to_path(), files.take(1).to_path(), files.take(1).id)
        print([os.path.relpath(path) for path in files.download("here")], open("here/deep/b.txt").read())
        with files.mount() as mounted:
            print(sorted(os.listdir(mounted.mount_point)), open(os.path.join(mounted.mount_point, "a.txt")).read())
            kept = mounted.mount_point
        print(os.path.exists(kept), Dataset.get_by_id(ws, files.id).name, "texts" in ws.datasets, "other" in ws.datasets)
        left = files.mount("left")
        left.start()
        for use in (lambda: files.download("here"), lambda: Dataset.get_by_name(ws, "text"), lambda: Dataset.get_by_name(ws, "texts", 2)):
            try:
                use()
            except Exception as error:
                print(type(error).__name__, error.message[:60])
    """
    with RunAnswers(ws, step, folder=tmp_path / "asked") as answers:
        lines = run(answers, code, bare).splitlines()
        assert Path("step/left/a.txt").read_text() == "a.txt"
    assert not Path("step/left").exists()
    assert lines[0] == "team texts 1 ['/a.txt', '/deep/b.txt'] ['/a.txt'] None"
    assert lines[1:4] == ["['here/a.txt', 'here/deep/b.txt'] deep/b.txt", "['a.txt', 'deep'] a.txt", "False texts True False"]
    assert lines[4].startswith('UserErrorException File "')
    assert [line.split()[0] for line in lines[5:]] == ["UserErrorException"] * 2


FRAME = pd.DataFrame(
    {
        "n": [1, 2, 3],
        "x": [0.1 + 0.2, None, 3.0],
        "ok": [True, False, True],
        "text": ["zwölf", None, ""],
        "at": pd.to_datetime(pd.Series(["2019-01-01T10:00:00.123456", None, "2020-02-02T00:00:00.000000"])),
    }
)


@pytest.mark.parametrize("hidden", [(), ("pyarrow",)])
def test_rows_of_a_dataset_without_batchmill(ws: Workspace, step: str, keyed: None, hidden: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    FRAME.to_parquet(path)
    data = Dataset.Tabular.from_parquet_files(str(path)).register(ws, "rows")
    code = f"""
        import sys
        for name in {hidden!r}:
            sys.modules[name] = None
        from azureml.core import Dataset, Run
        run = Run.get_context()
        rows = run.input_datasets["rows"]
        assert "sqlalchemy" not in sys.modules, "the script opened the workspace"
        print(type(rows).__name__, rows.name, rows.version)
        rows.to_pandas_dataframe().to_pickle("whole.pickle")
        rows.take(2).drop_columns("x").to_pandas_dataframe().to_pickle("part.pickle")
        try:
            rows.register
        except AttributeError as error:
            print(error)
    """
    inputs: Mapping[str, Mapping[str, Any]] = {"rows": {"mode": "direct", "path": None, "dataset": data.id}}
    with RunAnswers(ws, step, inputs, folder=tmp_path / "asked") as answers:
        out = run(answers, code)
        assert {file.suffix for file in (tmp_path / "asked" / "tables").iterdir()} == {".json" if hidden else ".parquet"}
    assert list((tmp_path / "asked" / "tables").iterdir()) == []
    assert out.startswith("ScriptTabularDataset rows 1\n")
    assert "azureml-core" in out
    whole = data.to_pandas_dataframe()
    for file, expected in (("whole", whole), ("part", data.take(2).drop_columns("x").to_pandas_dataframe())):
        frame = pd.read_pickle(f"step/{file}.pickle")
        assert list(map(str, frame.dtypes)) == list(map(str, expected.dtypes))
        pd.testing.assert_frame_equal(frame, expected, check_dtype=False, check_column_type=False)


def test_where_batchmill_is_installed_scripts_get_the_full_classes(ws: Workspace, step: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    data = Dataset.Tabular.from_delimited_files(str(tmp_path / "t.csv")).register(ws, "rows")
    code = """
        from azureml.core import Dataset, Experiment, Run, Workspace
        run = Run.get_context()
        ws = run.experiment.workspace
        assert isinstance(ws, Workspace)
        rows = run.input_datasets["rows"]
        print(type(rows).__module__, rows.filter(rows["a"] > 1).to_pandas_dataframe().values.tolist())
        print(type(Dataset.get_by_name(ws, "rows")).__module__, Run.get(ws, "parent").id, run.parent.id)
    """
    inputs: Mapping[str, Mapping[str, Any]] = {"rows": {"mode": "direct", "path": None, "dataset": data.id}}
    with RunAnswers(ws, step, inputs, folder=tmp_path / "asked") as answers:
        lines = run(answers, code).splitlines()
    assert lines == ["batchmill.workspace.tabular_dataset [[3, 4]]", "batchmill.workspace.tabular_dataset parent parent"]


def test_the_first_answer_about_a_name_holds_for_the_step(ws: Workspace, step: str, keyed: None, tmp_path: Path) -> None:
    Path("m.txt").write_text("one")
    Model.register(ws, "m.txt", "m")
    data = Dataset.File.from_files("m.txt")
    data.register(ws, "d")
    code = """
        from azureml.core import Dataset, Model, Run
        print(open(Model.get_model_path("m")).read(), Dataset.get_by_name(None, "d").version)
    """
    with RunAnswers(ws, step, folder=tmp_path / "asked") as answers:
        assert run(answers, code) == "one 1\n"
    Path("m.txt").write_text("two")
    Model.register(ws, "m.txt", "m")
    Path("n.txt").write_text("two")
    Dataset.File.from_files("n.txt").register(ws, "d", create_new_version=True)
    with RunAnswers(ws, step, folder=tmp_path / "asked") as again:
        assert run(again, code) == "one 1\n"
        assert again.bound["models"]["m"]["version"] == again.bound["datasets"]["d"]["version"] == 1
    known = ws.registry.run(step)
    assert known is not None
    assert known.details[BOUND]["models"]["m"]["version"] == 1


def test_a_script_that_says_that_it_has_failed(ws: Workspace, step: str, tmp_path: Path) -> None:
    with RunAnswers(ws, step, folder=tmp_path / "asked") as answers:
        run(answers, "from azureml.core import Run\nRun.get_context().fail('no data today', 'E7')")
        assert answers.failure == "E7: no data today"


def test_threads_and_processes_of_a_script_ask_at_once(ws: Workspace, step: str, bare: str, tmp_path: Path) -> None:
    code = """
        import os, subprocess, sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from azureml.core import Run
        run = Run.get_context()
        together = threading.Barrier(20)
        def log(n):
            together.wait(60)
            run.log("thread", n)
            return run.get_tags()["team"]
        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(log, range(20))) == ["a"] * 20
        child = os.fork()
        if child == 0:
            run.log("fork", 1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        import multiprocessing
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(exec, ("from azureml.core import Run; Run.get_context().log('spawned', 1)", {}))
    """
    spawned = textwrap.dedent(code).split("import multiprocessing\n")
    whole = "import sys\nif __name__ == '__main__':\n" + textwrap.indent(spawned[0] + "import multiprocessing\n" + spawned[1], "    ")
    with RunAnswers(ws, step, folder=tmp_path / "asked") as answers:
        run(answers, whole, bare)
    logged = [(one.name, one.value) for one in ws.registry.metrics(STEP)]
    assert sorted(logged) == sorted([("fork", 1), ("spawned", 1), *(("thread", n) for n in range(20))])


def test_a_runner_that_is_gone(bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a question waits, and before one is asked."""
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(
        textwrap.dedent("""
        from azureml.core import Run
        for _ in range(2):
            try:
                Run.get_context().log("x", 1)
            except Exception as error:
                print(type(error).__name__, error.message)
        """)
    )
    came = threading.Event()
    ended = threading.Event()

    def wait(question: dict[str, Any]) -> dict[str, Any]:
        came.set()
        ended.wait(60)
        return {}

    with StepQuestions(wait) as asked:
        words, variables = command_of(bare, "s.py", [], questions=asked.path)
        environment = {"PATH": os.environ["PATH"], **variables}
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        assert came.wait(60)
    out, _ = process.communicate(timeout=60)
    ended.set()
    lines = out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("AzureMLException The runner of this step's pipeline cannot be asked at ") for line in lines)
    assert not Path(asked.path).parent.exists()


def test_the_socket_is_private_and_its_path_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with StepQuestions(lambda question: question) as asked:
        assert len(asked.path) < 100
        assert Path(asked.path).parent.stat().st_mode & 0o777 == 0o700


def test_questions_that_are_none(tmp_path: Path) -> None:
    import socket

    def ask(text: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(asked.path)
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

    with StepQuestions(lambda question: {"object": object()} if question["kind"] == "odd" else {"is": 1}) as asked:
        assert json.loads(ask(b'{"kind": "x"}\n')) == {"is": 1}
        assert json.loads(ask(b"nonsense\n"))["error"]["class"] == "UsageError"
        assert json.loads(ask(b"[1]\n"))["error"]["class"] == "UsageError"
        assert json.loads(ask(b'{"kind": "odd"}\n'))["error"]["class"] == "TypeError"
        assert ask(b'{"kind": "cut') == b""


def test_scripts_are_told_no_secret(ws: Workspace, step: str, tmp_path: Path) -> None:
    from batchmill.workspace.datastore import Datastore

    store = Datastore.register_azure_blob_container(
        ws, "photos", "photos", "teamphotos", account_key=ACCOUNT_KEY, endpoint="core.windows.net", skip_validation=True
    )
    Dataset.File.from_files((store, "a"), validate=False).register(ws, "mine")
    questions: list[dict[str, Any]] = [{"kind": "run"}, {"kind": "datasets"}, {"kind": "dataset", "name": "mine", "version": None}]
    with RunAnswers(ws, step, {"i": {"mode": "mount", "path": "/x", "dataset": None}}, folder=tmp_path / "asked") as answers:
        said = [json.dumps(answers.answer(question)) for question in questions]
    known = ws.registry.run(step)
    assert known is not None
    said.append(json.dumps(known.details))
    for text in said:
        assert MARK not in text
        assert "sig=" not in text
        assert ACCOUNT_KEY not in text
