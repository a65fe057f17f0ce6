"""Scripts of pipelines that do what scripts do in the field, and outages around the runner: each step ends in a named outcome."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import RegistryError
from batchmill.pipeline import step_execution
from batchmill.pipeline.graph import DatasetSource, InputPort, Node, OutputPort
from batchmill.pipeline.runner import carry_out_run
from batchmill.workspace import environment_preparation
from batchmill.workspace.database import close_databases
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.file_dataset import FileDataset
from batchmill.workspace.workspace import Workspace
from tests.pipeline_runs import (
    added,
    end_runners,
    ended,
    kill_runner,
    known,
    log,
    node,
    processes_with,
    std_log,
    steps,
    submitted,
    until,
)
from tests.postgres import PostgresServer, postgres_server
from tests.stores import StoreMissing

TOUCHES = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(300)"
WAITS = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
deadline = time.monotonic() + 60
while not pathlib.Path(sys.argv[2]).exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    found = Workspace.create("team", show_output=False)
    yield found
    end_runners(found)


ENDS = {
    "binary": (
        "import os; os.write(2, b'bad \\x00\\xff\\x1b[1m end'); os._exit(1)",
        "ended with exit code 1: bad \ufffd\ufffd\ufffd[1m end",
    ),
    "long": ("import os; os.write(1, b'x' * 100_000); os._exit(1)", f"ended with exit code 1: ...{'x' * 1000}"),
    "signal": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV."),
    "reads": ("input()", "ended with exit code 1: EOFError: EOF when reading a line"),
    "windows": ("import sys\r\nif True:\r\n    sys.exit('there')\r\n", "ended with exit code 1: there"),
    "secret": (
        "import sys; sys.exit('cannot open https://me:hush@host/a?sv=1&sig=hush')",
        "ended with exit code 1: cannot open https://***@host/a?sv=1&sig=***",
    ),
    "bytes": ("import sys; sys.exit('no text: \\udcff')", "ended with exit code 1: no text: \\udcff"),
}


def test_how_scripts_end_is_told_on_both_databases(database: str, tmp_path: Path) -> None:
    ws = Workspace.create("default", show_output=False)
    nodes = [node(ws, tmp_path, name, text) for name, (text, _) in ENDS.items()]
    nodes.append(node(ws, tmp_path, "shell", "", kind="command", script=None, command=("sh -c 'kill -9 $$'; exit $?",)))
    nodes.append(node(ws, tmp_path, "nul", "", ["a\0b"]))
    nodes.append(node(ws, tmp_path, "much", "", ["x" * 200_000]))
    nodes.append(node(ws, tmp_path, "gone", "", script="gone.py"))
    run = ended(ws, submitted(ws, nodes, continue_on_step_failure=True).id)
    found = {name: step.error for name, step in steps(ws, run.id).items()}
    assert {name: found[name] for name in ENDS} == {name: f"The script script.py {text}" for name, (_, text) in ENDS.items()}
    assert found["shell"] == "The command ended with exit code 137 (SIGKILL): Killed"
    assert str(found["nul"]).endswith("cannot be started: embedded null byte.")
    assert re.search(r"cannot be started: Argument list too long: 2\d{5} characters of arguments and .* Give it a file", str(found["much"]))
    assert "can't open file" in str(found["gone"])


def test_errors_that_no_database_takes_as_they_are(database: str) -> None:
    registry = Workspace.create("default", show_output=False).registry
    registry.add_run("r", kind="azureml.PipelineRun", name="r")
    run = registry.change_run("r", status="Failed", error="a\0b \udcff c")
    assert run is not None
    assert run.error == "a\ufffdb \\udcff c"


def test_a_guardian_that_is_killed_is_replaced(ws: Workspace, tmp_path: Path) -> None:
    first = node(ws, tmp_path, "first", WAITS, [str(tmp_path / "one"), str(tmp_path / "go")])
    second = node(ws, tmp_path, "second", TOUCHES, [str(tmp_path / "two")], after=(first.id,))
    run = submitted(ws, [first, second])
    until((tmp_path / "one").exists, "the first runs")
    holder = known(ws, run.id).holder
    assert holder is not None
    (guardian,) = [pid for pid in _children(holder.pid) if b"script_guardian" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(guardian, signal.SIGKILL)
    until(lambda: Path(f"/proc/{guardian}/stat").read_text().split(") ")[1][0] == "Z", "the guardian is dead")
    (tmp_path / "go").touch()
    until((tmp_path / "two").exists, "the second runs")
    assert steps(ws, run.id)["first"].status == "Completed"
    mark = f"BATCHMILL_STEP={steps(ws, run.id)['second'].id}"
    (script,) = processes_with(mark)
    asked = Path(_environment(script)["BATCHMILL_STEP_QUESTIONS"]).parent
    assert asked.is_dir()
    kill_runner(ws, run.id)
    until(lambda: not processes_with(mark) and not asked.exists(), "nothing is left")


def _children(pid: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path("/proc", name, "stat").read_text()
        except OSError:
            continue
        found += [int(name)] if int(text.rpartition(")")[2].split()[1]) == pid else []
    return found


def _environment(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_a_step_that_cannot_say_anything_ends(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log cannot be written, nor copied, and what it calls raises what nobody expects."""

    def refuses(*_: Any, **__: Any) -> None:
        raise SystemExit("no more")

    run = added(ws, [node(ws, tmp_path, "one", "print('fine')")])
    Path(run.folder, "runner.txt").mkdir(parents=True)
    monkeypatch.setattr("batchmill.pipeline.step_logs.keep_logs", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    assert carry_out_run(ws, run.id) == "Completed"
    assert steps(ws, run.id)["one"].status == "Completed"
    again = added(ws, [node(ws, tmp_path, "one", "print('fine')")])
    monkeypatch.setattr(step_execution, "found_inputs", refuses)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    assert carry_out_run(ws, again.id) == "Failed"
    assert steps(ws, again.id)["one"].ended is not None


def test_cancel_while_an_environment_is_built(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = added(ws, [_with_environment(ws, tmp_path)])
    built = threading.Event()

    def builds(*_: Any, **__: Any) -> None:
        ws.registry.request_cancel(run.id)
        built.wait(60)

    monkeypatch.setattr(environment_preparation, "prepare_environment", builds)
    _is_canceled(ws, run.id, tmp_path)
    built.set()


def _with_environment(ws: Workspace, folder: Path) -> Node:
    return node(ws, folder, "one", TOUCHES, [str(folder / "begun")], environment={"name": "e"})


def _is_canceled(ws: Workspace, run_id: str, folder: Path) -> None:
    began = time.monotonic()
    assert carry_out_run(ws, run_id) == "Canceled"
    assert time.monotonic() - began < 30
    assert steps(ws, run_id)["one"].status == "Canceled"
    assert not (folder / "begun").exists()


def test_cancel_while_inputs_are_downloaded(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ws.folder / "workspaceblobstore" / "data").mkdir()
    (ws.folder / "workspaceblobstore" / "data" / "a").touch()
    files = Dataset.File.from_files((ws.get_default_datastore(), "data")).definition.to_dict()
    port = InputPort("copied", DatasetSource("file", files), "download")
    run = added(ws, [node(ws, tmp_path, "one", TOUCHES, [str(tmp_path / "begun")], inputs=(port,))])
    arrived = threading.Event()

    def downloads(*_: Any, **__: Any) -> list[str]:
        ws.registry.request_cancel(run.id)
        arrived.wait(60)
        return []

    monkeypatch.setattr(FileDataset, "download", downloads)
    _is_canceled(ws, run.id, tmp_path)
    arrived.set()


def test_a_runner_keeps_nothing_of_the_steps_that_have_ended(ws: Workspace, tmp_path: Path) -> None:
    def open_now() -> int:
        links = (Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(link) and ".sqlite" not in os.readlink(link) for link in links)  # a pool keeps those of the database

    assert carry_out_run(ws, added(ws, [node(ws, tmp_path, "one", "")]).id) == "Completed"
    descriptors, threads = open_now(), threading.active_count()
    nodes = [node(ws, tmp_path, f"step{n}", "", kind="command", script=None, command=("true",)) for n in range(24)]
    assert carry_out_run(ws, added(ws, nodes).id) == "Completed"
    until(lambda: threading.active_count() <= threads, "its threads have ended")
    assert open_now() <= descriptors


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    try:
        with postgres_server() as found:
            yield found
    except StoreMissing as missing:
        pytest.skip(f"NOT TESTED against PostgreSQL: {missing}")


def test_a_database_that_is_restarted_while_steps_run(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", server.fresh())
    ws = Workspace.create("team", show_output=False)
    counts = "import sys; print('once'); open(sys.argv[1], 'a').write('x')"
    first = node(ws, tmp_path, "first", WAITS, [str(tmp_path / "begun"), str(tmp_path / "go")])
    second = node(ws, tmp_path, "second", counts, [str(tmp_path / "count")], after=(first.id,))
    run = submitted(ws, [first, second])
    until((tmp_path / "begun").exists, "the first runs")
    server.process.send_signal(signal.SIGINT)
    server.process.wait(30)
    (tmp_path / "go").touch()
    time.sleep(1.0)  # the runner meets a database that is away
    as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    again = subprocess.Popen(server.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)
    try:
        assert _ended_through_outages(ws, run.id) == "Completed", log(ws, run.id)
        assert (tmp_path / "count").read_text() == "x"
        assert {step.status for step in steps(ws, run.id).values()} == {"Completed"}
        assert std_log(steps(ws, run.id)["second"]) == "once\n"
        end_runners(ws)
    finally:
        close_databases()
        again.send_signal(signal.SIGINT)
        again.wait(30)


def _ended_through_outages(ws: Workspace, run_id: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        try:
            return ended(ws, run_id).status
        except RegistryError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_database_that_is_away_for_a_moment(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of a step asks it, the step goes on, and its script runs once."""
    asked: list[str] = []
    for module, name in PLACES:
        owner = importlib.import_module(f"batchmill.pipeline.{module}")
        monkeypatch.setattr(owner, name, _away_once(getattr(owner, name), name, asked))
    text = "import sys; open(sys.argv[1], 'a').write('x')"
    out = OutputPort("out", "workspaceblobstore", exists=True, register={"name": "made"})
    run = added(ws, [node(ws, tmp_path, "one", text, [str(tmp_path / "count")], outputs=(out,), allow_reuse=True)])
    assert carry_out_run(ws, run.id) == "Completed", log(ws, run.id)
    assert sorted(asked) == sorted(name for _, name in PLACES)
    assert (tmp_path / "count").read_text() == "x"
    assert Dataset.get_by_name(ws, "made").version == 1


PLACES = [
    ("step_execution", "found_inputs"),
    ("step_execution", "bound_inputs"),
    ("step_execution", "bound_outputs"),
    ("carry_script", "step_variables"),
    ("step_outputs", "register"),
    ("reuse", "decide"),
    ("reuse", "made_by"),
]


def _away_once(original: Callable[..., Any], name: str, asked: list[str]) -> Callable[..., Any]:
    def away(*args: Any, **kwargs: Any) -> Any:
        if name not in asked:
            asked.append(name)
            raise RegistryError("The registry is away.")
        return original(*args, **kwargs)

    return away


FILLS = """
import pathlib, sys
file = open("filling", "wb", buffering=0)
try:
    while True:
        file.write(b"x" * 10_000)
except OSError:
    pathlib.Path(sys.argv[1]).touch()
"""


def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, full = tmp_path / "home", tmp_path / "full"
    home.mkdir()
    made = shutil.which("mount") and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(home)], capture_output=True)
    if not made or made.returncode:
        pytest.skip("NOT TESTED: no tmpfs can be mounted here (root is needed)")
    monkeypatch.setenv("BATCHMILL_HOME", str(home))
    try:
        ws = Workspace.create("team", show_output=False)
        run = submitted(ws, [node(ws, tmp_path, "fills", FILLS, [str(full)])])
        until(full.exists, "the disk is full")
        time.sleep(1.0)  # the runner meets it
        assert known(ws, run.id).live_status == "Running"
        subprocess.run(["mount", "-o", "remount,size=16m", str(home)], check=True)
        assert (ended(ws, run.id).status, steps(ws, run.id)["fills"].error) == ("Completed", None)
    finally:
        end_runners(ws)
        close_databases()
        subprocess.run(["umount", "-l", str(home)], check=True)


NESTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.pipeline_runs import node, submitted
from batchmill.workspace.workspace import Workspace
ws = Workspace.get("team")
print(submitted(ws, [node(ws, Path(sys.argv[2]), "inner", "import os; print(os.environ['AZUREML_ROOT_RUN_ID'])")]).id)
"""


def test_a_run_that_the_script_of_a_step_submits(ws: Workspace, tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    outer = ended(ws, submitted(ws, [node(ws, tmp_path, "outer", NESTED, [root, str(tmp_path / "inner")])]).id)
    assert outer.status == "Completed", log(ws, outer.id)
    inner = std_log(steps(ws, outer.id)["outer"]).strip()
    assert ended(ws, inner).status == "Completed"
    assert std_log(steps(ws, inner)["inner"]) == f"{inner}\n"


FORKS = """
import os, shutil, sys
from pathlib import Path
from batchmill.workspace.workspace import Workspace
from tests.pipeline_runs import node, submitted
folder = Path(sys.argv[1])
ws = Workspace.get("team")
here = folder / "here"
here.mkdir()
os.chdir(here)
one = node(ws, here, "one", "print('done')")
shutil.rmtree(here)
for _ in range(2):
    if os.fork() == 0:
        print(submitted(ws, [one]).id, flush=True)
        os._exit(0)
    os.wait()
"""


def test_submits_of_forks_from_a_folder_that_is_gone(ws: Workspace, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    path = {"PYTHONPATH": os.pathsep.join([str(root), "."])}
    told = subprocess.run(
        [sys.executable, "-c", FORKS, str(tmp_path)], env=os.environ | path, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
    ids = told.stdout.split()
    assert len(ids) == 2, told.stderr
    assert {ended(ws, run_id).status for run_id in ids} == {"Completed"}
