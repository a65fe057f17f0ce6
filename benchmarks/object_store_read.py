"""Reading 5,000 objects of 1 KB: the prefetcher against a bare concurrent obstore get, on the same servers.

Paired runs, ratio of medians; the bar is a rate of at least 0.9 of the bare one. Three rates are measured in turn:

- bare: threads that call obstore's ``get`` and drop the bytes;
- bare, to files: the same threads, each object written to a file of its own, which is what a script that takes paths needs;
- prefetcher: etag checked, order kept, bytes bounded, each object in a file where the plan expects it.

Run as ``python -m benchmarks.object_store_read [--servers s3,az,static] [--objects N] [--rounds N] [--cache DIR]``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore

from batchmill.storage.location import parse_location
from batchmill.storage.object_store import list_objects, store_for
from batchmill.storage.prefetch import Prefetcher, choose_cache_folder
from tests import stores

BAR = 0.9
SIZE = 1024
PER_MINI_BATCH = 10
THREADS = 16


@dataclass
class ListedPlan:
    """A plan of the listed objects, ten in a mini-batch."""

    header: dict[str, Any]
    items: list[Any]

    def item(self, number: int) -> Any:
        return self.items[number]

    def mini_batch(self, index: int) -> Any:
        return SimpleNamespace(items=range(index * PER_MINI_BATCH, min(len(self.items), (index + 1) * PER_MINI_BATCH)))


@contextmanager
def objects_on(kind: str, count: int) -> Iterator[ListedPlan]:
    """A server that holds ``count`` objects, and a plan of them."""
    names = [f"{number // 1000:03d}/{number:06d}.bin" for number in range(count)]
    with ExitStack() as stack:
        if kind == "static":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(os.urandom(SIZE))
            url = stack.enter_context(stores.static_server(folder)).url
            items = [SimpleNamespace(name=name, input=0, size=SIZE, etag=None) for name in names]
            yield ListedPlan({"inputs": [{"base": url, "location": "http"}]}, items)
            return
        if kind not in ("s3", "az"):
            raise SystemExit(f"There is no server called '{kind}': choose from s3, az, static.")
        server = stack.enter_context(stores.s3_server() if kind == "s3" else stores.azure_server())
        os.environ.update(server.environment)
        server.create("bench")
        location = parse_location(f"{kind}://bench")
        store = store_for(location)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: obstore.put(store, name, os.urandom(SIZE)), names))
        rows = ((n, s, e) for c in list_objects(location) for n, s, e in zip(c.names, c.sizes, c.etags or [], strict=True))
        items = [SimpleNamespace(name=name.decode(), input=0, size=size, etag=etag) for name, size, etag in rows]
        yield ListedPlan({"inputs": [{"base": location.base, "location": kind}]}, items)


def bare(plan: ListedPlan, folder: str | None) -> None:
    """Get every object with THREADS threads; with ``folder``, write each to a file."""
    store = store_for(parse_location(plan.header["inputs"][0]["base"]))
    if folder is not None:
        for parent in {os.path.dirname(item.name) for item in plan.items}:
            os.makedirs(f"{folder}/0/{parent}")

    def loop(first: int) -> None:
        for item in plan.items[first::THREADS]:
            data = obstore.get(store, item.name).bytes()
            if folder is not None:
                with open(f"{folder}/0/{item.name}", "wb", buffering=0) as file:
                    file.write(data)

    threads = [threading.Thread(target=loop, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def prefetched(plan: ListedPlan, folder: str) -> Prefetcher:
    """Get every object through the prefetcher; the caller closes it."""
    told = threading.Event()
    prefetcher = Prefetcher(plan, folder, 2**30, threads=THREADS, wake=told.set)
    count = -(-len(plan.items) // PER_MINI_BATCH)
    prefetcher.want(0, count)
    while count:
        told.wait()
        told.clear()
        ready = prefetcher.ready()
        assert not any(failures for _, failures in ready), ready
        count -= len(ready)
    return prefetcher


def seconds(run: Callable[[str], Any], cache: str, left: ExitStack) -> float:
    """Wall time of one run. Its files go when ``left`` closes: ext4 is slow to create files soon after many were deleted."""
    folder = tempfile.mkdtemp(dir=cache)
    left.callback(shutil.rmtree, folder, ignore_errors=True)
    began = time.perf_counter()
    opened = run(folder)
    taken = time.perf_counter() - began
    if isinstance(opened, Prefetcher):
        left.callback(opened.close)
    return taken


def measure(kind: str, objects: int, rounds: int, cache: str) -> dict[str, Any]:
    """Rates in objects per second, and the ratios of their medians."""
    times: dict[str, list[float]] = {"bare": [], "bare_to_files": [], "prefetcher": []}
    with objects_on(kind, objects) as plan, ExitStack() as left:
        runs: dict[str, Callable[[str], Any]] = {
            "bare": lambda _folder: bare(plan, None),
            "bare_to_files": lambda folder: bare(plan, folder),
            "prefetcher": lambda folder: prefetched(plan, folder),
        }
        bare(plan, None)  # the first reads of a server are slower
        for turn in range(rounds):
            for name in sorted(runs, reverse=bool(turn % 2)):  # no order favours one of them
                times[name].append(seconds(runs[name], cache, left))
    rate = {name: objects / statistics.median(values) for name, values in times.items()}
    return {
        "server": kind,
        **{name: round(value) for name, value in rate.items()},
        "ratio": round(rate["prefetcher"] / rate["bare"], 3),
        "ratio_to_files": round(rate["prefetcher"] / rate["bare_to_files"], 3),
        "bar": BAR,
    }


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure each server and print one JSON line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="s3,az,static")
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", default=choose_cache_folder("bench", 2**28, tempfile.gettempdir()), help="where the files go")
    options = parser.parse_args(arguments)
    os.makedirs(options.cache, exist_ok=True)
    results = []
    for kind in options.servers.split(","):
        try:
            results.append(measure(kind, options.objects, options.rounds, options.cache))
            print(json.dumps(results[-1]), flush=True)
        except stores.StoreMissing as missing:
            print(json.dumps({"server": kind, "not_measured": str(missing)}), flush=True)
    with suppress(OSError):
        os.rmdir(options.cache)  # only where it is empty, so made here
    return results


if __name__ == "__main__":
    main()
