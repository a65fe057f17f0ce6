"""Whole runs that met what nearly brought a coordinator down."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchmill.errors import StoreError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.feeding import known_failures
from batchmill.nodes.guardian import Guardian
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.replay import replay
from batchmill.nodes.stragglers import incarnation, kill_stragglers
from batchmill.parallel_run.events import Event, NodeGaveUp, Returned, Task
from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.storage.prefetch import Failure
from batchmill.worker.slots import PID, PID_START, Slots
from tests.conftest import BATCHMILL, Project
from tests.integration.conftest import Bucket

NAMES = "import os\ndef run(files):\n    return [os.path.basename(path) for path in files]\n"
RAISES = """
def run(files):
    for path in files:
        if "bad" in path:
            raise ValueError("cannot do " + path)
    return list(range(len(files)))
"""
SHORT = "def run(files):\n    return files[1:]\n"


def write_items(folder: Path, *names: str | bytes) -> str:
    folder.mkdir()
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name)))).write_text("x")
    return str(folder)


def new_run(tmp_path: Path, script: str, **settings: object) -> RunFolder:
    (tmp_path / "src").mkdir(exist_ok=True)
    path = tmp_path / "src" / "score.py"
    path.write_text(script)
    return create_run(RunSettings.parse({"script": str(path), "workers": 1, "error_threshold": -1, **settings}))


def carry_out(folder: RunFolder) -> Ending:
    coordinator = Coordinator(folder)
    coordinator.prepare()
    return coordinator.carry_out()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take no such names")
@pytest.mark.parametrize(("script", "error_class"), [(RAISES, "ValueError"), (NAMES, "OutputEncodingError")])
def test_items_whose_names_are_no_utf8_fail_as_items(tmp_path: Path, script: str, error_class: str) -> None:
    inputs = write_items(tmp_path / "in", "a", b"bad\xff", "c")
    folder = new_run(tmp_path, script, inputs=inputs, output=str(tmp_path / "out"), mini_batch_size=3)
    ending = carry_out(folder)
    assert (ending.status, ending.counts.items.succeeded, ending.counts.items.failed) == (RunStatus.COMPLETED, 2, 1)
    (letter,) = Run(folder).errors()
    assert letter.error_class == error_class
    assert letter.item == f"{inputs}/bad\\udcff"
    assert "bad\\\\udcff" in folder.dead_letters.read_text()


def test_output_that_cannot_be_published_ends_as_failed_and_is_resumable(tmp_path: Path) -> None:
    taken = tmp_path / "out" / "parallel_run_step.txt"
    taken.mkdir(parents=True)
    folder = new_run(tmp_path, NAMES, inputs=write_items(tmp_path / "in", "a", "b"), output=str(tmp_path / "out"), mini_batch_size=1)
    ending = carry_out(folder)
    assert ending.status is RunStatus.FAILED
    assert "IsADirectoryError" in str(ending.error)
    assert "batchmill resume" in str(ending.error)
    taken.rmdir()
    assert carry_out(folder).status is RunStatus.COMPLETED
    assert taken.read_text() == "a\nb\n"


def test_replay_may_bisect_what_had_no_failed_try_before(tmp_path: Path) -> None:
    inputs = write_items(tmp_path / "in", "a", "bad", "c", "d")
    folder = new_run(tmp_path, SHORT, inputs=inputs, output=str(tmp_path / "out"), mini_batch_size=4)
    assert carry_out(folder).counts.items.failed == 1
    (tmp_path / "src" / "score.py").write_text(RAISES)
    ending = replay(folder, Silent())
    assert (ending.counts.items.succeeded, ending.counts.items.failed) == (3, 1)
    report = (folder.logs / "sys" / "job_report" / "processed_mini-batches.csv").read_text()
    assert "ValueError: cannot do" in report
    assert [letter.item for letter in Run(folder).errors(open_only=True)] == [f"{inputs}/bad"]


def test_pieces_of_one_remote_mini_batch_wait_for_each_other(bucket: Bucket, tmp_path: Path) -> None:
    """The items stay until the last piece: with calls of more than 0.2 s, one worker takes the pieces one by one."""
    for name in ("a", "bad", "c", "d"):
        bucket.put(f"in/{name}", b"x")
    script = "import time\n" + RAISES.replace("    for", "    time.sleep(0.25)\n    for", 1)
    limits = {"run_max_try": 1, "progress_update_timeout": 20}
    folder = new_run(tmp_path, script, inputs=f"{bucket.url}/in", output=str(tmp_path / "out"), mini_batch_size=4, **limits)
    ending = carry_out(folder)
    assert (ending.status, ending.counts.items.succeeded, ending.counts.items.failed) == (RunStatus.COMPLETED, 3, 1)


# --- the guardian ---------------------------------------------------------------------------------------------------------------


def sleeper(**environment: str) -> subprocess.Popen[bytes]:
    """A process that waits to be killed; its environment can be read when this returns."""
    code = "import sys, time; print(flush=True); time.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, start_new_session=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_late_guardian_spares_the_workers_of_a_resumed_run() -> None:
    old, new = (sleeper(BATCHMILL_INCARNATION=incarnation("a-run", epoch)) for epoch in (1, 2))
    try:
        kill_stragglers("a-run", 1)
        assert old.wait(60) < 0
        assert new.poll() is None
    finally:
        for process in (old, new):
            process.kill()
            process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_guardian_needs_no_slots_file_that_a_resumed_run_removes(tmp_path: Path) -> None:
    worker = sleeper()
    path = tmp_path / "run" / "slots" / "epoch1"
    path.parent.mkdir(parents=True)
    slots = Slots(str(path), 1, create=True)
    slots.clear(0)
    slots.set(0, PID, worker.pid)
    slots.set(0, PID_START, 0)
    guardian = Guardian(str(path))
    try:
        deadline = time.monotonic() + 60
        while str(path) not in Path(f"/proc/{guardian._process.pid}/maps").read_text() and time.monotonic() < deadline:
            os.sched_yield()
        path.unlink()
        slots.set(0, PID_START, _start_of(worker.pid))
        guardian.close()
        assert worker.wait(60) < 0
    finally:
        worker.kill()
        worker.communicate()


def _start_of(pid: int) -> int:
    from batchmill.nodes.guardian import process_start

    return process_start(pid)


# --- nodes ----------------------------------------------------------------------------------------------------------------------


def test_node_without_workers_gives_back_what_it_had_asked_for(tmp_path: Path) -> None:
    """Its wish may be granted in the moment it gives up; the mini-batches have to run elsewhere."""
    script = "def init():\n    raise RuntimeError('no device')\n" + NAMES
    coordinator = Coordinator(new_run(tmp_path, script, inputs=write_items(tmp_path / "in", "a", "b"), mini_batch_size=1))
    coordinator.prepare()
    engine = LocalEngine(coordinator.node_config(coordinator.folder.snapshot))
    engine.start()
    try:
        wait_for(engine, NodeGaveUp)
        engine.give("node0", [Task(7, 0, 2)])
        assert wait_for(engine, Returned) == Returned("node0", 7, 0, 2)
    finally:
        engine.abort()
        coordinator._end_reserve()
        coordinator.discard()


def wait_for(engine: LocalEngine, kind: type[Event]) -> Event:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for event in engine.step(0.2):
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


def test_run_started_where_ended_children_are_ignored(project: Project) -> None:
    """SIGCHLD may be inherited as ignored, from a cron job or a supervisor."""
    project.write({"score.py": NAMES, "in/a": "x"})
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, str(BATCHMILL), "run", "score.py", "--input", "in", "--output", "out"]
    done = subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert project.read("out/parallel_run_step.txt") == "a\n"


def test_resume_from_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_run(tmp_path, SHORT, inputs=write_items(tmp_path / "in", "a"), output=str(tmp_path / "out"))
    assert carry_out(folder).status is RunStatus.FAILED
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert carry_out(folder).status is RunStatus.FAILED


# --- what scripts say -----------------------------------------------------------------------------------------------------------


def test_text_of_an_exception_is_kept_in_bounds(tmp_path: Path) -> None:
    script = "def run(files):\n    raise ValueError('start' + 'x' * 5_000_000 + 'end')\n"
    folder = new_run(tmp_path, script, inputs=write_items(tmp_path / "in", "a"), output_action="summary_only", run_max_try=1)
    carry_out(folder)
    (letter,) = Run(folder).errors()
    assert letter.message.startswith("start")
    assert letter.message.endswith("end")
    assert "4990008 characters left out" in letter.message
    assert "in run\n" in str(letter.traceback)
    assert sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("text", ["garbage", "17", "{}"])
def test_script_that_writes_into_every_descriptor_ends_as_protocol_lost(tmp_path: Path, text: str) -> None:
    script = f"""
import os, stat, time
def run(files):
    if "bad" in files[0]:
        for descriptor in range(3, 300):
            try:
                if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                    os.write(descriptor, b"{text}\\n")
            except OSError:
                pass
        time.sleep(30)
    return files
"""
    inputs = write_items(tmp_path / "in", "a", "bad", "c")
    folder = new_run(tmp_path, script, inputs=inputs, output=str(tmp_path / "out"), mini_batch_size=1, run_max_try=1)
    ending = carry_out(folder)
    assert (ending.status, ending.counts.items.succeeded, ending.counts.items.failed) == (RunStatus.COMPLETED, 2, 1)
    (letter,) = Run(folder).errors()
    assert letter.error_class == "WorkerProtocolLost"


def test_exception_that_never_tells_its_text_is_a_timeout(tmp_path: Path) -> None:
    script = """
import time
class Silent(Exception):
    def __str__(self):
        time.sleep(300)
def run(files):
    if "bad" in files[0]:
        raise Silent()
    return files
"""
    inputs = write_items(tmp_path / "in", "a", "bad", "c")
    limits = {"mini_batch_size": 1, "run_max_try": 1, "run_invocation_timeout": 1, "progress_update_timeout": 60}
    folder = new_run(tmp_path, script, inputs=inputs, output=str(tmp_path / "out"), **limits)
    assert carry_out(folder).counts.items.succeeded == 2
    (letter,) = Run(folder).errors()
    assert (letter.error_class, letter.item) == ("RunTimeout", f"{inputs}/bad")


def test_items_that_a_store_refuses_keep_the_class_of_their_error() -> None:
    refused = Failure.of(StoreError("The store refuses s3://b/x.", cure="Look at its rights."))
    assert known_failures({3: refused})["3"][0] == "StoreError"
