"""Bare Ray: two actors that hold an entry script, a queue of mini-batches in the driver; the rows, in order, into one file.

python ray_actors.py ADDRESS SCRIPT FOLDER FILES_PER_CALL OUTPUT IN_FLIGHT

Every actor has up to IN_FLIGHT calls before it, so that it does not wait for the driver; it gets the next ones when half of them are done.
"""

from __future__ import annotations

import itertools
import os
import sys


class Scorer:
    """The entry script in an actor: loaded once, called for each mini-batch."""

    def __init__(self, script: str) -> None:
        import importlib.util

        sys.path.insert(0, os.path.dirname(script))
        spec = importlib.util.spec_from_file_location("entry_script", script)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        if hasattr(module, "init"):
            module.init()
        self._run = module.run

    def score(self, mini_batch: list[str]) -> list[str]:
        return list(self._run(mini_batch))


def main() -> None:
    import ray

    address, script, folder, size, output, in_flight = sys.argv[1:]
    ray.init(address, log_to_driver=False, logging_level="warning")
    files = sorted(entry.path for entry in os.scandir(folder))
    step = int(size)
    mini_batches = [files[first : first + step] for first in range(0, len(files), step)]
    actors = [ray.remote(num_cpus=1)(Scorer).remote(script) for _ in range(2)]
    waiting = iter(enumerate(mini_batches))
    first = itertools.islice(waiting, 2 * int(in_flight))
    running = {actors[number % 2].score.remote(one): (number, number % 2) for number, one in first}
    results: list[list[str]] = [[]] * len(mini_batches)
    while running:
        done, _ = ray.wait(list(running), num_returns=min(len(running), max(1, int(in_flight) // 2)))
        for reference, rows in zip(done, ray.get(done), strict=True):
            number, actor = running.pop(reference)
            results[number] = rows
            if following := next(waiting, None):
                running[actors[actor].score.remote(following[1])] = (following[0], actor)
    with open(output, "w") as out:
        for rows in results:
            out.write("".join(f"{row}\n" for row in rows))
    ray.shutdown()


if __name__ == "__main__":
    main()
