"""The plan on its way: published by the coordinator into the run store, mirrored by each machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from batchmill.nodes.node_order import PlanOrder
from batchmill.nodes.plan_blocks import HEADER, SPARSE, PlanBlocks, make_sparse
from batchmill.nodes.scratch import Stopped
from batchmill.parallel_run.events import Task
from batchmill.parallel_run.run_store import PLAN, PUBLISHED, plan_place
from batchmill.storage.shared_store import SharedStore

LARGE = 64 << 20
"""Bytes of a plan from which on a node does not fetch all of it."""
MARK = ".sparse"


def publish_plan(files: SharedStore, folder: Path, name: str) -> PlanOrder:
    """Put a plan into the run store, as ``name``, unless another one was published before: of incarnations that do not know of each
    other, the plan of the first holds for all, and what others write is never read. Returns the order for the one that holds."""
    there = published_plan(files)
    if there is not None:
        return there
    place = f"{PLAN}/{name}"
    for path in folder.rglob("*"):
        if path.is_file():
            files.put_file(f"{place}/{path.relative_to(folder).as_posix()}", path)
    files.create(PUBLISHED, place.encode())
    order = published_plan(files)
    assert order is not None
    return order


def published_plan(files: SharedStore) -> PlanOrder | None:
    """The plan that lies in the run store, its header last; None where none is complete."""
    place = plan_place(files)
    if place is None:
        return None
    found = [(entry.name.removeprefix(f"{place}/"), entry.size) for entry in files.list(place)]
    return PlanOrder(tuple(sorted(found, key=lambda one: (one[0] == HEADER, one))), place)


def fetch_plan(
    files: SharedStore, order: PlanOrder, folder: Path, stopped: Callable[[], bool] = lambda: False, *, whole: bool = True
) -> None:
    """Bring the plan into an existing folder; unless it has to be ``whole``, of a large plan only what does not grow with its items.

    Raises:
        StoreError: it cannot be read.
        Stopped: ``stopped`` said so.
    """
    sparse = not whole and order.bytes > LARGE and make_sparse(files, order, folder)
    for name, _ in order.files:
        if stopped():
            raise Stopped
        if not (sparse and name in SPARSE):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            files.fetch(f"{order.place}/{name}", folder / name)
    if sparse:
        (folder / MARK).touch()


class PlanMirror:
    """Has the parts of a plan that leases need, in a thread of its own; of a plan that is there as a whole, at once.

    ``ready`` is called with the leases of `need`, in their order, in the thread or by the caller; ``failed`` when the plan is out of reach,
    or the disk here full.
    """

    def __init__(
        self,
        files: SharedStore,
        order: PlanOrder,
        folder: Path,
        ready: Callable[[tuple[Task, ...]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._ready, self._failed = ready, failed
        self._blocks = PlanBlocks(files, order, folder) if (folder / MARK).exists() else None
        self._queue: SimpleQueue[tuple[Task, ...] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._body, name="batchmill-plan", daemon=True)
        if self._blocks is not None:
            self._thread.start()

    def need(self, tasks: tuple[Task, ...]) -> None:
        """Have what these leases are about."""
        if self._blocks is None:
            self._ready(tasks)
        else:
            self._queue.put(tasks)

    def close(self) -> None:
        """What was not fetched yet is not wanted any more."""
        if self._blocks is not None:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _body(self) -> None:
        assert self._blocks is not None
        try:
            while (tasks := self._queue.get()) is not None and not self._closed:
                for task in tasks:
                    self._blocks.need(task.first, task.count)
                self._ready(tasks)
        except Exception as error:  # whatever it was: the leases that wait would wait for ever
            self._failed(error)
        finally:
            self._blocks.close()
