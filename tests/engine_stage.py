"""An engine of either kind with a prepared run, and what it told: what the contract suite and the disasters of nodes work with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.node_order import NodeOrder, travelling
from batchmill.nodes.placement import Bundle, bundle_of
from batchmill.nodes.plan_mirror import publish_plan
from batchmill.nodes.published_snapshot import publish_snapshot
from batchmill.nodes.ray import Bounds, RayEngine
from batchmill.parallel_run.events import Done, Engine, Event, NodeConfig, NodeJoined, Returned, Task, WorkerReady
from batchmill.parallel_run.run_store import RunStore
from tests.integration.test_core_failures import new_run, write_items

LOCAL, RAY = "local", "ray"
QUICK = Bounds(take=1, silence=8, start=60, abort=5, look=0.2)
PATIENCE = 60.0

WAITS = """
import os, time

MARKS = {marks!r}

def mark(name):
    with open(os.path.join(MARKS, name), "a") as file:
        file.write(f"{{os.getpid()}}\\n")

def init():
    mark("init")

def run(files):
    name = os.path.basename(files[0])
    mark(name)
    while "wait" in name and not os.path.exists(os.path.join(MARKS, "go")):
        time.sleep(0.01)
    if "dies" in name:
        os._exit(7)
    if "bad" in name:
        raise ValueError("cannot do " + name)
    return [os.path.basename(path) for path in files]

def shutdown():
    mark("shutdown")
"""
"""Leaves its process id in a file for each thing it does; items with wait in their names take until there is a file ``go``."""


@dataclass
class Stage:
    """An engine, and everything that it told."""

    engine: Engine
    config: NodeConfig
    marks: Path
    store: RunStore | None
    told: list[Event] = field(default_factory=list)
    over: bool = False
    tokens: int = 0

    def until(self, met: Callable[[], object], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not met():
            assert time.monotonic() < deadline, self.told
            self.told += self.engine.step(0.05)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    def start(self, ready: int = 1) -> Stage:
        """Start, and wait until so many workers are ready."""
        self.engine.start()
        self.until(lambda: len(self.of(WorkerReady)) >= ready)
        return self

    def give(self, node: str, first: int, count: int = 1, **more: Any) -> int:
        self.tokens += 1
        self.engine.give(node, [Task(self.tokens, first, count, **more)])
        return self.tokens

    def begun(self, name: str) -> list[int]:
        """Process ids of those that began this."""
        path = self.marks / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def go(self) -> None:
        (self.marks / "go").touch()

    def done(self) -> list[int]:
        return sorted(k for one in self.of(Done) for k in range(one.first, one.first + one.count))

    def returned(self) -> list[int]:
        return sorted(k for one in self.of(Returned) for k in range(one.first, one.first + one.count))

    def joined(self) -> list[str]:
        return [event.node for event in self.of(NodeJoined)]

    def rows(self) -> bytes:
        """The rows of everything that is done, in the order of the mini-batches, from where others find them."""
        outcomes = sorted(self.of(Done), key=lambda done: done.first)
        return b"".join(self._rows(done) for done in outcomes)

    def _rows(self, done: Done) -> bytes:
        if self.store is not None:
            return self.store.files.read(f"parts/{done.part}", done.offset, done.length)
        with open(self.config.run_folder / "parts" / done.part, "rb") as file:
            file.seek(done.offset)
            return file.read(done.length)

    def finish(self) -> None:
        self.engine.finish(self.told.extend)
        self.over = True

    def abort(self) -> None:
        self.engine.abort()
        self.over = True

    def gone(self, pids: list[int], patience: float = 10) -> bool:
        """Whether these processes end in time."""
        deadline = time.monotonic() + patience
        while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.01)
        return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def stage(
    kind: str,
    tmp_path: Path,
    *items: str,
    script: str = WAITS,
    granted: int | None = None,
    bundle: Bundle | None = None,
    **settings: Any,
) -> Iterator[Stage]:
    """A stage for the run of ``script`` over items of these names, one in a mini-batch, on nodes with one worker each; not started.
    For ``ray`` this process is a driver of the cluster; ``bundle``: what a node reserves there, a CPU for each worker unless given."""
    marks = tmp_path / "marks"
    marks.mkdir()
    output = tmp_path / "out"
    settings = {"mini_batch_size": 1, "workers": 1, "nodes": 2, **settings}
    inputs = write_items(tmp_path / "in", *items)
    coordinator = Coordinator(new_run(tmp_path, script.format(marks=str(marks)), inputs=inputs, output=str(output), **settings))
    coordinator.prepare()
    coordinator._end_reserve()
    config = coordinator.node_config(coordinator.folder.snapshot)
    made = (
        _local(config, marks, granted)
        if kind == LOCAL
        else _on_ray(config, marks, granted, str(output), bundle or bundle_of(config.workers))
    )
    try:
        yield made
    finally:
        if not made.over:
            made.engine.abort()
        coordinator.discard()


def _local(config: NodeConfig, marks: Path, granted: int | None) -> Stage:
    return Stage(LocalEngine(config, granted=granted), config, marks, None)


def _on_ray(config: NodeConfig, marks: Path, granted: int | None, output: str, bundle: Bundle) -> Stage:
    store = RunStore(output, config.run_id, config.retry_timeout)
    snapshot = publish_snapshot(store.files, config.source)
    plan = publish_plan(store.files, config.plan_folder, "1")
    order = NodeOrder(travelling(config, output), output, snapshot, plan)
    return Stage(RayEngine(order, bundle, granted=granted, bounds=QUICK), config, marks, store)


def environment_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    entries = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
    return dict(entry.partition("=")[::2] for entry in entries if entry)
