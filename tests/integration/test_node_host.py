"""A node of a cluster without the cluster: `NodeHost` as its coordinator drives it, with real workers and real stores."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from batchmill.errors import StoreError
from batchmill.nodes import node_host, plan_mirror
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.node_host import NodeHost
from batchmill.nodes.node_order import Answer, Drain, Finish, NodeOrder, Revoke, Tasks, travelling
from batchmill.nodes.output_files import OutputFiles
from batchmill.nodes.path_proof import make_proofs
from batchmill.nodes.plan_mirror import publish_plan
from batchmill.nodes.published_snapshot import publish_snapshot
from batchmill.nodes.side_content import SideContent
from batchmill.parallel_run.events import (
    Asked,
    Done,
    Event,
    Hungry,
    NodeGaveUp,
    NodeLost,
    NodePreparing,
    Returned,
    ShutdownProblem,
    Task,
    WorkerReady,
)
from batchmill.parallel_run.run_store import RunStore
from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_order import environment_order
from tests.integration.conftest import Bucket
from tests.integration.test_core_failures import NAMES, new_run, write_items
from tests.packages import make_wheel

DEADLINE = 60.0
WAITS = """
import os, signal
def run(files):
    names = [os.path.basename(path) for path in files]
    print("begins", *names, flush=True)
    if "waits" in names[0]:
        signal.pause()
    return names
"""


class Published:
    """A run as far as its coordinator brings it: plan and snapshot lie in the run store of ``output``."""

    def __init__(self, folder: Path, output: str, *items: str, script: str = NAMES, **settings: Any) -> None:
        self.folder, self.output = folder, output
        inputs = write_items(folder / "in", *items)
        self.coordinator = Coordinator(new_run(folder, script, inputs=inputs, mini_batch_size=1, **settings))
        self.coordinator.prepare()
        self.coordinator._end_reserve()
        self.run = self.coordinator.folder
        self.store = RunStore(output, self.run.id)
        self.config = self.coordinator.node_config(self.run.snapshot)
        self.mini_batches = self.config.mini_batches
        snapshot, plan = publish_snapshot(self.store.files, self.run.snapshot), publish_plan(self.store.files, self.run.plan, "1")
        self.order = NodeOrder(travelling(self.config, output), output, snapshot, plan)
        self.hosts: list[Watched] = []

    def host(self, name: str = "node0", order: NodeOrder | None = None) -> Watched:
        """A node that has begun; its order has travelled."""
        host = NodeHost(name, pickle.loads(pickle.dumps(order or self.order)), scratch=self.scratch)
        self.hosts.append(Watched(host))
        host.start()
        return self.hosts[-1]

    @property
    def scratch(self) -> Path:
        folder = self.folder / "machine"
        folder.mkdir(exist_ok=True)
        return folder

    def rows(self, events: list[Event]) -> bytes:
        """The rows of all outcomes, in the order of their mini-batches, from where the outcomes say that they lie."""
        done = sorted((event for event in events if isinstance(event, Done)), key=lambda event: event.first)
        return b"".join(self.store.parts.read(one.part, one.offset, one.length) for one in done)

    def close(self) -> None:
        for host in self.hosts:
            host.host.close()
        self.coordinator.discard()


class Watched:
    """A host, and everything that it has told."""

    def __init__(self, host: NodeHost) -> None:
        self.host = host
        self.told: list[Event] = []

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.told
            self.told += self.host.take(0.2)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    def ready(self) -> Watched:
        self.until(lambda: self.of(WorkerReady) or self.host.ended)
        assert self.of(WorkerReady), self.told
        return self

    def give(self, first: int, count: int = 1, token: int = 1) -> None:
        self.host.give([Tasks((Task(token, first, count),))])

    def done(self) -> list[int]:
        return sorted(k for event in self.of(Done) for k in range(event.first, event.first + event.count))

    def finish(self) -> None:
        self.host.give([Finish()])
        self.until(lambda: self.host.ended)

    def reason(self) -> str:
        """Why it gave up."""
        self.until(lambda: self.host.ended)
        (gave_up,) = self.of(NodeGaveUp)
        return str(gave_up.error.message)


Make = Callable[..., Published]


@pytest.fixture
def publish(tmp_path: Path) -> Iterator[Make]:
    """Make a run whose output is a folder that "every node" sees, unless another place is named."""
    made: list[Published] = []

    def make(*items: str, output: str | None = None, **more: Any) -> Published:
        made.append(Published(tmp_path, output or str(tmp_path / "out"), *items, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- the way through ----------------------------------------------------------------------------------------------------------------


def test_rows_and_logs_of_several_nodes_lie_in_the_store_and_nothing_on_the_machine(publish: Make) -> None:
    items = [f"i{number:02d}" for number in range(12)]
    run = publish(*items, script=NAMES.replace("return", "print(*files, flush=True); return"))
    hosts = [run.host("node0").ready(), run.host("node7").ready()]
    (machine,) = [path for path in run.scratch.iterdir() if path.is_dir()]
    assert {path.name for path in machine.iterdir() if path.is_dir()} == {
        "plan",
        "snapshot",
        f"{run.run.id}.node0",
        f"{run.run.id}.node7",
    }
    hosts[0].give(0, 5)
    hosts[1].give(5, 7)
    for host, expected in zip(hosts, (range(5), range(5, 12)), strict=True):
        host.until(lambda host=host, expected=expected: host.done() == list(expected))
        host.finish()
    told = [event for host in hosts for event in host.told]
    assert run.rows(told).decode().split() == items
    assert {event.node for event in told} == {"node0", "node7"}
    logs = {entry.name for entry in run.store.files.list("logs")}
    assert "logs/user/stdout/node7/process000.stdout.txt" in logs
    assert b"i00" in run.store.files.read("logs/user/stdout/node0/process000.stdout.txt")
    assert list(run.scratch.iterdir()) == [], "nothing is left on the machine"


def test_everything_goes_by_an_object_store(publish: Make, bucket: Bucket) -> None:
    run = publish("a", "b", "c", output=f"{bucket.url}/out")
    host = run.host().ready()
    host.give(0, 3)
    host.until(lambda: len(host.done()) == 3)
    host.finish()
    assert run.rows(host.told) == b"a\nb\nc\n"


def test_a_large_plan_is_fetched_as_far_as_leases_need_it(publish: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_mirror, "LARGE", 0)
    run = publish(*[f"i{number:02d}" for number in range(20)])
    host = run.host().ready()
    (mark,) = run.scratch.rglob(plan_mirror.MARK)
    assert not any((mark.parent / "items.bin").read_bytes())
    host.give(10, 4, token=1)
    host.give(17, 1, token=2)
    host.until(lambda: host.done() == [10, 11, 12, 13, 17])
    host.finish()
    assert run.rows(host.told).split() == [b"i10", b"i11", b"i12", b"i13", b"i17"]


@pytest.mark.parametrize("action", ["summary_only", "append_row"])
def test_files_that_scripts_write_into_the_output_get_there(publish: Make, s3: Bucket, action: str) -> None:
    script = """
import os
def run(files):
    for path in files:
        with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], os.path.basename(path) + ".scored"), "w") as file:
            file.write("scored")
    return files
"""
    run = publish("a", "b", script=script, output=f"{s3.url}/out", output_action=action)
    host = run.host().ready()
    host.give(0, 2)
    host.until(lambda: host.done() == [0, 1])
    assert run.store.results.read("a.scored") == b"scored", "what is told is there, whatever becomes of the node"
    host.finish()
    assert run.store.results.read("b.scored") == b"scored"


def test_files_that_cannot_be_stored_in_the_end_are_a_problem_that_is_told(
    publish: Make, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows stand; but nobody may believe that the files do."""

    def upload(outputs: OutputFiles) -> None:
        raise StoreError("the store is away")

    run = publish("a", output=f"{s3.url}/out", retry_timeout=0.1)
    node = run.host().ready()
    node.give(0)
    node.until(lambda: node.done() == [0])
    monkeypatch.setattr(OutputFiles, "upload", upload)
    node.finish()
    (problem,) = node.of(ShutdownProblem)
    assert "the store is away" in problem.error.message
    assert not node.of(NodeLost)


def test_an_environment_is_built_on_the_machine(publish: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "wheels", "alpha", "2.0")
    environment = Environment("scoring")
    packages = CondaDependencies.create(python_version=f"{sys.version_info[0]}.{sys.version_info[1]}")
    packages.set_pip_requirements(["--no-index", "--find-links wheels", "alpha"])
    environment.python.conda_dependencies = packages
    environment.environment_variables = {"COLOUR": "blue"}
    script = "import os, alpha\ndef run(files):\n    return [alpha.VERSION + os.environ['COLOUR']]\n"
    run = publish("a", script=script)
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home-of-the-machine"))
    told = environment_order(None, environment, None, tmp_path)
    host = run.host(order=replace(run.order, environment=told, proofs=make_proofs(told.paths))).ready()
    host.give(0)
    host.until(lambda: host.done() == [0])
    host.finish()
    assert run.rows(host.told) == b"2.0blue\n"
    assert (tmp_path / "home-of-the-machine" / "environments").is_dir()


def test_a_model_that_a_script_asks_for_comes_to_its_machine(publish: Make, tmp_path: Path) -> None:
    script = """
import os
from azureml.core.model import Model
def init():
    global path
    path = Model.get_model_path("digits")
def run(files):
    return [open(path).read(), path]
"""
    model = tmp_path / "cache" / "digits"
    model.mkdir(parents=True)
    (model / "weights.txt").write_text("w1")
    run = publish("a", script=script)
    side = SideContent(run.store.files, lambda question: {"name": "digits", "version": 1, "id": "x", "folder": str(model)})
    host = run.host()
    host.until(lambda: host.of(Asked))
    (asked,) = host.of(Asked)
    host.host.give([Answer(asked, side.answer(asked.question))])
    host.ready().give(0)
    host.until(lambda: host.done() == [0])
    weights, path = run.rows(host.told).decode().splitlines()
    assert weights == "w1"
    assert os.path.realpath(path).startswith(str(run.scratch)), "the copy of the machine, not the coordinator's file"


def test_an_answer_that_cannot_be_fetched_is_told_to_the_script(publish: Make, tmp_path: Path) -> None:
    script = """
from azureml.core.model import Model
def run(files):
    try:
        Model.get_model_path("digits")
    except Exception as error:
        return [type(error).__name__ + ": " + str(error)]
"""
    run = publish("a", script=script)
    host = run.host().ready()
    host.give(0)
    host.until(lambda: host.of(Asked))
    gone = {"name": "digits", "version": 1, "id": "x", "side": {"as": "folder", "id": "gone", "file": None}}
    host.host.give([Answer(host.of(Asked)[0], gone)])
    host.until(lambda: host.done() == [0])
    assert b"side/gone.zip" in run.rows(host.told)


# --- what it refuses ----------------------------------------------------------------------------------------------------------------


def test_another_version_is_refused(publish: Make) -> None:
    run = publish("a")
    assert "the run was begun with Batchmill 9.9." in run.host(order=replace(run.order, version="9.9")).reason()


def test_a_folder_that_is_not_seen_here_is_named_with_the_cure(publish: Make, tmp_path: Path) -> None:
    run = publish("a")
    proofs = make_proofs([tmp_path / "in", tmp_path / "src"])
    (tmp_path / "in").rename(tmp_path / "was-in")
    text = run.host(order=replace(run.order, proofs=proofs)).reason()
    assert f"{tmp_path / 'in'} cannot be seen there" in text
    assert str(tmp_path / "src") not in text
    assert "mounted at the same path" in text


def test_a_snapshot_that_is_gone_is_named(publish: Make) -> None:
    run = publish("a")
    run.store.files.delete("snapshot.zip")
    assert "snapshot.zip" in run.host().reason()


def test_init_that_fails_ends_the_node(publish: Make) -> None:
    run = publish("a", script="def init():\n    raise ValueError('no weights')\ndef run(files):\n    return files\n")
    assert "no weights" in run.host().reason()


# --- how it ends --------------------------------------------------------------------------------------------------------------------


def workers_of(run: Published) -> list[psutil.Process]:
    """The worker processes of a run on this machine."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BATCHMILL_RUN_ID") == run.run.id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begun(run: Published, name: str) -> bool:
    return any(f"begins {name}" in path.read_text() for path in run.scratch.rglob("*.stdout.txt"))


def test_who_hears_nothing_from_its_coordinator_gives_up(publish: Make) -> None:
    run = publish("waits", script=WAITS)
    host = run.host(order=replace(run.order, silence=0.5)).ready()
    host.give(0)
    wait_until(lambda: not workers_of(run))
    host.until(lambda: host.host.ended)
    assert list(run.scratch.iterdir()) == []


def test_an_aborted_node_leaves_nothing(publish: Make) -> None:
    run = publish("waits", script=WAITS)
    host = run.host().ready()
    host.give(0)
    wait_until(lambda: begun(run, "waits"))
    host.host.close()
    assert not workers_of(run)
    assert list(run.scratch.iterdir()) == []
    host.until(lambda: host.host.ended)


def test_a_node_that_never_began_can_be_closed(publish: Make) -> None:
    host = NodeHost("node0", publish("a").order)
    host.close()
    assert host.ended
    assert host.take(0.0) == []


def test_what_is_not_begun_comes_back_when_the_machine_is_taken_away(publish: Make) -> None:
    run = publish("a", "b-waits", "c", "d", script=WAITS)
    host = run.host().ready()
    host.give(1, 3)
    wait_until(lambda: begun(run, "b-waits"))
    host.host.give([Drain()])
    host.until(lambda: sum(event.count for event in host.of(Returned)) == 2)
    host.give(0, token=2)
    host.until(lambda: sum(event.count for event in host.of(Returned)) == 3)
    assert host.done() == []


def test_a_lease_that_is_revoked_before_the_plan_tells_of_it_never_runs(publish: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_mirror, "LARGE", 0)
    run = publish("a", "b", script=WAITS)
    host = run.host().ready()
    host.host.give([Tasks((Task(1, 0),)), Revoke(1), Tasks((Task(2, 1),))])
    host.until(lambda: host.done() == [1])
    assert not begun(run, "a")


def test_a_plan_that_gets_lost_loses_the_node(publish: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_mirror, "LARGE", 0)
    run = publish("a", "b")
    host = run.host().ready()
    run.store.files.clear("plan")
    host.give(0)
    host.until(lambda: host.host.ended)
    (lost,) = host.of(NodeLost)
    assert "plan/1/items.index" in lost.reason


def test_a_plan_that_the_disk_cannot_take_loses_the_node(publish: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was given would wait for ever."""

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(plan_mirror, "LARGE", 0)
    run = publish("a", "b")
    host = run.host().ready()
    monkeypatch.setattr(os, "pwrite", full)
    host.give(0)
    host.until(lambda: host.host.ended)
    (lost,) = host.of(NodeLost)
    assert "No space left on device" in lost.reason


def test_a_long_preparation_gives_signs_of_life(publish: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_host, "PULSE", 0.001)
    run = publish("a")
    host = run.host().ready()
    assert all(event.node == "node0" for event in host.of(NodePreparing))
    assert host.of(NodePreparing)
    host.finish()


HOST = """
import pickle, sys
from pathlib import Path
from batchmill.nodes.node_host import NodeHost
from batchmill.nodes.node_order import Tasks
from batchmill.parallel_run.events import Hungry, Task

name, scratch, order = sys.argv[1:]
host = NodeHost(name, pickle.loads(Path(order).read_bytes()), scratch=Path(scratch))
host.start()
given = False
while True:
    for event in host.take(1.0):
        if isinstance(event, Hungry) and not given:
            given = True
            host.give([Tasks((Task(1, 0),))])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signal, /proc")
def test_workers_die_with_their_host_and_the_next_one_cleans_up_and_neighbours_live_on(publish: Make, tmp_path: Path) -> None:
    run = publish("waits", script=WAITS)
    order = tmp_path / "order"
    order.write_bytes(pickle.dumps(run.order))
    command = [sys.executable, "-c", HOST, "node0", str(run.scratch), str(order)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_until(lambda: begun(run, "waits"))
        neighbour = run.host("node1").ready()
        mine = {worker.pid for worker in workers_of(run) if worker.ppid() == os.getpid()}
        (theirs,) = [worker for worker in workers_of(run) if worker.ppid() == process.pid]
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not theirs.is_running() or theirs.status() == psutil.STATUS_ZOMBIE)
        left = [path for path in run.scratch.rglob(f"{run.run.id}.node0") if path.is_dir()]
        assert left, "a killed host cannot clean up"
        following = run.host("node2").ready()
        assert not left[0].exists()
        assert {worker.pid for worker in workers_of(run)} >= mine
        neighbour.until(lambda: neighbour.of(Hungry))
        for host in (neighbour, following):
            host.finish()
    finally:
        process.kill()
        process.wait()


def test_numbers_of_processes_go_on_in_a_later_incarnation(publish: Make) -> None:
    run = publish("a")
    run.store.files.put("logs/user/stderr/node0/process004.stderr.txt", b"of an earlier epoch")
    host = run.host().ready()
    assert [event.worker for event in host.of(WorkerReady)] == ["process005"]
    host.finish()
