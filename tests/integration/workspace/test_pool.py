"""Pools of nodes on SQLite and PostgreSQL: many processes that take and give back, that wait in a queue, that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from batchmill.errors import RegistryError
from batchmill.workspace import pool_lease
from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.exceptions import ComputeTargetException, UserErrorException
from batchmill.workspace.holder import Holder
from batchmill.workspace.pool import Pool
from batchmill.workspace.pool_lease import acquire
from batchmill.workspace.registry import Registry
from batchmill.workspace.schema import assets
from batchmill.workspace.workspace import Workspace

BOUND = 60.0
# Takes nodes of "cpu", says so, and gives them back when told to.
HOLDS = """
import sys
from batchmill.workspace.current import find_workspace
from batchmill.workspace.pool_lease import acquire
with acquire(find_workspace("default"), "cpu", sys.argv[1], int(sys.argv[2]), announce=lambda text: print(text, flush=True)) as lease:
    print("holds", *lease.nodes, flush=True)
    sys.stdin.readline()
print("gave back", flush=True)
"""
# Takes and gives back three times; a file for each node makes sure that nobody else has it meanwhile.
TAKES_TURNS = """
import os, sys
from batchmill.workspace.current import find_workspace
from batchmill.workspace.pool_lease import acquire
folder, ws = sys.argv[2], find_workspace("default")
print("ready", flush=True)
sys.stdin.readline()
for turn in range(3):
    with acquire(ws, "cpu", f"{sys.argv[1]}-{turn}", 2) as lease:
        mine = [os.path.join(folder, str(number)) for number in lease.nodes]
        for path in mine:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        for path in mine:
            os.unlink(path)
print("done", flush=True)
"""


@pytest.fixture
def ws(database: str) -> Workspace:
    return Workspace.create("default", show_output=False)


class Outage:
    """A database that nobody can use for a while."""

    def __init__(self, url: str, postgres: Callable[[str], None]) -> None:
        self.url, self.postgres = url, postgres
        self.file = Path(url.removeprefix("sqlite:///"))
        self.name = url.rpartition("/")[2]

    def begin(self) -> None:
        if self.url.startswith("sqlite"):
            self.file.rename(self.file.with_suffix(".away"))
            self.file.mkdir()
        else:
            self.postgres(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
            self.postgres(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")

    def end(self) -> None:
        if self.url.startswith("sqlite"):
            self.file.rmdir()
            self.file.with_suffix(".away").rename(self.file)
        else:
            self.postgres(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")


@pytest.fixture
def outage(database: str, request: pytest.FixtureRequest) -> Outage:
    def run(statement: str) -> None:
        request.getfixturevalue("postgres").run(statement)

    return Outage(database, run)


def cpu(ws: Workspace, maximum: int, minimum: int = 0, idle: int = 1800) -> AmlCompute:
    configuration = AmlCompute.provisioning_configuration(min_nodes=minimum, max_nodes=maximum, idle_seconds_before_scaledown=idle)
    return ComputeTarget.create(ws, "cpu", configuration)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def counts(target: AmlCompute) -> tuple[int, int, int]:
    status = target.get_status()
    return status.current_node_count, status.running_node_count, status.idle_node_count


class Process:
    def __init__(self, code: str, *arguments: object) -> None:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=BOUND)


@contextmanager
def processes(*made: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for one in made:
            if one.process.poll() is None:
                one.process.kill()
            one.process.communicate(timeout=BOUND)


def test_taken_and_given_back(ws: Workspace) -> None:
    target = cpu(ws, 4, minimum=1)
    assert counts(target) == (1, 0, 1)
    lease = acquire(ws, "cpu", "run1", 3)
    assert lease is not None
    assert lease.nodes == (1, 2, 3)
    assert (lease.granted, lease.size) == (3, None)
    assert (lease.take_news(), lease.take_news()) == (3, 0)
    assert counts(target) == (3, 3, 0)
    assert [(node["nodeId"], node["nodeState"], node["runId"]) for node in target.list_nodes()][2] == ("cpu-3", "running", "run1")
    lease.release()
    lease.release()
    assert counts(target) == (3, 0, 3)


def test_a_run_may_begin_with_less_and_gets_the_rest(ws: Workspace) -> None:
    target = cpu(ws, 3)
    first = acquire(ws, "cpu", "run1", 2)
    assert first is not None
    second = acquire(ws, "cpu", "run2", 3)
    assert second is not None
    assert second.take_news() == 1
    assert target.get_status().target_node_count == 3
    first.release()
    until(lambda: second.granted == 3)
    assert second.take_news() == 2
    second.release()


def test_the_size_bounds_a_node(ws: Workspace) -> None:
    ComputeTarget.create(ws, "gpu", AmlCompute.provisioning_configuration(vm_size="Standard_NC12", max_nodes=1))
    with acquire(ws, "gpu", "run1", 1) as lease:  # type: ignore[union-attr]
        assert lease.size is not None
        assert (lease.size.workers, lease.size.cores, lease.size.gpus, lease.size.memory) == (2, 12, 2, 112 << 30)


def test_what_cannot_be_had(ws: Workspace) -> None:
    cpu(ws, 4)
    with pytest.raises(UserErrorException) as refused:
        acquire(ws, "cpu", "run1", 5)
    assert refused.value.message == "node_count '5' is not between 1 and max_nodes 4."
    with pytest.raises(ComputeTargetException) as missing:
        acquire(ws, "gpu", "run1", 1)
    assert missing.value.message == "ComputeTargetNotFound: Compute Target with name gpu not found in provided workspace"


def test_a_wait_can_be_ended(ws: Workspace) -> None:
    target = cpu(ws, 1)
    with acquire(ws, "cpu", "run1", 1):  # type: ignore[union-attr]
        told: list[str] = []
        assert acquire(ws, "cpu", "run2", 1, stopped=lambda: bool(told), announce=told.append) is None
        assert told == ["Waiting for a node of compute target cpu: 1 of 1 are busy with 1 run."]
        assert len(list(target.list_nodes())) == 1
    assert counts(target) == (1, 0, 1)


def test_an_interrupted_wait_leaves_the_queue(ws: Workspace) -> None:
    target = cpu(ws, 1)

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with acquire(ws, "cpu", "run1", 1):  # type: ignore[union-attr]
        with pytest.raises(KeyboardInterrupt):
            acquire(ws, "cpu", "run2", 1, announce=interrupt)
        assert target.get_status().target_node_count == 1
    assert counts(target) == (1, 0, 1)


def test_runs_wait_in_a_queue_across_processes(ws: Workspace) -> None:
    target = cpu(ws, 1)
    first = Process(HOLDS, "run1", 1)
    assert first.line() == "holds 1"
    second = Process(HOLDS, "run2", 1)
    assert second.line() == "Waiting for a node of compute target cpu: 1 of 1 are busy with 1 run."
    third = Process(HOLDS, "run3", 1)
    assert third.line() == "Waiting for a node of compute target cpu: 1 of 1 are busy with 1 run; 1 run is ahead."
    with processes(first, second, third):
        for current, following in ((first, second), (second, third)):
            current.go_on()
            assert current.line() == "gave back"
            assert following.line() == "holds 1"
            assert counts(target) == (1, 1, 0)


def test_ten_processes_take_turns(ws: Workspace, tmp_path: Path) -> None:
    target = cpu(ws, 3)
    folder = tmp_path / "nodes"
    folder.mkdir()
    made = [Process(TAKES_TURNS, n, folder) for n in range(10)]
    with processes(*made):
        assert [one.line() for one in made] == ["ready"] * 10
        for one in made:
            one.go_on()
        assert [one.line() for one in made] == ["done"] * 10
    assert counts(target) == (3, 0, 3)


def test_nodes_of_a_killed_process_are_free_at_once(ws: Workspace) -> None:
    target = cpu(ws, 2)
    first = Process(HOLDS, "run1", 2)
    assert first.line() == "holds 1 2"
    waiting = Process(HOLDS, "run2", 2)
    assert waiting.line().startswith("Waiting")
    with processes(first, waiting):
        first.kill()
        began = time.monotonic()
        assert waiting.line() == "holds 1 2"
        assert time.monotonic() - began < 20
        waiting.kill()
        assert counts(target) == (2, 0, 2), "seen by whoever looks, though nobody wrote it down"
        with acquire(ws, "cpu", "run3", 1) as lease:  # type: ignore[union-attr]
            assert lease.nodes == (1,)


def test_k80_nodes_leave_when_they_were_idle_for_long_enough(ws: Workspace) -> None:
    target = cpu(ws, 4, minimum=1, idle=1)
    with acquire(ws, "cpu", "run1", 3):  # type: ignore[union-attr]
        assert target.get_status().serialize()["currentNodeCount"] == 3
    assert counts(target) == (3, 0, 3)
    until(lambda: target.get_status().serialize()["currentNodeCount"] == 1)
    status = target.get_status().serialize()
    assert list(status) == [
        "currentNodeCount",
        "targetNodeCount",
        "nodeStateCounts",
        "allocationState",
        "allocationStateTransitionTime",
        "errors",
        "creationTime",
        "modifiedTime",
        "provisioningState",
        "provisioningStateTransitionTime",
        "scaleSettings",
        "vmPriority",
        "vmSize",
    ]
    assert status["scaleSettings"] == {"minNodeCount": 1, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT1S"}
    assert status["nodeStateCounts"] == {
        "preparingNodeCount": 0,
        "runningNodeCount": 0,
        "idleNodeCount": 1,
        "unusableNodeCount": 0,
        "leavingNodeCount": 0,
        "preemptedNodeCount": 0,
    }
    assert (status["allocationState"], status["provisioningState"], status["errors"]) == ("Steady", "Succeeded", None)


def test_bounds_are_changed_while_runs_work(ws: Workspace) -> None:
    target = cpu(ws, 2)
    first, second = acquire(ws, "cpu", "run1", 2), acquire
    assert first is not None
    waiting: list[object] = []
    thread = threading.Thread(target=lambda: waiting.append(second(ws, "cpu", "run2", 2)))
    thread.start()
    AmlCompute(ws, "cpu").update(max_nodes=3)
    thread.join(BOUND)
    (lease,) = waiting
    assert lease.granted == 1  # type: ignore[attr-defined]
    target.update(max_nodes=1, min_nodes=0)
    assert counts(target) == (3, 3, 0), "nodes that work stay"
    first.release()
    assert counts(target) == (1, 1, 0)
    lease.release()  # type: ignore[attr-defined]


def test_changes_at_the_same_time_are_all_kept(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    target = cpu(ws, 2)
    others = iter([lambda: AmlCompute(ws, "cpu").update(max_nodes=9)])
    before = Registry.update

    def update(*arguments: Any, **given: Any) -> Any:
        next(others, lambda: None)()
        return before(*arguments, **given)

    monkeypatch.setattr(Registry, "update", update)
    target.update(min_nodes=1)
    assert (target.scale_settings.minimum_node_count, target.scale_settings.maximum_node_count) == (1, 9)


def test_a_removed_compute_target(ws: Workspace) -> None:
    target = cpu(ws, 1)
    lease = acquire(ws, "cpu", "run1", 1)
    assert lease is not None
    failed: list[str] = []

    def wait() -> None:
        try:
            acquire(ws, "cpu", "run2", 1, announce=lambda _text: target.delete())
        except ComputeTargetException as error:
            failed.append(error.message)

    wait()
    assert failed == ["ComputeTargetNotFound: Compute Target with name cpu not found in provided workspace"]
    with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
        target.get_status()
    lease.release()
    assert counts(cpu(ws, 1)) == (0, 0, 0)


def test_a_run_that_others_gave_up_while_it_waited_asks_again(ws: Workspace) -> None:
    target = cpu(ws, 1)
    first = acquire(ws, "cpu", "run1", 1)
    assert first is not None

    def forgotten(_text: str) -> None:
        pool = Pool(ws.registry, target.id)
        view = pool.look()
        assert view is not None
        (lease,) = (lease for lease, run in view.runs.items() if run == "run2")
        pool.release(lease)
        first.release()

    with acquire(ws, "cpu", "run2", 1, announce=forgotten) as lease:  # type: ignore[union-attr]
        assert lease.nodes == (1,)


def test_a_run_in_the_queue_bears_a_database_that_is_away_for_a_while(
    ws: Workspace, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu(ws, 1)
    first = acquire(ws, "cpu", "run1", 1)
    assert first is not None
    waiting = iter([outage.begin])
    looks = iter([lambda: None, lambda: None, outage.end, first.release])

    def stopped() -> bool:
        next(looks, lambda: None)()
        return False

    with acquire(ws, "cpu", "run2", 1, stopped=stopped, announce=lambda _text: next(waiting)()) as lease:  # type: ignore[union-attr]
        assert lease.nodes == (1,)
    outage.begin()
    monkeypatch.setattr(pool_lease, "OUTAGE", -1.0)
    try:
        with pytest.raises(RegistryError):
            acquire(ws, "cpu", "run3", 1)
    finally:
        outage.end()


def test_a_heartbeat_and_the_removal_of_its_compute_target_do_not_wait_for_each_other(ws: Workspace, database: str) -> None:
    if database.startswith("sqlite"):
        pytest.skip("SQLite has one lock for all")
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    target = cpu(ws, 1)
    pool = Pool(ws.registry, target.id, clock=lambda: now[0])
    lease = pool.request("run1", 1, Holder.me())
    assert lease is not None
    now[0] += timedelta(seconds=30)  # the next look writes
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(pool.refresh(lease)))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ws.registry.database.write() as remover:
        remover.execute(select(assets.c.id).where(assets.c.id == target.id).with_for_update())
        thread.start()

        def blocked() -> bool:
            with ws.registry.database.read() as looker:
                return bool(looker.exec_driver_sql(waiting).scalar_one())

        until(blocked)
        remover.execute(delete(assets).where(assets.c.id == target.id))
    thread.join(BOUND)
    assert found == [None]


def test_a_holder_elsewhere_is_given_up_when_it_is_silent(ws: Workspace) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    pool = Pool(ws.registry, cpu(ws, 1, idle=600).id, clock=lambda: now[0])
    far = pool.request("far", 1, Holder("elsewhere", 1, "1"))
    near = pool.request("near", 1, Holder.me())
    assert far is not None
    assert near is not None
    assert (pool.refresh(far), pool.refresh(near)) == ([1], [])
    now[0] += timedelta(seconds=50)
    assert pool.refresh(far) == [1]  # it says that it lives
    now[0] += timedelta(seconds=50)
    assert pool.refresh(near) == []
    now[0] += timedelta(seconds=11)
    assert pool.refresh(near) == [1]
    assert pool.refresh(far) is None


def test_a_process_with_the_same_id_is_another_one(ws: Workspace) -> None:
    me = Holder.me()
    pool = Pool(ws.registry, cpu(ws, 1).id)
    pool.request("earlier", 1, Holder(me.host, me.pid, "1"))
    mine = pool.request("mine", 1, me)
    assert mine is not None
    assert pool.refresh(mine) == [1]
