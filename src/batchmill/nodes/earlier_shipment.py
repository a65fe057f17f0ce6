"""Earlier runs on their way to the coordinator of a new one on a cluster, which looks for what it can reuse of them.

What a run on a cluster left lies in its own run store; that of a run on the submitting machine is put into the store of the new one.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from batchmill.errors import BatchmillError
from batchmill.nodes.plan_mirror import fetch_plan, publish_plan, published_plan
from batchmill.nodes.published_snapshot import fetch_snapshot, publish_snapshot
from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.earlier_runs import earlier_runs, note, noted_inputs
from batchmill.parallel_run.reuse import LOOKED_AT
from batchmill.parallel_run.run_folder import RunFolder, on_cluster, runs_folder
from batchmill.parallel_run.run_identity import COMPLETE, source_list
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import LedgerMirror
from batchmill.storage.shared_store import SharedStore

EARLIER = "earlier"
LEDGER_FILE = "ledger.sqlite"
SHIPPED = 3
"""Runs of the submitting machine that are put into the store; a search hardly ever needs more than the newest."""


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """``settings``: its ``settings.json``, empty where its folder is gone; ``inputs``: those that its note names; ``place``: the output in
    which its run store lies, None where it was put into the new one's."""

    id: str
    settings: str
    inputs: tuple[str, ...]
    place: str | None


def ship_earlier(description: Mapping[str, Any], store: RunStore) -> tuple[EarlierRun, ...]:
    """The completed runs of the same name and script, newest first."""
    return tuple(_ship(description, store))


def _ship(description: Mapping[str, Any], store: RunStore) -> Iterator[EarlierRun]:
    shipped = 0
    for run in islice(earlier_runs(description), LOOKED_AT):
        folder, inputs = RunFolder(runs_folder() / run), tuple(noted_inputs(run, description))
        if not folder.settings.exists():
            yield EarlierRun(run, "", inputs, None)
        elif on_cluster(folder):
            with suppress(BatchmillError):
                yield EarlierRun(run, folder.settings.read_text(), inputs, ClusterRun.of(folder).place)
        elif shipped < SHIPPED:
            with suppress(OSError, sqlite3.Error):
                _put(folder, store.files.below(f"{EARLIER}/{run}"))
                shipped += 1
                yield EarlierRun(run, folder.settings.read_text(), inputs, None)


def _put(folder: RunFolder, files: SharedStore) -> None:
    publish_plan(files, folder.plan, "whole")
    publish_snapshot(files, folder.snapshot)
    with tempfile.TemporaryDirectory(prefix="batchmill-earlier-") as room:
        copy = Path(room, LEDGER_FILE)
        with closing(sqlite3.connect(folder.ledger)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        files.put_file(LEDGER_FILE, copy)


def lay_out(earlier: EarlierRun, description: Mapping[str, Any], store: RunStore, retry_timeout: float) -> None:
    """Make the batchmill home of this process such that the run is found in it. What cannot be had is found missing."""
    note({**description, "id": earlier.id, "settings": {"inputs": list(earlier.inputs)}})
    folder = RunFolder(runs_folder() / earlier.id)
    if not earlier.settings or folder.settings.exists():
        return
    for path in (folder.path, folder.plan, folder.snapshot):
        path.mkdir(parents=True, exist_ok=True)
    with suppress(BatchmillError):
        if earlier.place is None:
            files = store.files.below(f"{EARLIER}/{earlier.id}")
            files.fetch(LEDGER_FILE, folder.ledger)
        else:
            files = RunStore(earlier.place, earlier.id, retry_timeout).files
            LedgerMirror(folder.ledger, files).refresh()
        order = published_plan(files)
        if order is not None:
            fetch_plan(files, order, folder.plan)
            fetch_snapshot(files, folder.snapshot)
            (folder.snapshot / COMPLETE).write_text(source_list(folder.snapshot))
            folder.settings.write_text(earlier.settings)
