"""Start of a worker process: ``PYTHON .../batchmill/worker/__main__.py READ_FD WRITE_FD``.

The interpreter may be one that has no Batchmill installed, so the package is loaded from the folder this file lies in, and nothing
else of that folder's neighbourhood gets on ``sys.path``.
"""

from __future__ import annotations

import importlib.util
import os
import sys


def _load_package() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    package = os.path.dirname(here)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.util.spec_from_file_location("batchmill", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise ImportError(f"Batchmill's package folder {package} cannot be read.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["batchmill"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Body of the process."""
    _load_package()
    from batchmill.worker.loop import work

    work(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
