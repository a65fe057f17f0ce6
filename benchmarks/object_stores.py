"""5,000 objects of 1 KB from real object-store servers on loopback: the prefetcher alone, and a whole run that opens each file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import ROOT, Command, batchmill, pairs, peer, wall
from benchmarks.report import Result, at_least, seconds
from benchmarks.rows import Options
from tests import stores

NAMES = {"s3": "S3 (moto_server)", "az": "Azure Blob (Azurite)", "static": "static server"}
BAR = 0.9
SIZE = 1024


def object_store(kind: str, options: Options) -> list[Result]:
    """The rows of the results table for one server."""
    count = 1_000 if options.small else 5_000
    results = _read(kind, count, options)
    if kind == "static":  # a server of plain files has no listing, so it cannot be an input
        return results
    what = f"{NAMES[kind]}: a whole run over {count:,} objects of 1 KB"
    try:
        with stores.s3_server() if kind == "s3" else stores.azure_server() as server:
            return [*results, _whole_run(what, kind, server, count, options)]
    except stores.StoreMissing as missing:
        return [*results, Result(what, "", str(missing), "", f"≥ {BAR} ×", None)]


def _read(kind: str, count: int, options: Options) -> list[Result]:
    """What `benchmarks.object_store_read` measures, as a row."""
    words = [sys.executable, "-m", "benchmarks.object_store_read", "--servers", kind, "--objects", str(count)]
    words += ["--rounds", str(options.pairs)]  # into the folder that a run of this size would choose
    answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = json.loads(answer.splitlines()[-1])
    what = f"{NAMES[kind]}: reading {count:,} objects of 1 KB"
    if "not_measured" in told:
        return [Result(what, "", told["not_measured"], "", f"≥ {BAR} ×", None)]
    ours, bare = f"{told['prefetcher']:,} a second", f"bare get {told['bare']:,}, bare get to files {told['bare_to_files']:,}"
    return [at_least(what, ours, bare, told["ratio"], BAR)]


def _whole_run(what: str, kind: str, server: stores.Server, count: int, options: Options) -> Result:
    """Start-up is taken off both: each is also measured over a container with ten objects."""
    import obstore

    from batchmill.storage.location import parse_location
    from batchmill.storage.object_store import store_for

    os.environ.update(server.environment)
    for name, objects in (("bench", count), ("few", 10)):
        server.create(name)
        store = store_for(parse_location(f"{kind}://{name}"))
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number, store=store: obstore.put(store, f"{number:06d}.bin", os.urandom(SIZE)), range(objects)))
    commands: dict[str, Command] = {}
    for name in ("bench", "few"):
        commands[f"batchmill {name}"] = batchmill(options.data, "open_each", f"{kind}://{name}", "--mini-batch-size", 10)
        commands[f"bare {name}"] = peer("get_objects", f"{kind}://{name}")
    spent = pairs(commands, options.pairs)
    ours = wall(spent["batchmill bench"]) - wall(spent["batchmill few"])
    bare = wall(spent["bare bench"]) - wall(spent["bare few"])
    start = seconds(wall(spent["batchmill few"]))
    return at_least(what, f"{count / ours:,.0f} a second + {start} start-up", f"bare get {count / bare:,.0f}", bare / ours, BAR, "x")
