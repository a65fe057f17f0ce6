"""A run on a cluster as seen from the machine that keeps its run folder: which runs are such, and the mirror of what the cluster writes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from batchmill.errors import BatchmillError, ObjectMissingError, UsageError
from batchmill.parallel_run.heart import Heart
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.names import Names
from batchmill.parallel_run.output_holder import OutputHolder
from batchmill.parallel_run.run_folder import RunFolder, on_cluster
from batchmill.parallel_run.run_store import DEAD_LETTERS, FOLDER, LOGS, Heartbeat, RunStore, plan_place
from batchmill.parallel_run.segmented_ledger import LedgerMirror, SegmentedLedger
from batchmill.settings import RunSettings
from batchmill.settings.ray_address import ray_address
from batchmill.storage.files import atomic_write

MARKS = "mirrored.json"
AT_ONCE = 8
LONG, SILENT_FOR = 1.0, 10.0
"""Seconds after which a store that fails is one that did not answer, and for which it is then not asked again by readers."""
_silent: dict[str, float] = {}


def cluster_of(settings: RunSettings, workspace: str | None) -> dict[str, Any] | None:
    """What ``settings.json`` says of the cluster that carries a run out; None for a run on this machine.

    Raises:
        BatchmillError: the compute target is none.
    """
    if settings.compute is None:
        return None
    address = ray_address(settings.compute)
    if address is not None:
        return {"address": address, "bundle": None}
    from batchmill.workspace import compute_provider
    from batchmill.workspace.pool_lease import check_compute

    place = Names(settings, Path.cwd(), workspace).workspace
    address = compute_provider.cluster_of(place, settings.compute)
    if address is None:
        return None
    _, size = check_compute(place, settings.compute, settings.nodes)
    return {"address": address, "bundle": None if size is None else compute_provider.bundle_of(size)}


def cluster_run(folder: RunFolder) -> ClusterRun | None:
    """The run of a folder, if a cluster carries it out."""
    return ClusterRun.of(folder) if on_cluster(folder) else None


def open_ledger(folder: RunFolder) -> Ledger:
    """The ledger of a run for whoever holds the run, and writes."""
    run = cluster_run(folder)
    return Ledger(folder.ledger, write=True) if run is None or not run.begun else run.open_ledger()


def move(folder: RunFolder, compute: str) -> None:
    """Let a run go on on another cluster, ``ray:ADDRESS``.

    Raises:
        UsageError: that is no cluster, or none answers there; the run is not one of a cluster, or it is alive.
    """
    run, address = cluster_run(folder), ray_address(compute)
    if run is None or address is None:
        what = f"Run {folder.id} is not one on a Ray cluster" if run is None else f"'{compute}' is no Ray cluster"
        raise UsageError(f"{what}.", cure="Give --compute ray:ADDRESS to the resume of a run that was begun so.")
    if address == run.address:
        return
    if folder.alive() or (run.begun and run.alive()):
        raise UsageError(f"Run {folder.id} is running on the cluster at {run.address}.", cure=f"Follow it: batchmill resume {folder.id}")
    _ask(address)  # else a wrong address would be that of the run from now on
    description = {**run.description, "cluster": {**run.description["cluster"], "address": address}}
    atomic_write(folder.settings, json.dumps(description, indent=1))


def _ask(address: str) -> None:
    from batchmill.workspace.ray_cluster import connection

    with connection(address):
        pass  # there is one


def bring_plan(folder: RunFolder) -> None:
    """Have the plan of a run here; that of a run on this machine is."""
    run = cluster_run(folder)
    if run is not None and run.begun:
        run.bring_plan()


class ClusterRun:
    """One such run; ``description`` is its ``settings.json``."""

    def __init__(self, folder: RunFolder, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.description = description

    @classmethod
    def of(cls, folder: RunFolder) -> ClusterRun:
        """The run of a folder."""
        return cls(folder, json.loads(folder.settings.read_text()))

    @property
    def address(self) -> str:
        return str(self.description["cluster"]["address"])

    @property
    def begun(self) -> bool:
        """Whether it was ever handed to its cluster."""
        return (self.folder.path / MARKS).exists()

    def begin(self) -> None:
        """It is handed over now."""
        if not self.begun:
            atomic_write(self.folder.path / MARKS, "{}")

    @cached_property
    def names(self) -> Names:
        settings = RunSettings(**self.description["settings"])
        started_in, workspace = Path(self.description["folder"]), self.description.get("workspace")
        return Names(settings, started_in, workspace, run=self.folder.path, step=self.description.get("step_run"))

    @cached_property
    def place(self) -> str:
        """The output, as stores take it."""
        return self.names.place(self.description["output"])

    @cached_property
    def store(self) -> RunStore:
        """What it shares with the cluster."""
        return RunStore(self.place, self.folder.id, float(self.description["settings"]["retry_timeout"]))

    @property
    def remote(self) -> bool:
        """Whether each look into the store is a request."""
        return "://" in self.place

    # --- signs of life ----------------------------------------------------------------------------------------------------------

    def heartbeat(self) -> Heartbeat | None:
        """The last one; None where there is none, or the store is out of reach."""
        with suppress(BatchmillError), self._patience():
            return self.store.alive()
        return None

    @property
    def silent(self) -> bool:
        """Whether the place of the store has just kept somebody waiting in vain: others who look at runs there would wait as long."""
        return time.monotonic() - _silent.get(self._root, -SILENT_FOR) < SILENT_FOR

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Remember a place that does not answer; one that refuses does so at once."""
        began = time.monotonic()
        try:
            yield
        except BatchmillError:
            if time.monotonic() - began > LONG:
                _silent[self._root] = time.monotonic()
            raise

    @property
    def _root(self) -> str:
        """The bucket or datastore; the folder itself where it is one."""
        output = str(self.description["output"])
        return "/".join(output.split("/")[:3]) if "://" in output else output

    def alive(self) -> bool:
        """Whether a coordinator works at it: its heart beats."""
        return Heart(self.folder.id, self.heartbeat).beats()

    # --- the mirror -------------------------------------------------------------------------------------------------------------

    def open_ledger(self) -> Ledger:
        """The ledger for a writer; the coordinator must be gone.

        Raises:
            StoreError: the store does not answer.
        """
        return SegmentedLedger(self.folder.ledger, self.store.files)

    def bring_up_to_date(self, *, logs: bool = False) -> None:
        """The same as `refresh`; what cannot be reached is left as it was last seen."""
        with suppress(BatchmillError, OSError), self._patience():
            self.refresh(logs=logs)

    def refresh(self, *, logs: bool = True) -> bool:
        """Take over what is new; returns whether the ledger is another.

        Raises:
            StoreError: the store does not answer.
        """
        new = LedgerMirror(self.folder.ledger, self.store.files).refresh()
        if logs:
            self.refresh_logs()
        return new

    def refresh_logs(self) -> None:
        """Logs and dead letters, those that changed; several at once, for each takes an object store its time."""
        from concurrent.futures import ThreadPoolExecutor

        marks_file = self.folder.path / MARKS
        try:
            marks = json.loads(marks_file.read_text())
        except (OSError, ValueError):
            marks = {}
        found = {entry.name: entry.mark for entry in self.store.files.list(LOGS)}
        changed = [name for name, mark in found.items() if marks.get(name) != mark]
        with ThreadPoolExecutor(AT_ONCE, "batchmill-fetch") as threads:
            list(threads.map(self._fetch, [*changed, DEAD_LETTERS]))
        if changed:
            atomic_write(marks_file, json.dumps(found))

    def _fetch(self, name: str) -> None:
        """Where it is; what is not there any more, or not yet, need not be here."""
        path = self.folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(ObjectMissingError):
            self.store.files.fetch(name, path)

    def bring_plan(self) -> None:
        """The plan, for whoever looks at mini-batches after the run.

        Raises:
            StoreError: it cannot be fetched.
        """
        if (self.folder.plan / "plan.json").exists():
            return
        place = plan_place(self.store.files)
        found = [] if place is None else [entry.name for entry in self.store.files.list(place)]
        for name in sorted(found, key=lambda name: (name == f"{place}/plan.json", name)):
            path = self.folder.plan / name.removeprefix(f"{place}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.store.files.fetch(name, path)

    def cancel(self) -> None:
        """Ask the coordinator to end it.

        Raises:
            StoreError: the store does not answer.
        """
        self.store.request_cancel()

    def remove(self) -> None:
        """Remove the run folder in the store; the results stay.

        Raises:
            StoreError: the store does not answer.
        """
        self.store.files.clear("")
        OutputHolder(self.store, self.folder.id, str(self.description["name"])).leave()
        if not self.remote:
            with suppress(OSError):  # there are others
                Path(self.place, FOLDER).rmdir()
