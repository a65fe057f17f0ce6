"""Running object stores for the integration tests: one moto_server and one Azurite a module, one empty bucket a test."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest

from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.run import create_run
from batchmill.settings import RunSettings
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import store_for
from tests import stores

NUMBERS = itertools.count()


@dataclass
class Bucket:
    """An empty bucket or container of a running server."""

    server: stores.Server
    url: str

    def put(self, key: str, data: bytes) -> str:
        return str(obstore.put(store_for(parse_location(self.url)), key, data)["e_tag"])

    def delete(self, key: str) -> None:
        obstore.delete(store_for(parse_location(self.url)), key)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, stores.Server | str]]:
    """Both emulators, started side by side; a text says why one is missing."""
    with ExitStack() as stack:
        found: dict[str, stores.Server | str] = {}

        def start(kind: str, server: Callable[[], Any]) -> None:
            try:
                found[kind] = stack.enter_context(server())
            except stores.StoreMissing as missing:
                found[kind] = str(missing)

        threads = [threading.Thread(target=start, args=pair) for pair in (("s3", stores.s3_server), ("az", stores.azure_server))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield found


def bucket_of(kind: str, servers: dict[str, stores.Server | str], patch: pytest.MonkeyPatch) -> Bucket:
    server = servers[kind]
    if isinstance(server, str):
        pytest.skip(f"NOT TESTED against {kind}: {server}")
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        patch.delenv(name)
    for name, value in server.environment.items():
        patch.setenv(name, value)
    name = f"bucket-{next(NUMBERS)}"
    server.create(name)
    return Bucket(server, f"{kind}://{name}")


@pytest.fixture(params=["s3", "az"])
def bucket(request: pytest.FixtureRequest, servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return bucket_of(request.param, servers, monkeypatch)


@pytest.fixture
def s3(servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return bucket_of("s3", servers, monkeypatch)


@pytest.fixture
def new_cluster_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterRun:
    """A run for a cluster that nobody has asked, of a script over an empty folder."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    (tmp_path / "in").mkdir()
    (tmp_path / "score.py").write_text("def run(files):\n    return files\n")
    values = {"script": str(tmp_path / "score.py"), "inputs": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    return ClusterRun.of(create_run(RunSettings.parse({**values, "compute": "ray:head:6379"})))
