"""Ray Data: ``map_batches`` of an entry script over the files of a folder, on a pool of two actors; the rows, in order, into one file.

python ray_data.py ADDRESS SCRIPT FOLDER FILES_PER_CALL OUTPUT BLOCKS

BLOCKS is into how many blocks the list of files is cut; 0 leaves it to Ray Data.
"""

from __future__ import annotations

import os
import sys
from typing import Any


class Scorer:
    """The entry script in an actor: loaded once, called for each batch."""

    def __init__(self, script: str) -> None:
        import importlib.util

        sys.path.insert(0, os.path.dirname(script))
        spec = importlib.util.spec_from_file_location("entry_script", script)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        if hasattr(module, "init"):
            module.init()
        self._run = module.run

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"row": self._run(list(batch["path"]))}


def main() -> None:
    import ray
    import ray.data

    address, script, folder, size, output, blocks = sys.argv[1:]
    ray.init(address, log_to_driver=False, logging_level="warning")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    files = sorted(entry.path for entry in os.scandir(folder))
    paths = ray.data.from_items([{"path": path} for path in files], override_num_blocks=int(blocks) or None)
    pool = ray.data.ActorPoolStrategy(size=2)
    rows = paths.map_batches(Scorer, fn_constructor_args=(script,), batch_size=int(size), compute=pool, num_cpus=1)
    written = 0
    with open(output, "w") as out:
        for batch in rows.iter_batches(batch_size=None):
            written += len(batch["row"])
            out.write("".join(f"{row}\n" for row in batch["row"]))
    if written != len(files):
        sys.exit(f"{written} rows of {len(files)} files")
    ray.shutdown()


if __name__ == "__main__":
    main()
