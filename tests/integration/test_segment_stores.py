"""Segments in real stores: a folder, S3 (moto_server) and Azure Blob (Azurite)."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from batchmill.nodes.output_files import OutputFiles
from batchmill.nodes.segment_sync import SegmentSync
from batchmill.parallel_run.events import Done
from batchmill.storage.shared_store import SharedStore, shared_store
from batchmill.worker.delivery import RECORD
from tests import stores
from tests.integration.conftest import bucket_of


@pytest.fixture(params=["folder", "s3", "az"])
def store(
    request: pytest.FixtureRequest, servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> SharedStore:
    if request.param == "folder":
        return shared_store(str(tmp_path / "out" / "deep"))
    return shared_store(f"{bucket_of(request.param, servers, monkeypatch).url}/out/deep")


def test_small_and_large_outcomes_and_files_of_scripts_arrive_whole(store: SharedStore, tmp_path: Path) -> None:
    rows = [b"first\n", b"", os.urandom(20_000_000), b"", b"last\n"]
    part = tmp_path / "1-node0-process000"
    part.write_bytes(b"".join(rows))
    written = tmp_path / "written"
    (written / "deep").mkdir(parents=True)
    (written / "deep" / "of a script").write_bytes(os.urandom(9_000_000))
    sync = SegmentSync(store.below("run"), 1, "node0", 20.0, OutputFiles(written, store))
    offset = 0
    for first, one in enumerate(rows):
        packed = RECORD.pack(len(one), 1, 1, 1, 0, 1.0, 0.5, 0.25)
        sync.add(part, Done("node0", "process000", 1, first, 1, None, part.name, offset, len(one), 1, 1, 1, 0, packed))
        offset += len(one)
    told: list[Done] = []
    for now in range(20):
        told += sync.sync(float(now), hurry=True)
        if not sync.waiting:
            break
        assert select.select([sync.wake], [], [], 60.0)[0]
        sync.heard()
    sync.close()
    assert sum(done.count for done in told) == len(rows)
    assert b"".join(store.read(f"run/parts/{done.part}", done.offset, done.length) for done in told if done.length) == b"".join(rows)
    assert store.read("deep/of a script") == (written / "deep" / "of a script").read_bytes()
