"""Uploading and downloading 5,000 files of 1 KB: a datastore against a bare concurrent obstore loop, on the same servers.

Paired runs, one behind the other in turns, and the median of their ratios; the bar is a rate of at least 0.8 of the bare one. Both move
the same files from and to a folder with the same number of threads, each time under names that the store does not have yet:

- bare: threads that read a file and put it, or get an object and write it to a file;
- datastore: ``Datastore.upload`` and ``download``: registered credentials, what is there skipped, every file atomic, progress counted.

Run as ``python -m benchmarks.datastore_transfer [--servers s3,az] [--files N] [--rounds N]``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore

from batchmill.storage.object_store import store_for
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.storage_datastore import StorageDatastore
from batchmill.workspace.workspace import Workspace
from benchmarks.measure import ROOT
from benchmarks.report import Result, at_least
from benchmarks.rows import Options
from tests import stores

NAMES = {"s3": "S3 (moto_server)", "az": "Azure Blob (Azurite)"}
BAR = 0.8
SIZE = 1024
THREADS = 16


def transfer(options: Options) -> list[Result]:
    """The rows of the results table."""
    files = 1_000 if options.small else 5_000
    words = [sys.executable, "-m", "benchmarks.datastore_transfer", "--files", str(files), "--rounds", str(options.pairs)]
    answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [row for line in answer.splitlines() for row in _rows(json.loads(line), files)]


def _rows(told: dict[str, Any], files: int) -> Iterator[Result]:
    for action in ("upload", "download"):
        what = f"{NAMES[told['server']]}: {action} of {files:,} files of 1 KB"
        if "not_measured" in told:
            yield Result(what, "", told["not_measured"], "", f"≥ {BAR} ×", None)
            continue
        ours, bare = told[f"datastore_{action}"], told[f"bare_{action}"]
        yield at_least(what, f"{ours:,} a second", f"bare obstore loop {bare:,}", told[f"{action}_ratio"], BAR)


@contextmanager
def datastore_on(kind: str) -> Iterator[StorageDatastore]:
    """A server, and a datastore that is registered for it."""
    with tempfile.TemporaryDirectory() as home, stores.s3_server() if kind == "s3" else stores.azure_server() as server:
        os.environ["BATCHMILL_HOME"] = home
        server.create("bench")
        ws = Workspace.create("bench", show_output=False)
        if kind == "s3":
            yield Datastore.register_s3_bucket(ws, "bench", "bench", "testing", "testing", endpoint=server.url)
        else:
            yield Datastore.register_azure_blob_container(ws, "bench", "bench", stores.ACCOUNT, account_key=stores.KEY, endpoint=server.url)


def bare_upload(datastore: StorageDatastore, folder: Path, to: str) -> None:
    """Threads that read each file and put it."""
    store = store_for(datastore.place(), upload=True)

    def send(path: Path) -> None:
        obstore.put(store, f"{to}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, [path for path in folder.rglob("*") if path.is_file()]))


def bare_download(datastore: StorageDatastore, prefix: str, into: Path) -> None:
    """Threads that get each object and write it."""
    store = store_for(datastore.place())

    def fetch(key: str) -> None:
        data = obstore.get(store, key).bytes()
        path = into / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    keys = [meta["path"] for page in obstore.list(store, prefix, chunk_size=1000) for meta in page]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fetch, keys))


def measure(kind: str, files: int, rounds: int) -> dict[str, Any]:
    """Rates in files per second (medians), and the ratios."""
    times: dict[str, list[float]] = {f"{who}_{what}": [] for what in ("upload", "download") for who in ("bare", "datastore")}
    with datastore_on(kind) as datastore, tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        for number in range(files):
            path = source / f"{number // 1000:03d}" / f"{number:06d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(SIZE))
        bare_upload(datastore, source, "warm")  # the first requests of a server are slower
        for turn in range(rounds):
            runs: dict[str, Callable[[], Any]] = {
                "bare_upload": lambda turn=turn: bare_upload(datastore, source, f"bare{turn}"),
                "datastore_upload": lambda turn=turn: datastore.upload(source, f"own{turn}", show_progress=False),
                "bare_download": lambda turn=turn: bare_download(datastore, "warm", Path(scratch, f"bare{turn}")),
                "datastore_download": lambda turn=turn: datastore.download(Path(scratch, f"own{turn}"), "warm/", show_progress=False),
            }
            order = ["bare_upload", "datastore_upload", "bare_download", "datastore_download"]
            for name in reversed(order) if turn % 2 else order:  # a pair is close together, and no order favours one of them
                began = time.perf_counter()
                runs[name]()
                times[name].append(time.perf_counter() - began)
            if turn == 0:
                _prove(datastore, Path(scratch), files)
    rate = {name: files / statistics.median(values) for name, values in times.items()}
    ratios = {
        f"{what}_ratio": round(statistics.median(a / b for a, b in zip(times[f"bare_{what}"], times[f"datastore_{what}"], strict=True)), 3)
        for what in ("upload", "download")
    }
    return {"server": kind, **{name: round(value) for name, value in rate.items()}, **ratios, "bar": BAR}


def _prove(datastore: StorageDatastore, scratch: Path, files: int) -> None:
    """Both did all of the work."""
    for folder in ("bare0", "own0"):
        assert sum(1 for _ in datastore.files(f"{folder}/")) == files
        assert sum(1 for path in (scratch / folder).rglob("*") if path.is_file()) == files


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each server and print one JSON line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="s3,az")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    for kind in options.servers.split(","):
        try:
            print(json.dumps(measure(kind, options.files, options.rounds)), flush=True)
        except stores.StoreMissing as missing:
            print(json.dumps({"server": kind, "not_measured": str(missing)}), flush=True)


if __name__ == "__main__":
    main()
