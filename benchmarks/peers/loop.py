"""The bare two-process loop: each process lists the folder, takes its half, calls run(), and writes its rows.

python loop.py SCRIPT FOLDER FILES_PER_CALL OUTPUT
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys


def half(number: int, script: str, folder: str, size: int, output: str) -> None:
    spec = importlib.util.spec_from_file_location("entry_script", script)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    if hasattr(module, "init"):
        module.init()
    files = sorted(entry.path for entry in os.scandir(folder))
    calls = range(0, len(files), size)
    middle = -(-len(calls) // 2)
    with open(f"{output}.{number}", "w") as out:
        for first in calls[:middle] if number == 0 else calls[middle:]:
            rows = module.run(files[first : first + size])
            out.write("".join(f"{row}\n" for row in rows))


def main() -> None:
    script, folder, size, output = sys.argv[1:]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=half, args=(number, script, folder, int(size), output)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with open(output, "wb") as whole:
        for number in range(2):
            with open(f"{output}.{number}", "rb") as part:
                whole.write(part.read())
            os.unlink(f"{output}.{number}")
    sys.exit(max(process.exitcode or 0 for process in processes))


if __name__ == "__main__":
    main()
