"""Reuse of mini-batches: only what changed runs, and the output is that of a full run, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.errors import SettingError
from batchmill.nodes.coordinator import Coordinator
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.reuse_note import Reused, reused
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.storage.files import open_binary
from batchmill.workspace.database import close_databases
from batchmill.workspace.model import Model
from batchmill.workspace.workspace import Workspace
from tests.integration.conftest import Bucket

SCRIPT = """
import os, sys
BAD = {bad!r}
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    with open({log!r}, "a") as file:
        file.write(" ".join(names) + "\\n")
    if BAD & set(names):
        raise ValueError("bad")
    return [name + " " + open(path).read() + " " + " ".join(sys.argv[1:]) for name, path in zip(names, mini_batch)]
"""

TABLE = """
import pandas as pd
def run(mini_batch):
    with open({log!r}, "a") as file:
        file.write("%d\\n" % len(mini_batch))
    return mini_batch.assign(double=mini_batch["x"] * 2)
"""


class Scene:
    """A folder of inputs, a script, and runs over them; ``ran`` has what the script was given since the last look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        self.inputs = folder / "in"
        self.inputs.mkdir()
        (folder / "src").mkdir()
        self.numbers = count()

    def files(self, *names: str) -> None:
        for name in names:
            (self.inputs / name).parent.mkdir(exist_ok=True, parents=True)
            (self.inputs / name).write_text(f"{name} {next(self.numbers)}")

    def script(self, text: str = SCRIPT, **values: Any) -> Path:
        path = self.folder / "src" / "score.py"
        path.write_text(text.format(**{"log": str(self.log), "bad": set(), **values}))
        return path

    def create(self, **settings: object) -> RunFolder:
        values = {
            "script": str(self.folder / "src" / "score.py"),
            "inputs": str(self.inputs),
            "mini_batch_size": 2,
            "workers": 2,
            "run_max_try": 1,
            "error_threshold": -1,
            "reuse": "mini-batch",
            "output": str(self.folder / "out"),
            **settings,
        }
        return create_run(RunSettings.parse({name: value for name, value in values.items() if value is not None}))

    def run(self, **settings: object) -> Reused | None:
        """Carry a run out; returns what it reused."""
        self.log.write_text("")
        self.last = self.create(**settings)
        coordinator = Coordinator(self.last)
        coordinator.prepare()
        assert coordinator.carry_out().status is RunStatus.COMPLETED
        return told(self.last)

    @property
    def ran(self) -> list[str]:
        return sorted(self.log.read_text().splitlines())

    @property
    def output(self) -> bytes:
        return (self.folder / "out" / "parallel_run_step.txt").read_bytes()

    def as_full(self, **settings: object) -> None:
        """What lies in the output is what a run that reuses nothing writes."""
        found = self.output
        self.run(**{**settings, "reuse": None, "output": str(self.folder / "full")})
        assert (self.folder / "full" / "parallel_run_step.txt").read_bytes() == found


def told(folder: RunFolder) -> Reused | None:
    ledger = Ledger(folder.ledger)
    try:
        return reused(ledger)
    finally:
        ledger.close()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.script()
    return made


def test_a_file_that_sorts_last_runs_one_mini_batch(scene: Scene) -> None:
    scene.files(*(f"{n:02d}" for n in range(10)))
    scene.run(reuse=None)
    first = scene.last.id
    scene.files("99")
    found = scene.run()
    assert found is not None
    assert found.mini_batches == 5
    assert found.lines == (
        f"Reused 5 of 6 mini-batches of run {first}: same script, arguments, environment.",
        "The others run: 1 new.",
    )
    assert scene.ran == ["99"]
    record = Run(scene.last).record().counts
    assert (record.items.total, record.items.succeeded, record.mini_batches.succeeded) == (11, 11, 6)
    scene.as_full()


def test_what_was_inserted_moves_and_what_was_changed_runs(scene: Scene) -> None:
    scene.files(*(f"{n:02d}" for n in range(1, 13)), "a/1", "a/2")
    scene.run(mini_batch_size=2)
    scene.files("12", "07x", "a/3")
    found = scene.run()
    assert found is not None
    assert found.mini_batches == 3
    assert found.lines[1].startswith("The others run: 3 new, 1 changed, 1 moved") or "changed" in found.lines[1]
    scene.as_full()
    assert scene.run() is not None
    assert scene.ran == []
    scene.as_full()


def test_groups_of_one_file_do_not_move(scene: Scene) -> None:
    scene.files("b", "c", "d")
    scene.run(mini_batch_size=1)
    scene.files("a")
    found = scene.run(mini_batch_size=1)
    assert found is not None
    assert found.mini_batches == 3
    assert scene.ran == ["a"]
    scene.as_full(mini_batch_size=1)


def test_what_failed_runs_again(scene: Scene) -> None:
    scene.files("a", "b", "c", "d", "e", "f")
    scene.script(bad={"c"})
    scene.run()
    found = scene.run()
    assert found is not None
    assert found.mini_batches == 2
    assert "1 with failed items at the last time" in found.lines[1]
    assert scene.ran == ["c", "c d", "d"]
    scene.as_full()


@pytest.mark.parametrize("what", ["script", "beside", "argument", "variable", "settings"])
def test_everything_runs_again_and_the_reason_is_told(scene: Scene, what: str) -> None:
    scene.files("a", "b", "c")
    (scene.folder / "src" / "labels.txt").write_text("one")
    scene.run(arguments=["--size", "1"])
    more: dict[str, Any] = {"arguments": ["--size", "1"]}
    expected = "script score.py changed"
    if what == "script":
        scene.script(bad={"z"})
    elif what == "beside":
        (scene.folder / "src" / "labels.txt").write_text("two")
        expected = "labels.txt beside the script changed"
    elif what == "argument":
        more["arguments"] = ["--size", "2"]
        expected = "argument --size: 1 -> 2"
    elif what == "variable":
        more["environment_variables"] = {"LEVEL": "2"}
        expected = "variable LEVEL changed"
    else:
        more["append_row_dataframe_header"] = True
        expected = "setting append_row_dataframe_header: False -> True"
    found = scene.run(**more)
    assert found is not None
    assert found.lines == (f"Runs all again: {expected}.",)
    assert scene.ran == ["a b", "c"]
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == 2
    scene.as_full(**more)


def test_an_older_run_with_the_same_arguments_is_found(scene: Scene) -> None:
    scene.files("a", "b", "c")
    scene.run(arguments=["1"], output=str(scene.folder / "one"))
    scene.run(arguments=["2"])
    found = scene.run(arguments=["1"])
    assert found is not None
    assert found.mini_batches == 2


@pytest.mark.parametrize("what", ["folder", "output", "changed"])
def test_what_is_gone_is_said(scene: Scene, what: str) -> None:
    scene.files("a", "b", "c")
    scene.run()
    before = scene.last
    output = scene.folder / "out" / "parallel_run_step.txt"
    if what == "folder":
        shutil.rmtree(before.path)
        expected = f"run {before.id}, which completed before, was removed"
    elif what == "output":
        output.unlink()
        expected = f"of run {before.id} its output {output} cannot be read (No such file or directory)"
    else:
        output.write_bytes(output.read_bytes()[:-3] + b"xy\n")
        expected = f"of run {before.id} its output {output} has been replaced or changed"
    found = scene.run()
    assert found is not None
    assert found.lines == (f"Runs all again: {expected}.",)
    assert scene.ran == ["a b", "c"]
    assert not list(scene.last.path.glob("parts/*"))
    scene.as_full()


def test_the_first_run_says_so(scene: Scene) -> None:
    scene.files("a")
    found = scene.run()
    assert found is not None
    assert found.lines == ("Runs all again: there is no completed run of score over these inputs yet.",)
    assert "Runs all again" in (scene.last.logs / "job_result.txt").read_text()


def test_summary_only_keeps_no_rows(scene: Scene) -> None:
    with pytest.raises(SettingError, match="a run keeps no rows that could be reused"):
        scene.create(output_action="summary_only")


def test_packages_count(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scene.files("a")
    scene.run()
    packages = tmp_path / "more-packages"
    (packages / "made_up-1.9.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(packages))
    found = scene.run()
    assert found is not None
    assert found.lines == ("Runs all again: package made_up none -> 1.9.",)


# --- names and stores -------------------------------------------------------------------------------------------------------------------

ASKS = """
import os
from azureml.core.model import Model
def run(mini_batch):
    weight = open(Model.get_model_path("churn")).read()
    with open({log!r}, "a") as file:
        file.write(" ".join(os.path.basename(path) for path in mini_batch) + "\\n")
    return [os.path.basename(path) + weight for path in mini_batch]
"""


@pytest.mark.parametrize("models", [[], ["churn"]], ids=["asked for", "named"])
def test_models_are_resolved_again(scene: Scene, monkeypatch: pytest.MonkeyPatch, models: list[str]) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(scene.folder / "home"))
    ws = Workspace.create("team", show_output=False)
    weights = scene.folder / "weights.txt"
    weights.write_text("1")
    Model.register(ws, str(weights), "churn")
    scene.script(ASKS)
    more: dict[str, Any] = {"workspace": "team", "models": models}
    scene.files("a", "b", "c")
    scene.run(**more)
    first = scene.last.id
    scene.files("d", "e")
    found = scene.run(**more)
    assert found is not None
    assert found.lines[0] == f"Reused 1 of 3 mini-batches of run {first}: same script, arguments, models, environment."
    assert ("model", "churn:1") in Run(scene.last).names()
    scene.as_full(**more)
    weights.write_text("2")
    Model.register(ws, str(weights), "churn")
    found = scene.run(**more)
    assert found is not None
    assert found.lines == ("Runs all again: model churn v1 -> v2.",)
    assert scene.output == b"a2\nb2\nc2\nd2\ne2\n"
    close_databases()


def test_inputs_and_outputs_in_a_store(scene: Scene, s3: Bucket) -> None:
    for name in ("a", "b", "c"):
        s3.put(f"in/{name}", name.encode())
    more: dict[str, Any] = {"inputs": f"{s3.url}/in/", "output": f"{s3.url}/out"}
    scene.script("import os\ndef run(mini_batch):\n    return [os.path.basename(path) for path in mini_batch]\n")
    scene.run(**more)
    s3.put("in/d", b"d")
    s3.put("in/e", b"e")
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == 1
    with open_binary(f"{s3.url}/out/parallel_run_step.txt") as file:
        assert file.read() == b"a\nb\nc\nd\ne\n"


# --- tables and headers -----------------------------------------------------------------------------------------------------------------


def table(scene: Scene, name: str, rows: range, column: str = "x") -> None:
    (scene.inputs / name).write_text(f"{column},y\n" + "".join(f"{n},{n / 2}\n" for n in rows))


def test_blocks_of_unchanged_files_are_reused(scene: Scene) -> None:
    scene.script(TABLE)
    more = {"mini_batch_size": "100", "append_row_dataframe_header": True}
    for n in range(4):
        table(scene, f"{n}.csv", range(50))
    scene.run(**more)
    whole = Run(scene.last).counts.mini_batches.total
    table(scene, "2.csv", range(60))
    table(scene, "00.csv", range(20))
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == whole // 4 * 3
    scene.as_full(**more)


def test_other_types_of_columns_run_everything(scene: Scene) -> None:
    scene.script(TABLE)
    table(scene, "1.csv", range(50))
    scene.run(mini_batch_size="100")
    (scene.inputs / "2.csv").write_text("x,y\n1.5,2\n")
    found = scene.run(mini_batch_size="100")
    assert found is not None
    assert found.mini_batches == 0
    assert found.lines[-1] == "The columns of the tables, their types or how they are read changed."
    scene.as_full(mini_batch_size="100")


def test_the_header_line_comes_from_the_first_rows(scene: Scene) -> None:
    scene.script(
        "import os, pandas as pd\n"
        "def run(mini_batch):\n"
        "    names = [os.path.basename(path) for path in mini_batch]\n"
        "    return pd.DataFrame({{'first ' + names[0]: names}}) if names[0] > 'b' else pd.DataFrame({{'other': names}})\n"
    )
    more = {"mini_batch_size": 1, "append_row_dataframe_header": True, "workers": 1}
    scene.files("a", "b", "c", "d")
    scene.run(**more)
    scene.as_full(**more)
    for gone in ("a", "b", "c"):
        (scene.inputs / gone).unlink()
        scene.run(**more)
        scene.as_full(**more)


def test_groups_of_files_and_of_rows(scene: Scene) -> None:
    more = {"mini_batch_size": None, "partition_keys": ["user"], "partition_format": "{user}/{day}"}
    scene.files("ann/1", "ann/2", "bob/1", "cid/1")
    scene.run(**more)
    scene.files("bob/0", "cid/1")
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == 1
    assert scene.ran == ["0 1", "1"]
    scene.as_full(**more)


def test_rows_of_grouped_tables_are_those_of_all_files(scene: Scene) -> None:
    scene.script(TABLE)
    more = {"mini_batch_size": None, "partition_keys": ["y"]}
    table(scene, "1.csv", range(10))
    scene.run(**more)
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == 10
    scene.as_full(**more)
    table(scene, "2.csv", range(3))
    found = scene.run(**more)
    assert found is not None
    assert found.mini_batches == 0
    scene.as_full(**more)


# --- any change -------------------------------------------------------------------------------------------------------------------------

NAMES = [f"{letter}{n}" for letter in "abc" for n in range(8)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("changes")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.sets(st.sampled_from(NAMES), min_size=1),
    changes=st.lists(st.tuples(st.sampled_from(["write", "remove", "touch"]), st.sampled_from(NAMES)), max_size=6),
    bad=st.sets(st.sampled_from(NAMES), max_size=1),
    size=st.integers(1, 4),
    number=st.uuids(),
)
def test_any_change_of_the_files(
    folders: Path, first: set[str], changes: list[tuple[str, str]], bad: set[str], size: int, number: object
) -> None:
    folder = folders / str(number)
    folder.mkdir()
    scene = Scene(folder)
    scene.script(bad=bad)
    scene.files("zz", *sorted(first))
    scene.run(mini_batch_size=size)
    for what, name in changes:
        if what == "write":
            scene.files(name)
        elif what == "remove":
            (scene.inputs / name).unlink(missing_ok=True)
        elif (scene.inputs / name).exists():
            os.utime(scene.inputs / name, (1, 1))
    scene.run(mini_batch_size=size)
    scene.as_full(mini_batch_size=size)


# --- killed while rows are taken over ---------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from batchmill.nodes import coordinator_process
from batchmill.parallel_run import reuse
from batchmill.parallel_run.earlier_output import EarlierOutput
from batchmill.parallel_run.ledger import Ledger

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(real):
    def wrapped(*arguments, **named):
        real(*arguments, **named)
        die()
    return wrapped

moment = sys.argv.pop(2)
if moment == "before the copy":
    EarlierOutput.copy = die
elif moment == "amid the copy":
    EarlierOutput._check = die
elif moment == "after the copy":
    reuse.fsync_folder = die
elif moment == "in the transaction":
    Ledger.add_done = after(Ledger.add_done)
else:
    reuse.Reuse._copy = after(reuse.Reuse._copy)
sys.exit(coordinator_process.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("moment", ["before the copy", "amid the copy", "after the copy", "in the transaction", "after the transaction"])
def test_killed_while_rows_are_taken_over(scene: Scene, moment: str) -> None:
    scene.files(*(f"{n:02d}" for n in range(10)))
    scene.run()
    scene.files("05x")
    folder = scene.create()
    process = subprocess.run([sys.executable, "-c", KILLED, folder.id, moment], check=False, timeout=60)
    assert process.returncode == -9
    assert Run(folder).status is RunStatus.INTERRUPTED
    scene.log.write_text("")
    coordinator = Coordinator(folder)
    coordinator.prepare()
    assert coordinator.carry_out().status is RunStatus.COMPLETED
    found = told(folder)
    assert found is not None
    assert found.mini_batches == 3
    assert scene.ran == ["05x 06", "07 08", "09"]
    scene.as_full()
