"""The plan on its way: published by the coordinator into the run store, mirrored by each machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from batchmill.nodes.node_order import PlanOrder
from batchmill.nodes.scratch import Stopped
from batchmill.parallel_run.run_store import PLAN
from batchmill.storage.shared_store import SharedStore

HEADER = "plan.json"
"""Written last: a plan without it is not complete."""


def publish_plan(files: SharedStore, folder: Path) -> PlanOrder:
    """Put a plan into the run store; what is there already, of the same size, stays: a plan never changes once it is complete."""
    order = plan_order(folder)
    there = {entry.name: entry.size for entry in files.list(PLAN)}
    for name, size in order.files:
        if there.get(f"{PLAN}/{name}") != size:
            files.put_file(f"{PLAN}/{name}", folder / name)
    return order


def plan_order(folder: Path) -> PlanOrder:
    """The files of a plan folder; the header comes last."""
    found = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*") if path.is_file()]
    return PlanOrder(tuple(sorted(found, key=lambda one: (one[0] == HEADER, one))))


def published_plan(files: SharedStore) -> PlanOrder | None:
    """The plan that lies in the run store; None where none is complete."""
    found = [(entry.name.removeprefix(f"{PLAN}/"), entry.size) for entry in files.list(PLAN)]
    if not any(name == HEADER for name, _ in found):
        return None
    return PlanOrder(tuple(sorted(found, key=lambda one: (one[0] == HEADER, one))))


def fetch_plan(files: SharedStore, order: PlanOrder, folder: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Bring the whole plan into an existing folder.

    Raises:
        StoreError: it cannot be read.
        Stopped: ``stopped`` said so.
    """
    for name, _ in order.files:
        if stopped():
            raise Stopped
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.fetch(f"{PLAN}/{name}", folder / name)
